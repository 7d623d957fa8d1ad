"""Expectations over a batch that is normalized over exactly T samples.

The normalized pre-activations z_1..z_T of one unit are sqrt(T) times a uniform unit vector of the subspace
orthogonal to (1, .., 1): mean 0, mean square 1, correlation -1/(T-1). A Gaussian vector of that subspace is
z times an independent radius, so a homogeneous function's expectation is the Gaussian one divided by a
moment of the radius; anything else is integrated numerically, with the kinks as panel ends.
"""

from functools import cache
from itertools import product
from typing import Any

import numpy as np
import sympy as sp

from fimcheck.theory.gaussian import rule
from fimcheck.theory.gaussian.derivation import derive_mean
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.gaussian.kernel import kernel
from fimcheck.theory.gaussian.quadrature import RULES, certified, features
from fimcheck.theory.symbols import Expr, arguments, c, p, x

REACH = 12.0
"""Largest |z| integrated over where sqrt(T - 1) is larger; the density there is below 1e-20."""


class SpherePair(sp.Function):
    """E[h(z_1)], E[h(z_1)^2] or E[h(z_1) h(z_2)] left as it is: arguments h(x), 0, 1 or 2, T; x is bound."""

    @property
    def free_symbols(self) -> set[sp.Basic]:
        """Symbols of the parameters only; h may hold the scale and shift too."""
        return (self.args[0].free_symbols - {x}) | self.args[2].free_symbols

    def _eval_evalf(self, prec: int) -> Expr:
        h, count, samples = arguments(self)
        value = _integral(Function.from_expr(h), int(count), float(samples))
        return sp.Float(value, precision=prec)

    def _latex(self, printer: Any) -> str:
        h, count, samples = self.args
        second = ("", "^2", r"\,h(z_2)")[int(str(count))]
        where = f"h(x)={printer._print(h)}"
        return rf"\mathbb{{E}}_{{T={printer._print(samples)}}}\left[h(z_1){second}\right]_{{{where}}}"


def expr(f: Function, power: int, count: int, samples: Expr, gamma: Expr, beta: Expr) -> Expr:
    """E[h(z_1)] (count = 0), E[h(z_1)^2] (1) or E[h(z_1) h(z_2)] (2) with h(z) = z^power f(gamma z + beta)."""
    h = _composed(f, power, gamma, beta)
    if h is None:
        return SpherePair(x**power * f.expr.subs(x, gamma * x + beta), sp.Integer(count), samples)
    pieces = _homogeneous_pieces(h)
    if pieces is None:
        return SpherePair(h.expr, sp.Integer(count), samples)
    if count == 0:
        means = {d: derive_mean(piece, sp.S.Zero) for d, piece in pieces.items()}
        if None in means.values():
            return SpherePair(h.expr, sp.Integer(count), samples)
        found = sp.Add(*(sp.sympify(value).subs(p, 1) / radius_moment(d, samples) for d, value in means.items()))
        return _confirmed(found, h, count, samples)
    total = sp.S.Zero
    for (d, left), (e, right) in product(pieces.items(), repeat=2):
        both = kernel(left, right)
        gaussian = (both.centered_same if count == 1 else both.centered).expr
        if gaussian is None:
            return SpherePair(h.expr, sp.Integer(count), samples)
        total += gaussian.subs({p: 1, c: -1 / (samples - 1)}) / radius_moment(d + e, samples)
    return _confirmed(total, h, count, samples)


def _confirmed(form: Expr, h: Function, count: int, samples: Expr) -> Expr:
    """A closed form, after it has met the second route at a few samples; other symbols stand for 4/3."""
    numbers: dict[Any, Any] = dict.fromkeys((form.free_symbols | h.parameters) - {x}, sp.Rational(4, 3))
    numbers |= dict.fromkeys(sp.sympify(samples).free_symbols, sp.Integer(6))
    number = float(sp.sympify(samples).subs(numbers))
    if number >= 4:
        fixed = Function(tuple(b.subs(numbers) for b in h.branches), tuple(t.subs(numbers) for t in h.breaks))
        kinks = np.array([float(b) for b in fixed.breaks])
        rule.sphere(fixed, kinks, count, number).require(float(form.subs(numbers).evalf()), _words(count, number))
    return form


def _words(count: int, samples: float) -> str:
    return f"E[{('h(z_1)', 'h(z_1)^2', 'h(z_1) h(z_2)')[count]}] over a batch normalized over T = {samples:g} samples"


def radius_moment(degree: int, samples: Expr) -> Expr:
    """E (X/(T-1))^(degree/2), X chi-square with T - 1 degrees of freedom: the Gaussian's radius."""
    half, argument = sp.Rational(degree, 2), sp.Dummy("a", positive=True)
    ratio = sp.expand_func(sp.gamma(argument + half)) / sp.gamma(argument)
    return sp.simplify((2 / (samples - 1)) ** half * ratio.subs(argument, (samples - 1) / 2))


