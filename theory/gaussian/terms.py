"""Functions as sums of terms: polynomial times exp(-a x^2 + b x) times one of 1, step, erf, delta.

The class is closed under differentiation in the weak sense and under Gaussian expectation, which is what
the derivations need. A function outside the class decomposes to None; it is then integrated numerically.
"""

from dataclasses import dataclass
from typing import Literal

import sympy as sp

from fimcheck.theory.symbols import Expr, arguments, x

Kind = Literal["smooth", "step", "erf", "delta"]


@dataclass(frozen=True)
class Term:
    """poly(x) * exp(-quad x^2 + lin x) * factor, factor by kind.

    smooth: 1. step: Heaviside(x - at[0]). erf: erf(at[0] x + at[1]). delta: the at[1]-th derivative of
    DiracDelta(x - at[0]).
    """

    poly: Expr
    quad: Expr = sp.S.Zero
    lin: Expr = sp.S.Zero
    kind: Kind = "smooth"
    at: tuple[Expr, ...] = ()

    @property
    def smooth_part(self) -> Expr:
        """The factor that multiplies the step, erf or delta."""
        return self.poly * sp.exp(-self.quad * x**2 + self.lin * x)

    @property
    def expr(self) -> Expr:
        """The term as a SymPy expression in x."""
        factor: Expr = sp.S.One
        if self.kind == "step":
            factor = sp.Heaviside(x - self.at[0])
        elif self.kind == "erf":
            factor = sp.erf(self.at[0] * x + self.at[1])
        elif self.kind == "delta":
            factor = sp.DiracDelta(x - self.at[0], self.at[1])
        return self.smooth_part * factor


Terms = tuple[Term, ...]


def add(terms: list[Term]) -> Terms:
    """Sum of terms with equal factors merged, deltas reduced to constant weights and zeros dropped."""
    merged: dict[tuple[object, ...], Expr] = {}
    for term in terms:
        for piece in _reduced_delta(term) if term.kind == "delta" else (term,):
            key = (piece.quad, piece.lin, piece.kind, piece.at)
            merged[key] = merged.get(key, sp.S.Zero) + piece.poly
    total = []
    for (quad, lin, kind, at), poly in merged.items():
        poly = sp.expand(poly)
        if poly != 0:
            total.append(Term(poly, quad, lin, kind, at))  # type: ignore[arg-type]
    return tuple(total)


def _reduced_delta(term: Term) -> Terms:
    """g(x) delta^(k)(x - t) = sum_j (-1)^j binom(k, j) g^(j)(t) delta^(k-j)(x - t)."""
    place, order = term.at
    pieces = []
    for j in range(int(order) + 1):
        weight = sp.diff(term.smooth_part, x, j).subs(x, place)
        weight = sp.expand((-1) ** j * sp.binomial(order, j) * weight)
        if weight != 0:
            pieces.append(Term(weight, kind="delta", at=(place, order - j)))
    return tuple(pieces)


def derivative(terms: Terms) -> Terms:
    """Weak derivative: a step yields a delta where the function jumps."""
    out = []
    for t in terms:
        slope = sp.expand(sp.diff(t.poly, x) + t.poly * (t.lin - 2 * t.quad * x))
        if t.kind != "delta":
            out.append(Term(slope, t.quad, t.lin, t.kind, t.at))
        if t.kind == "step":
            out.append(Term(t.poly, t.quad, t.lin, "delta", (t.at[0], sp.S.Zero)))
        elif t.kind == "erf":
            a, b = t.at
            weight = t.poly * 2 * a / sp.sqrt(sp.pi) * sp.exp(-(b**2))
            out.append(Term(weight, t.quad + a**2, t.lin - 2 * a * b))
        elif t.kind == "delta":
            out.append(Term(t.poly, kind="delta", at=(t.at[0], t.at[1] + 1)))
    return add(out)


def product(left: Terms, right: Terms) -> Terms | None:
    """Product of two functions, None where it leaves the class (erf times step, erf times erf)."""
    out = []
    for s in left:
        for t in right:
            if s.kind == "smooth" or t.kind == "smooth":
                other = t if s.kind == "smooth" else s
                kind, at = other.kind, other.at
            elif s.kind == "step" and t.kind == "step":
                kind, at = "step", (sp.Max(s.at[0], t.at[0]),)
            else:
                return None
            out.append(Term(s.poly * t.poly, s.quad + t.quad, s.lin + t.lin, kind, at))
    return add(out)


def from_branches(branches: tuple[Expr, ...], breaks: tuple[Expr, ...]) -> Terms | None:
    """Terms of the function equal to branches[i] from breaks[i-1] to breaks[i]; None outside the class."""
    first = _smooth_terms(branches[0])
    if first is None:
        return None
    out = list(first)
    for place, left, right in zip(breaks, branches[:-1], branches[1:], strict=True):
        jump = _smooth_terms(right - left)
        if jump is None or any(t.kind != "smooth" for t in jump):
            return None
        out += [Term(t.poly, t.quad, t.lin, "step", (place,)) for t in jump]
    return add(out)


def _smooth_terms(expr: Expr) -> list[Term] | None:
    """Terms of an expression without kinks; sin, cos, sinh and cosh become exponentials."""
    expr = expr.replace(sp.erfc, lambda z: 1 - sp.erf(z))
    expr = expr.rewrite([sp.sin, sp.cos, sp.sinh, sp.cosh], sp.exp)
    out = []
    for summand in sp.Add.make_args(sp.expand(expr, power_base=False)):
        term = _smooth_term(summand)
        if term is None:
            return None
        out.append(term)
    return out


def _smooth_term(summand: Expr) -> Term | None:
    poly, quad, lin = sp.S.One, sp.S.Zero, sp.S.Zero
    factor: tuple[Expr, ...] | None = None
    for f in sp.Mul.make_args(summand):
        if not f.has(x):
            poly *= f
        elif isinstance(f, sp.exp) and arguments(f)[0].is_polynomial(x):
            exponent = sp.Poly(f.args[0], x)
            if exponent.degree() > 2:
                return None
            const, b, minus_a = (exponent.coeff_monomial(x**k) for k in range(3))
            poly, quad, lin = poly * sp.exp(const), quad - minus_a, lin + b
        elif (
            isinstance(f, sp.erf)
            and arguments(f)[0].is_polynomial(x)
            and sp.Poly(f.args[0], x).degree() == 1
            and not factor
        ):
            inner = sp.Poly(f.args[0], x)
            factor = (inner.coeff_monomial(x), inner.coeff_monomial(1))
        elif f.is_polynomial(x):
            poly *= f
        else:
            return None
    if factor:
        return Term(sp.expand(poly), quad, lin, "erf", factor)
    return Term(sp.expand(poly), quad, lin)
