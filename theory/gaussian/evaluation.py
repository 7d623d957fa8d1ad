"""Closed forms in float64 without loss of digits.

Three guards. sqrt(A^2 - c^2) and asin(c/A) are evaluated from p - c and p + c, which floating point forms
exactly where it matters, near |c| = p. Next to the value runs its mass, the same sum with every summand
taken in absolute value: mass over value bounds the digits lost to cancellation. Where too many are lost,
mpmath evaluates that point.
"""

from collections.abc import Callable

import mpmath
import numpy as np
import sympy as sp
from scipy import special

from fimcheck.theory.symbols import Expr, c, mu, p

MAX_LOSS = 300.0
"""Largest accepted mass over value; float64 then still holds 13 digits."""

LESS = sp.Symbol("p_minus_c", nonnegative=True)
MORE = sp.Symbol("p_plus_c", nonnegative=True)
SPECIAL = {"erf": special.erf, "erfc": special.erfc}

Numeric = Callable[..., np.ndarray]


def compiled(expr: Expr) -> Numeric:
    """A function of float64 arrays p, c, mu that evaluates a closed form in these symbols."""
    form = stable(expr)
    fast = sp.lambdify([p, c, mu, LESS, MORE], [form, mass(form)], [SPECIAL, "numpy"], cse=True)
    slow = sp.lambdify([p, c, mu], expr, "mpmath")

    def evaluate(variance: np.ndarray, covariance: np.ndarray, mean: np.ndarray) -> np.ndarray:
        variance, covariance, mean = np.broadcast_arrays(variance, covariance, mean)
        with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
            value, size = fast(variance, covariance, mean, variance - covariance, variance + covariance)
            out = np.array(np.broadcast_to(np.real(value), variance.shape), dtype=float)
            lossy = ~(np.broadcast_to(size, variance.shape) <= MAX_LOSS * np.abs(out))
        for i in map(tuple, np.argwhere(lossy)):
            out[i] = _precise(slow, float(variance[i]), float(covariance[i]), float(mean[i]))
        return out

    return evaluate


def _precise(slow: Callable[..., object], variance: float, covariance: float, mean: float) -> float:
    """The value to float64 precision from growing working precision; a sum that stays below it is zero."""
    previous = None
    for digits in (40, 80, 160, 320):
        with mpmath.workdps(digits):
            value = mpmath.re(slow(mpmath.mpf(variance), mpmath.mpf(covariance), mpmath.mpf(mean)))
            if previous is not None and abs(value - previous) <= mpmath.mpf("1e-17") * abs(value):
                return float(value)
            previous = value
    return float(previous) if abs(previous) > 1e-150 else 0.0  # type: ignore[arg-type]


def stable(expr: Expr) -> Expr:
    """The same expression with A - c and A + c, in roots and angles, written through p - c and p + c."""
    if not expr.args or not expr.has(c):
        return expr
    if isinstance(expr, sp.Pow) and expr.base.is_polynomial(c) and sp.Poly(expr.base, c).degree() == 2:
        poly = sp.Poly(expr.base, c)
        lead = -poly.coeff_monomial(c**2)
        if poly.coeff_monomial(c) == 0:
            edge = sp.sqrt(sp.factor(poly.coeff_monomial(1) / lead))
            return (lead * _edge(edge, LESS) * _edge(edge, MORE)) ** expr.exp
    if isinstance(expr, sp.Pow) and expr.base.is_polynomial(c) and sp.Poly(expr.base, c).degree() == 1:
        slope = expr.base.coeff(c, 1)
        edge = sp.expand(expr.base / slope - c)  # c + edge, times slope
        if edge.free_symbols > {p}:
            return expr.func(*(stable(a) for a in expr.args))
        return (slope * (_edge(edge, MORE) if edge.subs(p, 1) > 0 else -_edge(-edge, LESS))) ** expr.exp
    if isinstance(expr, sp.asin):
        edge = sp.simplify(c / expr.args[0])
        if not edge.has(c):
            return sp.atan2(c, sp.sqrt(_edge(edge, LESS) * _edge(edge, MORE)))
    return expr.func(*(stable(a) for a in expr.args))


def _edge(edge: Expr, side: sp.Symbol) -> Expr:
    return sp.expand(sp.simplify(edge - p)) + side


def mass(expr: Expr) -> Expr:
    """A bound on the size of the summands in an expression, relative errors carried through products."""
    if isinstance(expr, sp.Add):
        return sp.Add(*(mass(a) for a in expr.args))
    if isinstance(expr, sp.Mul):
        return sp.Mul(*(mass(a) for a in expr.args))
    if isinstance(expr, sp.Pow) and expr.exp.is_number:
        base = mass(expr.base)
        if expr.exp.is_positive:
            return base**expr.exp
        # |b|^-n with the relative error of b.
        return sp.Abs(expr.base) ** (expr.exp - 1) * base
    return sp.Abs(expr)
