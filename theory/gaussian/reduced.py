"""Numbers from Price's theorem where its kernel has no closed integral: one dimension is left, the
covariance.

F(c) = sum_k F^(k)(c0) (c - c0)^k/k! + integral from c0 to c of (c - t)^(n-1)/(n-1)! D(t) dt, D = E f^(n)
g^(n). The anchor c0 = 0 has independent u and v; for c near -p the anchor -p, where v is the mirror image
of u, avoids cancellation.
"""

from functools import cache, lru_cache
from math import factorial
from typing import Any

import numpy as np
import sympy as sp
from scipy import special

from fimcheck.theory.gaussian import price
from fimcheck.theory.gaussian.evaluation import LESS, MORE, stable
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.gaussian.quadrature import RULES, certified, single
from fimcheck.theory.symbols import c, mu, p

_GRADES = 2.0 ** -np.arange(1, 45)


@cache
def _compiled(f: Function, g: Function, shifted: bool) -> tuple[list[tuple[Function, Function]], Any] | None:
    """The functions under the constants of integration, and the kernel D; None if there is none."""
    if f.terms is None or g.terms is None:
        return None
    reduction = price.reduce(f.terms, g.terms, mu if shifted else sp.S.Zero)
    if reduction is None or reduction.order == 0:
        return None
    kernel = sp.lambdify([p, c, mu, LESS, MORE], stable(reduction.kernel), [{"erf": special.erf}, "numpy"], cse=True)
    levels = [(f, g)]
    for _ in range(reduction.order - 1):
        levels.append((levels[-1][0].derivative(), levels[-1][1].derivative()))
    return levels, kernel


def pair(f: Function, g: Function, p: float, c: float, mean: float) -> float | None:
    """E f(u) g(v) by the integral in the covariance, None where Price's theorem does not reduce it to one
    dimension.
    """
    found = _compiled(f, g, mean != 0)
    if found is None:
        return None
    levels, kernel = found
    order = len(levels)
    anchor = -p if c < -p / 2 else 0.0
    taylor = 0.0
    for k, (left, right) in enumerate(levels):
        taylor += _at_anchor(left, right, anchor, p, mean) * (c - anchor) ** k / factorial(k)
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
def _at_anchor(f: Function, g: Function, anchor: float, p: float, mean: float) -> float:
    kinks = tuple(float(b) for b in f.breaks)
    other = tuple(float(b) for b in g.breaks)
    if anchor == 0:
        left = single(f, kinks, p, mean)
        return left * (left if f is g else single(g, other, p, mean))
    mirrored = tuple(2 * mean - b for b in other)
    return single(lambda u: f(u) * g(2 * mean - u), (*kinks, *mirrored), p, mean)