def _composed(f: Function, power: int, gamma: Expr, beta: Expr) -> Function | None:
    """z^power f(gamma z + beta), None where the order of the kinks is not known."""
    if f.breaks and not (gamma.is_positive and (beta == 0 or (gamma.is_number and beta.is_number))):
        return None
    branches = tuple(sp.expand(x**power * b.subs(x, gamma * x + beta)) for b in f.branches)
    return Function(branches, tuple((t - beta) / gamma for t in f.breaks))


def _homogeneous_pieces(h: Function) -> dict[int, Function] | None:
    """h as a sum of functions with h(r z) = r^degree h(z) for r > 0, by degree; None if it is not one."""
    if any(t != 0 for t in h.breaks) or not all(b.is_polynomial(x) for b in h.branches):
        return None
    degrees = {d for b in h.branches for (d,), _ in sp.Poly(b, x).terms()}
    return {
        d: Function(tuple(sp.Poly(b, x).coeff_monomial(x**d) * x**d for b in h.branches), h.breaks) for d in degrees
    }


@cache
def value(f: Function, power: int, count: int, samples: float, gamma: float, beta: float) -> float:
    """The expectation of `expr` in float64."""
    kinks = tuple(float(b) for b in f.breaks)
    ends, bends = ((np.array(t, float) - beta) / gamma for t in (features(kinks), kinks))
    return _sphere_integral(lambda z: z**power * f(gamma * z + beta), ends, bends, count, samples)


def _integral(h: Function, count: int, samples: float) -> float:
    kinks = tuple(float(b) for b in h.breaks)
    return _sphere_integral(h, features(kinks), np.array(kinks), count, samples)


def _sphere_integral(h: Any, ends: np.ndarray, kinks: np.ndarray, count: int, samples: float) -> float:
    if samples < 4:
        raise ValueError(f"T = {samples}: batch normalization in the hidden layers is predicted for T >= 4 samples.")
    correlation, square = -1 / (samples - 1), samples - 1
    # Where z_2 = kink just touches the sphere of z_2 given z_1, the inner integral bends.
    reached = kinks[kinks**2 < square]
    half = np.sqrt((1 - correlation**2) * (square - reached**2))
    touch = np.concatenate([correlation * reached - half, correlation * reached + half])
    outer = np.concatenate([ends, (touch[:, None] + np.concatenate([[0.0], _TOUCH, -_TOUCH])).ravel()])

    def estimate(splits: int, order: int) -> tuple[float, float]:
        _, z, w = _nodes(np.zeros(1), np.array([np.sqrt(square)]), samples - 3, outer, splits, order)
        z, w = z.ravel(), w.ravel()
        if count < 2:
            terms = w * h(z) ** (count + 1)
            return float(terms.sum()), float(np.abs(terms).sum())
        # Given z_1, z_2 is spread about -z_1/(T-1) over a sphere of one dimension less.
        reach = np.sqrt((1 - correlation**2) * np.maximum(square - z**2, 1e-300))
        row, second, inner = _nodes(correlation * z, reach, samples - 4, ends, splits, order)
        terms = inner * h(second)
        means, sizes = (np.bincount(row, t.sum(axis=1), z.size) for t in (terms, np.abs(terms)))
        weighted = w * h(z)
        return float(weighted @ means), float(np.abs(weighted) @ sizes)

    found = certified(estimate)
    rule.sphere(h, kinks, count, samples).require(found, _words(count, samples))
    return found


_TOUCH = 2.0 ** -np.arange(0, 30)


def _nodes(
    center: np.ndarray, reach: np.ndarray, power: float, cut: np.ndarray, splits: int, order: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Panels of center + reach cos(t), weights proportional to sin(t)^power dt that sum to 1 per center.

    (row, points, weights), one line per panel; row is the index of its center.
    """
    grid = np.linspace(-REACH, REACH, 17)
    cosines = (np.concatenate([cut, grid])[None, :] - center[:, None]) / reach[:, None]
    limit = np.minimum(1.0, REACH / reach)[:, None]
    rows = np.sort(np.arccos(np.concatenate([-limit, np.clip(cosines, -limit, limit), limit], axis=1)), axis=1)
    for _ in range(splits):
        rows = np.sort(np.concatenate([rows, (rows[:, 1:] + rows[:, :-1]) / 2], axis=1), axis=1)
    row, panel = np.nonzero(rows[:, 1:] > rows[:, :-1])
    points, weights = RULES[order]
    low, high = rows[row, panel][:, None], rows[row, panel + 1][:, None]
    angle = (high + low) / 2 + (high - low) / 2 * points
    w = (high - low) / 2 * weights * np.sin(angle) ** power
    total = np.bincount(row, w.sum(axis=1), center.size)
    return row, center[row, None] + reach[row, None] * np.cos(angle), w / total[row, None]
