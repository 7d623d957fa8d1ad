"""Numbers from Price's theorem where its kernel has no closed integral: one dimension is left, the
covariance.

F(c) = sum_k F^(k)(c0) (c - c0)^k/k! + integral from c0 to c of (c - t)^(n-1)/(n-1)! D(t) dt, D = E f^(n)
g^(n). At the anchor c0 = 0, u and v are independent: F^(k)(0) = E f^(k) E g^(k) in closed form, deltas of any order
included. For c near -p the anchor -p, where v is the mirror image of u, avoids cancellation; it serves where no
f^(k), k < n, holds a delta, which no quadrature sees.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from math import factorial
from typing import Any

import numpy as np
import sympy as sp

from fimcheck.theory.gaussian import price
from fimcheck.theory.gaussian.evaluation import LESS, MORE, SPECIAL, Numeric, compiled, stable
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.gaussian.quadrature import RULES, certified, single
from fimcheck.theory.gaussian.terms import Terms
from fimcheck.theory.symbols import c, mu, p

_GRADES = 2.0 ** -np.arange(1, 45)


Levels = tuple[tuple[Function, Function], ...]


@dataclass(frozen=True)
class _Reduction:
    """constants: F^(k)(0) as functions of p, c, mu. levels: f^(k), g^(k), None where one holds a delta. kernel: D."""

    constants: tuple[Numeric, ...]
    levels: Levels | None
    kernel: Any


@cache
def _reduction(f: Function, g: Function, shifted: bool) -> _Reduction | None:
    if f.terms is None or g.terms is None:
        return None
    found = price.reduce(f.terms, g.terms, mu if shifted else sp.S.Zero, bare=True)
    if found is None or found.order == 0:
        return None
    if all(t.kind == "delta" for t in (*found.left, *found.right)):
        kernel = _between_deltas(found.left, found.right)
    else:
        kernel = sp.lambdify([p, c, mu, LESS, MORE], stable(found.kernel), [SPECIAL, "numpy"], cse=True)
    return _Reduction(tuple(map(compiled, found.constants)), _levels(f, g, found.order), kernel)


def _between_deltas(left: Terms, right: Terms) -> Any:
    """The kernel where f^(n) and g^(n) are deltas: derivatives of the joint density, by the recurrence of Hermite."""
    (lefts, rights) = ([(float(t.at[0]), int(t.at[1]), float(t.poly)) for t in side] for side in (left, right))

    def kernel(p: float, t: np.ndarray, mean: float, less: np.ndarray, more: np.ndarray) -> np.ndarray:
        own, cross = p / (less * more), -t / (less * more)  # second derivatives of the exponent
        total = np.zeros_like(t)
        for place, others in product({place for place, _, _ in lefts}, {place for place, _, _ in rights}):
            a, b = place - mean, others - mean
            sums, differences = (a + b) / more / 2, (a - b) / less / 2
            highest = (max(order for _, order, _ in side) for side in (lefts, rights))
            table = _hermite(sums + differences, sums - differences, own, cross, *highest)
            weights = sum(
                v * w * (-1) ** (i + j) * table[i, j]
                for (s, i, v), (r, j, w) in product(lefts, rights)
                if s == place and r == others
            )
            exponent = -((a - b) ** 2 / less + (a + b) ** 2 / more) / 4
            total += weights * np.exp(exponent) / (2 * np.pi * np.sqrt(less * more))
        return total

    return kernel


def _hermite(
    a: np.ndarray, b: np.ndarray, own: np.ndarray, cross: np.ndarray, m: int, n: int
) -> dict[tuple[int, int], Any]:
    """H_ij = exp(Q) d^i/da^i d^j/db^j exp(-Q) for a quadratic Q with the given first and second derivatives."""
    table: dict[tuple[int, int], Any] = {(0, 0): np.ones_like(own)}
    for i in range(m + 1):
        for j in range(n + 1):
            if i > 0:
                value = -a * table[i - 1, j]
                value = value - (i - 1) * own * table[i - 2, j] if i > 1 else value
                table[i, j] = value - j * cross * table[i - 1, j - 1] if j > 0 else value
            elif j > 0:
                value = -b * table[0, j - 1]
                table[0, j] = value - (j - 1) * own * table[0, j - 2] if j > 1 else value
    return table


def _levels(f: Function, g: Function, order: int) -> Levels | None:
    levels = [(f, g)]
    while not (f.deltas or g.deltas):
        if len(levels) == order:
            return tuple(levels)
        f, g = f.derivative(), g.derivative()
        levels.append((f, g))
    return None


def pair(f: Function, g: Function, p: float, c: float, mean: float) -> float | None:
    """E f(u) g(v) by the integral in the covariance, None where Price's theorem does not reduce it to one
    dimension.
    """
    found = _reduction(f, g, mean != 0)
    if found is None:
        return None
    kernel, order = found.kernel, len(found.constants)
    if c < -p / 2 and found.levels is not None:
        anchor, values = -p, [_mirrored(left, right, p, mean) for left, right in found.levels]
    else:
        anchor, values = 0.0, [_constant(constant, p, mean) for constant in found.constants]
    taylor = sum(value * (c - anchor) ** k / factorial(k) for k, value in enumerate(values))
    # t = p sin(angle) removes the inverse square root at |t| = p; panels are graded toward both ends.
    start, stop = np.arcsin(anchor / p), np.arctan2(c, np.sqrt((p - c) * (p + c)))
    graded = np.pi / 2 * (1 - _GRADES)
    ends = np.concatenate([[start, stop], graded, -graded])

    def value(splits: int, rule: int) -> tuple[float, float]:
        low, high = min(start, stop), max(start, stop)
        rows = np.unique(np.clip(ends, low, high))
        for _ in range(splits):
            rows = np.unique(np.concatenate([rows, (rows[1:] + rows[:-1]) / 2]))
        points, weights = RULES[rule]
        half = (rows[1:] - rows[:-1])[:, None] / 2
        angle = ((rows[1:] + rows[:-1])[:, None] / 2 + half * points).ravel()
        less, more = (
            2 * p * np.sin((np.pi / 2 - angle) / 2) ** 2,
            2 * p * np.sin((np.pi / 2 + angle) / 2) ** 2,
        )
        t = p * np.sin(angle)
        with np.errstate(under="ignore"):
            density = kernel(p, t, mean, less, more) * np.sqrt(less * more)
        distance = (p + c) - more if anchor < 0 else c - t
        terms = (half * weights).ravel() * density * distance ** (order - 1) / factorial(order - 1)
        total = float(terms.sum()) * (1.0 if stop > start else -1.0)
        return taylor + total, abs(taylor) + float(np.abs(terms).sum())

    return certified(value)


@lru_cache(maxsize=10_000)
def _constant(constant: Numeric, p: float, mean: float) -> float:
    return float(constant(np.float64(p), np.float64(0), np.float64(mean)))


@lru_cache(maxsize=10_000)
def _mirrored(f: Function, g: Function, p: float, mean: float) -> float:
    """E f(u) g(2 mean - u)."""
    kinks = (*(float(b) for b in f.breaks), *(2 * mean - float(b) for b in g.breaks))
    return single(lambda u: f(u) * g(2 * mean - u), kinks, p, mean)
