"""Gaussian expectations of terms, of one variable and of pairs, in closed form.

Three tools: complete the square (an exponential of a quadratic turns one Gaussian into another), integrate
by parts (Stein's identity E[(x - m) g(x)] = v E[g'(x)], which lowers the degree of a polynomial), and
condition one variable of a pair on the other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import sympy as sp

from fimcheck.theory.gaussian.terms import Term, Terms, add, derivative
from fimcheck.theory.symbols import Expr, x

y = sp.Dummy("y", real=True)


def normal_density(value: Expr, mean: Expr, variance: Expr) -> Expr:
    """Density of N(mean, variance)."""
    return sp.exp(-((value - mean) ** 2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)


def mean_of_terms(terms: Terms, mean: Expr, variance: Expr) -> Expr:
    """E f(u), u ~ N(mean, variance)."""
    return sp.Add(*(_mean(t, mean, variance) for t in terms))


def _mean(term: Term, mean: Expr, variance: Expr) -> Expr:
    if term.kind == "delta":
        place, order = term.at
        weighted = term.smooth_part * normal_density(x, mean, variance)
        return (-1) ** order * sp.diff(weighted, x, int(order)).subs(x, place)
    scale = 1 + 2 * term.quad * variance
    exponent = (term.lin * mean + term.lin**2 * variance / 2 - term.quad * mean**2) / scale
    m, v = (mean + term.lin * variance) / scale, variance / scale
    degree = sp.Poly(term.poly, x).degree()
    tilted = _powers(term, int(degree), m, v)
    total = sp.Add(*(term.poly.coeff(x, k) * tilted[k] for k in range(int(degree) + 1)))
    return total * sp.exp(exponent) / sp.sqrt(scale)


def _powers(term: Term, degree: int, m: Expr, v: Expr) -> list[Expr]:
    """E[x^k factor(x)], k = 0..degree, under N(m, v), by Stein's identity on x^(k-1) factor(x)."""
    if term.kind == "smooth":
        zeroth, extra = sp.S.One, [sp.S.Zero] * degree
    elif term.kind == "step":
        t = term.at[0]
        zeroth = sp.erfc((t - m) / sp.sqrt(2 * v)) / 2
        density = normal_density(t, m, v)
        extra = [v * t**k * density for k in range(degree)]
    else:
        a, b = term.at
        # E erf(ax + b): its derivative in b is a Gaussian integral, and it vanishes at b = -am by symmetry.
        zeroth = sp.erf((a * m + b) / sp.sqrt(1 + 2 * a**2 * v))
        kernel = Term(sp.S.One, a**2, -2 * a * b)
        weight = 2 * a * v / sp.sqrt(sp.pi) * sp.exp(-(b**2))
        extra = [weight * _mean(Term(x**k, kernel.quad, kernel.lin), m, v) for k in range(degree)]
    out = [zeroth]
    for k in range(1, degree + 1):
        lower = (k - 1) * v * out[k - 2] if k > 1 else sp.S.Zero
        out.append(sp.expand(m * out[k - 1] + lower + extra[k - 1]))
    return out


@dataclass(frozen=True)
class Pair:
    """(u, v) Gaussian with common mean, common variance p > 0 and covariance c."""

    p: Expr
    c: Expr
    mean: Expr = sp.S.Zero


def pair_of_terms(left: Terms, right: Terms, pair: Pair) -> Expr | None:
    """E[f(u) g(v)] where it needs no step or erf in both variables at once; None otherwise."""
    total = []
    for s in left:
        for t in right:
            value = _pair(s, t, pair)
            if value is None:
                return None
            total.append(value)
    return sp.Add(*total)


def is_elementary(s: Term, t: Term) -> bool:
    """Whether E[s(u) t(v)] is elementary: true unless step or erf meets step or erf."""
    return s.kind in ("smooth", "delta") or t.kind in ("smooth", "delta")


def _pair(s: Term, t: Term, pair: Pair) -> Expr | None:
    if not is_elementary(s, t):
        return None
    if t.kind == "smooth" or (s.kind != "smooth" and t.kind == "delta"):
        s, t = t, s  # the pair is exchangeable; now s is smooth or a delta
    if s.kind == "delta":
        return _delta_pair(s, t, pair)
    if t.kind == "delta":
        return _delta_pair(t, s, pair)
    return _smooth_pair(s, t, pair)


def _delta_pair(s: Term, t: Term, pair: Pair) -> Expr:
    """The density of u at the delta's place, times the mean of t(v) given that u."""
    if t.kind == "delta":
        return _delta_delta(s, t, pair)
    place, order = s.at
    slope = pair.c / pair.p
    given = _mean(t, pair.mean + slope * (y - pair.mean), pair.p - pair.c * slope)
    given = given * normal_density(y, pair.mean, pair.p)
    value = (-1) ** order * sp.diff(given, y, int(order)).subs(y, place)
    # Where the delta's place makes p - c or p + c cancel from an exponent, evaluation near |c| = p needs it.
    return s.poly * value.replace(sp.exp, lambda e: sp.exp(sp.factor(sp.cancel(e))))


_a, _b, _p, _c, _det = sp.symbols("a b p c det")


