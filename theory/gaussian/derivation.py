"""Finds E[f(u) g(v)] of a Gaussian pair in closed form, by named methods tried in order, with the steps it
took.
"""

from dataclasses import dataclass

import sympy as sp

from fimcheck.theory.gaussian import price
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.gaussian.moments import Pair, is_elementary, mean_of_terms, pair_of_terms
from fimcheck.theory.gaussian.terms import Term, product
from fimcheck.theory.symbols import Expr, c, mu, p, x

MOMENTS = "moments of a Gaussian pair"
GENERATING = "generating function"
SQUARE = "completing the square"
CONDITIONING = "direct integration in one variable"
PRICE = "Price's theorem"
PRICE_INTEGRAL = "Price's theorem, one integral left"
QUADRATURE = "quadrature"

LONGEST = 16
"""Most summands of a kernel of Price's theorem that is written out."""


@dataclass(frozen=True)
class Derivation:
    """How an expectation was found. expr: closed form in p, c (and mu); None if an integral is left."""

    method: str
    expr: Expr | None
    steps: tuple[str, ...]


def derive_pair(f: Function, g: Function, mean: Expr) -> Derivation:
    """E[f(u) g(v)], (u, v) of common mean (0 or `symbols.mu`), variance p and covariance c."""
    start = (f"f(x) = {f.expr}", f"g(x) = {g.expr}") if f != g else (f"f(x) = g(x) = {f.expr}",)
    if f.terms is None or g.terms is None:
        why = "not a sum of polynomial * exp(quadratic) * {1, step, erf}: no method for a closed form applies"
        return Derivation(QUADRATURE, None, (*start, why))
    pairs = [(s, t) for s in f.terms for t in g.terms]
    method, values, steps = _elementary_method([*f.terms, *g.terms]), [], []
    for s, t in pairs:
        if not is_elementary(s, t):
            method = PRICE
            found = _by_price(s, t, mean)
            if isinstance(found, str):
                return _reduced(f, g, mean, start, found)
            values.append(found[0])
            steps += found[1]
    for s, t in pairs:
        if is_elementary(s, t):
            value = pair_of_terms((s,), (t,), Pair(p, c, mean))
            assert value is not None
            values.append(value)
            steps.append(f"{_elementary_method([s, t])}: E[{_written(s, t)}] = {value}")
    oscillating = sp.Add(*(v for v in values if v.has(sp.I)))
    total = sp.Add(*(v for v in values if not v.has(sp.I)))
    expr = tidy(total + _real(oscillating))
    return Derivation(method, expr, (*start, *steps, f"E[f(u) g(v)] = {expr}"))


def _elementary_method(terms: list[Term]) -> str:
    if any(t.kind != "smooth" for t in terms):
        return CONDITIONING
    if all(t.quad == 0 and t.lin == 0 for t in terms):
        return MOMENTS
    return GENERATING if all(t.quad == 0 for t in terms) else SQUARE


def _written(s: Term, t: Term) -> str:
    u, v = sp.symbols("u v", real=True)
    return f"({s.expr.subs(x, u)}) ({t.expr.subs(x, v)})"


def _by_price(s: Term, t: Term, mean: Expr) -> tuple[Expr, list[str]] | str:
    """The value and the steps, or the reason why Price's theorem gives no closed form."""
    reduction = price.reduce((s,), (t,), mean)
    if reduction is None:
        return "no derivative turns both factors into Gaussians or deltas"
    n = reduction.order
    lines = [
        f"{PRICE}: F(c) = E[{_written(s, t)}] has F' = E[f'(u) g'(v)]",
        f"F^({n})(c) = E[f^({n})(u) g^({n})(v)] = {reduction.kernel}",
    ]
    closed = price.closed_form(reduction)
    if closed is None:
        return f"the kernel F^({n})(c) = {reduction.kernel} has no antiderivative in elementary form"
    value, stages = closed
    for k, stage in zip(range(n - 1, -1, -1), (*stages, value), strict=True):
        lines.append(f"integrate, F^({k})(0) = E f^({k}) E g^({k}) = {reduction.constants[k]}: F^({k})(c) = {stage}")
    return value, lines


