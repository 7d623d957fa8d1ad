"""Gaussian expectations of terms, of one variable and of pairs, in closed form.

Three tools: complete the square (an exponential of a quadratic turns one Gaussian into another), integrate by parts
(Stein's identity E[(x - m) g(x)] = v E[g'(x)], which lowers the degree of a polynomial), and condition one variable
of a pair on the other.
"""

from dataclasses import dataclass

import sympy as sp

from theory.symbols import x
from theory.terms import Term, Terms, add

y = sp.Dummy("y", real=True)


def normal_density(value: sp.Expr, mean: sp.Expr, variance: sp.Expr) -> sp.Expr:
    """Density of N(mean, variance)."""
    return sp.exp(-((value - mean) ** 2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)


def mean_of_terms(terms: Terms, mean: sp.Expr, variance: sp.Expr) -> sp.Expr:
    """E f(u), u ~ N(mean, variance)."""
    return sp.Add(*(_mean(t, mean, variance) for t in terms))


def _mean(term: Term, mean: sp.Expr, variance: sp.Expr) -> sp.Expr:
    if term.kind == "delta":
        place, order = term.at
        weighted = term.smooth_part * normal_density(x, mean, variance)
        return (-1) ** order * sp.diff(weighted, x, int(order)).subs(x, place)
    scale = 1 + 2 * term.quad * variance
    exponent = (term.lin * mean + term.lin**2 * variance / 2 - term.quad * mean**2) / scale
    m, v = (mean + term.lin * variance) / scale, variance / scale
    degree = sp.degree(term.poly, x) if term.poly.has(x) else 0
    tilted = _powers(term, int(degree), m, v)
    total = sp.Add(*(term.poly.coeff(x, k) * tilted[k] for k in range(int(degree) + 1)))
    return total * sp.exp(exponent) / sp.sqrt(scale)


def _powers(term: Term, degree: int, m: sp.Expr, v: sp.Expr) -> list[sp.Expr]:
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

    p: sp.Expr
    c: sp.Expr
    mean: sp.Expr = sp.S.Zero


def pair_of_terms(left: Terms, right: Terms, pair: Pair) -> sp.Expr | None:
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


def _pair(s: Term, t: Term, pair: Pair) -> sp.Expr | None:
    if not is_elementary(s, t):
        return None
    if s.kind == "smooth" and t.kind == "smooth":
        return _smooth_pair(s, t, pair)
    if s.kind == "smooth" or (t.kind == "delta" and s.kind != "delta"):
        s, t = t, s  # the pair is exchangeable
    if t.kind == "smooth":
        # Average the smooth factor over v given u = x; a term again.
        return mean_of_terms(_times(s, _conditional_mean(t, pair)), pair.mean, pair.p)
    # A delta in u: the density at its place times the mean of t(v) given u.
    place, order = s.at
    slope = pair.c / pair.p
    given = _mean(t, pair.mean + slope * (y - pair.mean), pair.p - pair.c * slope)
    if t.kind == "delta":
        given = sp.powsimp(given * normal_density(y, pair.mean, pair.p))
        root = sp.sqrt(sp.expand(pair.p**2 - pair.c**2))
        given = _joint_density_form(t, pair, root)
    else:
        given = given * normal_density(y, pair.mean, pair.p)
    value = (-1) ** order * sp.diff(given, y, int(order)).subs(y, place)
    return s.poly * value


def _joint_density_form(t: Term, pair: Pair, root: sp.Expr) -> sp.Expr:
    """E[delta(u - y) delta^(k)(v - t)] as a function of y: derivative of the joint density."""
    z = sp.Dummy("z", real=True)
    a, b = y - pair.mean, z - pair.mean
    quadratic = (pair.p * (a**2 + b**2) - 2 * pair.c * a * b) / (2 * root**2)
    density = sp.exp(-quadratic) / (2 * sp.pi * root)
    place, order = t.at
    return t.poly * (-1) ** order * sp.diff(density, z, int(order)).subs(z, place)


def _times(s: Term, factors: Terms) -> Terms:
    return add([Term(s.poly * f.poly, s.quad + f.quad, s.lin + f.lin, s.kind, s.at) for f in factors])


def _conditional_mean(t: Term, pair: Pair) -> Terms:
    """E[t(v) | u = x] for a smooth term t, as a smooth term in x."""
    slope = pair.c / pair.p
    center, width = pair.mean + slope * (x - pair.mean), pair.p - pair.c * slope
    scale = 1 + 2 * t.quad * width
    exponent = sp.Poly((t.lin * center + t.lin**2 * width / 2 - t.quad * center**2) / scale, x)
    const, b, minus_a = (exponent.coeff_monomial(x**k) for k in range(3))
    m, v = (center + t.lin * width) / scale, width / scale
    degree = int(sp.degree(t.poly, x)) if t.poly.has(x) else 0
    powers = [sp.S.One, m]
    for k in range(2, degree + 1):
        powers.append(sp.expand(m * powers[k - 1] + (k - 1) * v * powers[k - 2]))
    poly = sp.Add(*(t.poly.coeff(x, k) * powers[k] for k in range(degree + 1)))
    weight = sp.exp(const) / sp.sqrt(scale)
    return (Term(sp.expand(poly * weight), -minus_a, b),)


def _smooth_pair(s: Term, t: Term, pair: Pair) -> sp.Expr:
    """Complete the square in two variables, then lower the degree by Stein's identity."""
    p, c, mean = pair.p, pair.c, pair.mean
    a, d = s.quad, t.quad
    det_value = sp.expand((1 + 2 * a * p) * (1 + 2 * d * p) - 4 * a * d * c**2)
    det = sp.Dummy("det", positive=True)  # kept as one symbol, so that no power of it is ever multiplied out
    # Covariance (S^-1 + diag(2a, 2d))^-1 of the tilted pair.
    suu = sp.expand(p + 2 * d * (p**2 - c**2)) / det
    svv = sp.expand(p + 2 * a * (p**2 - c**2)) / det
    suv = c / det
    hu, hv = s.lin - 2 * a * mean, t.lin - 2 * d * mean  # linear terms about the mean
    mu_u, mu_v = mean + suu * hu + suv * hv, mean + suv * hu + svv * hv
    exponent = (suu * hu**2 + 2 * suv * hu * hv + svv * hv**2) / 2
    exponent += (s.lin + t.lin) * mean - (a + d) * mean**2
    moments: dict[tuple[int, int], sp.Expr] = {(0, 0): sp.S.One}

    def moment(i: int, j: int) -> sp.Expr:
        """E[u^i v^j] by Stein's identity on the variable of the higher power."""
        if (i, j) not in moments:
            if i > 0:
                value = mu_u * moment(i - 1, j)
                value += (i - 1) * suu * moment(i - 2, j) if i > 1 else 0
                value += j * suv * moment(i - 1, j - 1) if j > 0 else 0
            else:
                value = mu_v * moment(0, j - 1) + ((j - 1) * svv * moment(0, j - 2) if j > 1 else 0)
            moments[i, j] = sp.expand(value)
        return moments[i, j]

    left, right = sp.Poly(s.poly, x), sp.Poly(t.poly, x)
    total = sp.Add(*(a_i * b_j * moment(i, j) for (i,), a_i in left.terms() for (j,), b_j in right.terms()))
    value = total * sp.exp(sp.expand(exponent)) / sp.sqrt(det)
    return value.xreplace({det: det_value})