@cache
def _hermite(i: int, j: int) -> Expr:
    """H with d^i/da^i d^j/db^j exp(-Q) = H exp(-Q), Q = (p a^2 - 2 c a b + p b^2)/(2 det)."""
    if i == j == 0:
        return sp.S.One
    lower, at, slope = (
        (_hermite(i - 1, j), _a, _p * _a - _c * _b) if i > 0 else (_hermite(i, j - 1), _b, _p * _b - _c * _a)
    )
    return sp.expand(sp.diff(lower, at) - lower * slope / _det)


def _delta_delta(s: Term, t: Term, pair: Pair) -> Expr:
    """A derivative of the joint density at the places of two deltas."""
    (left, i), (right, j) = s.at, t.at
    a, b, det = left - pair.mean, right - pair.mean, sp.expand(pair.p**2 - pair.c**2)
    factor = _hermite(int(i), int(j)).xreplace({_a: a, _b: b, _p: pair.p, _c: pair.c, _det: det})
    exponent = -(pair.p * (a**2 + b**2) - 2 * pair.c * a * b) / (2 * det)
    density = sp.exp(sp.factor(sp.cancel(exponent))) / (2 * sp.pi * sp.sqrt(det))
    return (-1) ** (i + j) * s.poly * t.poly * factor * density


def _smooth_pair(s: Term, t: Term, pair: Pair) -> Expr:
    """s smooth, t smooth or with a step or erf in v: complete the square in two variables, then Stein's
    identity.
    """
    p, c, mean = pair.p, pair.c, pair.mean
    a, d = s.quad, t.quad
    det_value = sp.expand((1 + 2 * a * p) * (1 + 2 * d * p) - 4 * a * d * c**2)
    det = sp.Dummy("det", positive=True)
    # Covariance (S^-1 + diag(2a, 2d))^-1 of the tilted pair.
    suu = sp.expand(p + 2 * d * (p**2 - c**2)) / det
    svv = sp.expand(p + 2 * a * (p**2 - c**2)) / det
    suv = c / det
    hu, hv = s.lin - 2 * a * mean, t.lin - 2 * d * mean  # linear terms about the mean
    mu_u, mu_v = mean + suu * hu + suv * hv, mean + suv * hu + svv * hv
    exponent = (suu * hu**2 + 2 * suv * hu * hv + svv * hv**2) / 2
    exponent += (s.lin + t.lin) * mean - (a + d) * mean**2
    weight = sp.exp(sp.expand(exponent)) / sp.sqrt(det)
    slope = derivative((Term(sp.S.One, kind=t.kind, at=t.at),))  # F'(v) of the step or erf F
    if t.kind == "step":
        base = sp.erfc((t.at[0] - mu_v) / sp.sqrt(2 * svv)) / 2
    elif t.kind == "erf":
        base = sp.erf((t.at[0] * mu_v + t.at[1]) / sp.sqrt(1 + 2 * t.at[0] ** 2 * svv))
    else:
        base = sp.S.One

    names = _Named({det: det_value})

    def with_slope(i: int, j: int) -> Expr:
        """E[u^i v^j F'(v)] with the exponential factors."""
        left = Term(x**i, a, s.lin)
        right = [Term(f.poly * x**j, f.quad + d, f.lin + t.lin, f.kind, f.at) for f in slope]
        value = pair_of_terms((left,), add(right), pair)
        assert value is not None  # left is smooth
        return names(value)

    zeroth, mu_u, mu_v, suu, svv, suv = (names(v) for v in (base * weight, mu_u, mu_v, suu, svv, suv))
    moment = _moments(zeroth, mu_u, mu_v, suu, svv, suv, with_slope if slope else None)
    left, right = sp.Poly(s.poly, x), sp.Poly(t.poly, x)
    total = sp.Add(*(k * n * moment(i, j) for (i,), k in left.terms() for (j,), n in right.terms()))
    return total.xreplace(names.known)


class _Named:
    """Symbols for values, so that no recursion ever multiplies them out."""

    def __init__(self, inside: dict[Expr, Expr]) -> None:
        self.inside, self.known = inside, dict[Expr, Expr]()

    def __call__(self, value: Expr) -> Expr:
        if value.is_Number:
            return value
        self.known[name := sp.Dummy()] = value.xreplace(self.inside)
        return name


def _moments(
    zeroth: Expr,
    mu_u: Expr,
    mu_v: Expr,
    suu: Expr,
    svv: Expr,
    suv: Expr,
    with_slope: Callable[[int, int], Expr] | None,
) -> Callable[[int, int], Expr]:
    """E[u^i v^j F(v)] of a Gaussian pair as a function of i and j, by Stein's identity on one variable.

    with_slope: E[u^i v^j F'(v)], None where F is constant.
    """

    @cache
    def moment(i: int, j: int) -> Expr:
        if i == j == 0:
            return zeroth
        if i > 0:
            value = mu_u * moment(i - 1, j)
            value += (i - 1) * suu * moment(i - 2, j) if i > 1 else 0
            value += j * suv * moment(i - 1, j - 1) if j > 0 else 0
            value += suv * with_slope(i - 1, j) if with_slope else 0
        else:
            value = mu_v * moment(0, j - 1)
            value += (j - 1) * svv * moment(0, j - 2) if j > 1 else 0
            value += svv * with_slope(0, j - 1) if with_slope else 0
        return sp.expand(value, power_base=False)

    return moment