def _reduced(f: Function, g: Function, mean: Expr, start: tuple[str, ...], reason: str) -> Derivation:
    assert f.terms is not None
    assert g.terms is not None
    whole = price.reduce(f.terms, g.terms, mean, bare=True)
    if whole is None:
        return Derivation(QUADRATURE, None, (*start, reason))
    n = whole.order
    kernel = whole.kernel if len(whole.left) * len(whole.right) <= LONGEST else f"E[f^({n})(u) g^({n})(v)]"
    line = f"F^({n})(c) = {kernel}, integrated numerically {n} times from c = 0 or c = -p"
    return Derivation(PRICE_INTEGRAL, None, (*start, reason, line))


def derive_same(f: Function, g: Function, mean: Expr) -> Derivation:
    """E[f(u) g(u)], u ~ N(mean, p): from the product where it stays in the class of terms, else the pair at
    c = p.
    """
    start = (f"f(x) g(x) = ({f.expr}) ({g.expr})",)
    if f.terms is not None and g.terms is not None:
        both = product(f.terms, g.terms)
        if both is not None:
            expr = tidy(_real(mean_of_terms(both, mean, p)))
            return Derivation(_elementary_method(list(both)), expr, (*start, f"E[f(u) g(u)] = {expr}"))
    pair = derive_pair(f, g, mean)
    if pair.expr is None:
        return pair
    expr = tidy(pair.expr.subs(c, p))
    return Derivation(pair.method, expr, (*pair.steps, f"at c = p: E[f(u) g(u)] = {expr}"))


def derive_mean(f: Function, mean: Expr) -> Expr | None:
    """E f(u), u ~ N(mean, p), in closed form."""
    return None if f.terms is None else _real(mean_of_terms(f.terms, mean, p))


def _real(expr: Expr) -> Expr:
    """Sines and cosines back from the complex exponentials they were integrated as."""
    return sp.factor_terms(sp.expand(expr, complex=True)) if expr.has(sp.I) else expr


def tidy(expr: Expr) -> Expr:
    """Summands of equal roots, angles and exponentials collected, each over one denominator."""
    expr = expr.replace(lambda e: isinstance(e, sp.Pow) and not e.exp.is_Integer and e.has(p), _split_root)
    special: dict[Expr, Expr] = {}
    for summand in _summands(expr):
        factors = sp.Mul.make_args(sp.powsimp(summand, combine="exp"))
        plain = sp.Mul(*(a for a in factors if a.is_rational_function(p, c, mu)))
        rest = sp.Mul(*(a for a in factors if not a.is_rational_function(p, c, mu)))
        special[rest] = special.get(rest, sp.S.Zero) + plain
    return sp.Add(*(rest * _over_one_denominator(weight) for rest, weight in special.items()))


def _summands(expr: Expr) -> list[Expr]:
    """Summands of a product or sum, multiplied out only over sums that hold roots or functions."""
    if isinstance(expr, sp.Add):
        return [s for a in expr.args for s in _summands(a)]
    if isinstance(expr, sp.Mul):
        for a in expr.args:
            if isinstance(a, sp.Add) and not a.is_rational_function(p, c, mu):
                return [s for b in a.args for s in _summands(expr / a * b)]
    return [expr]


def _over_one_denominator(weight: Expr) -> Expr:
    if not weight.has(p, c, mu):
        return sp.nsimplify(weight) if weight.is_Rational else sp.together(weight)
    constants = [a for a in weight.atoms(sp.Pow) if a.is_number and not a.is_Rational]
    stand_in = {a: sp.Dummy(positive=True) for a in constants}
    found = sp.factor(sp.together(weight.xreplace(stand_in)))
    return found.xreplace({d: a for a, d in stand_in.items()})


def _split_root(power: Expr) -> Expr:
    """(a/b)^e as a^e b^-e; bases here are variances and determinants, positive for |c| < p."""
    base, exponent = power.as_base_exp()
    above, below = sp.fraction(sp.cancel(base))
    if below.is_Number or not base.is_rational_function(p, c):
        return power
    if not below.subs({p: 1, c: sp.Rational(1, 3)}).is_positive:
        above, below = -above, -below
    return sp.expand(above) ** exponent * sp.expand(below) ** -exponent
