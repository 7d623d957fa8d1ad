"""What the theory has to know of a function: that its expectations exist, how it grows, its symmetry and
homogeneity.
"""

import mpmath
import sympy as sp
from sympy.calculus.singularities import singularities

from fimcheck.theory.gaussian.functions import ActivationError, Function
from fimcheck.theory.symbols import Expr, x

_PROBES = (-7.3, -2.1, -1.1, -0.6, -0.25, -0.01, 0.02, 0.3, 0.7, 1.3, 2.4, 6.9)
_FAR = 64


def require_expectations(name: str, f: Function) -> None:
    """Refuses a function whose Gaussian expectations, or those of its slope, do not exist, and says why."""
    lows, highs = (-sp.oo, *f.breaks), (*f.breaks, sp.oo)
    for branch, low, high in zip(f.branches, lows, highs, strict=True):
        fixed = branch.subs({s: sp.Rational(1, 3) for s in branch.free_symbols - {x}})
        for what, expr in (("", fixed), ("the slope of ", sp.diff(fixed, x))):
            _require_no_pole(name, what, expr, sp.Interval(low, high))
        for probe in _PROBES:
            if low < probe < high:
                _require_real(name, fixed, sp.Float(probe, 20))
    if growth(f) == "beyond exponential":
        raise ActivationError(
            f"The activation {name} grows faster than exponentials, so its Gaussian expectations are "
            "infinite for some or all variances. Use one that exp(k |x|) bounds."
        )


def _require_no_pole(name: str, what: str, expr: Expr, interval: Expr) -> None:
    try:
        poles = singularities(expr, x, sp.S.Reals).intersect(interval)
    except NotImplementedError:
        return
    if isinstance(poles, sp.FiniteSet):  # candidates: x^(3/2)/x is 0 at 0
        poles = sp.FiniteSet(*(pole for pole in poles if not _is_finite(expr, pole, interval)))
    if poles is not sp.S.EmptySet and poles.is_empty is not True:
        where = ", ".join(map(str, poles)) if isinstance(poles, sp.FiniteSet) else str(poles)
        raise ActivationError(
            f"The activation {name}: {what}it is infinite or undefined at x = {where}. A Gaussian "
            "reaches every real number; use a function that is finite, with a finite slope, on the "
            "whole line."
        )


def _is_finite(expr: Expr, place: Expr, interval: Expr) -> bool:
    """Whether an expression has a finite limit at a place from within an interval."""
    sides = [side for side, end in (("+", interval.end), ("-", interval.start)) if place != end]
    return all(sp.limit(expr, x, place, side).is_finite for side in sides)


def _require_real(name: str, expr: Expr, at: sp.Float) -> None:
    value = expr.subs(x, at).evalf(15)
    if not value.is_Number or not value.is_real or not value.is_finite:
        raise ActivationError(
            f"The activation {name} is {value} at x = {float(at)}, not a finite real number. Use a real "
            "function defined on the whole line."
        )


def growth(f: Function) -> str:
    """Class of growth, "bounded" to "beyond exponential", from the size at |x| = 64, 128 and 256.

    The logarithm of the size changes by 0, a constant, and a factor of 2 per doubling in the first three
    classes.
    """
    classes = ("bounded", "polynomial", "exponential", "beyond exponential")
    return classes[max(_growth_of_tail(f.branches[0], -1), _growth_of_tail(f.branches[-1], 1))]


def _growth_of_tail(branch: Expr, side: int) -> int:
    fixed = branch.subs({s: sp.Rational(1, 3) for s in branch.free_symbols - {x}})
    numeric = sp.lambdify(x, fixed, "mpmath")
    with mpmath.workdps(30):
        # The largest of a few neighbours, so that a zero of an oscillating function does not mislead.
        sizes = [max(abs(numeric(side * (_FAR * 2**k + mpmath.mpf(j) / 3))) for j in range(16)) for k in range(3)]
        logs = [mpmath.log(1 + s) for s in sizes]
        if logs[2] <= logs[1] + mpmath.mpf(1) / 20:
            return 0
        ratio = (logs[2] - logs[1]) / (logs[1] - logs[0]) if logs[1] > logs[0] else mpmath.inf
    return 1 if ratio < 1.5 else 2 if ratio < 2.5 else 3


def homogeneity(f: Function) -> int | None:
    """The k with f(r x) = r^k f(x) for all r > 0, None if there is none."""
    if any(t != 0 for t in f.breaks) or f.deltas or not all(b.is_polynomial(x) for b in f.branches):
        return None
    degrees = {d for b in f.branches for (d,), a in sp.Poly(b, x).terms() if a != 0}
    return int(degrees.pop()) if len(degrees) == 1 else None
