"""Derived kernels: equal to the literature's forms, certified to 25 digits, and the certificate catches
planted errors.
"""

from dataclasses import replace

import pytest
import sympy as sp

from fimcheck import theory
from fimcheck.theory.gaussian import algebraic, certificate, derivation, moments, price, terms
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.gaussian.kernel import kernel
from fimcheck.theory.symbols import c, mu, p, x

ROOT = sp.sqrt(p**2 - c**2)


def centered(expr: sp.Expr) -> sp.Expr:
    f = Function.from_expr(expr)
    found = kernel(f, f).centered.expr
    assert found is not None
    return found


def gelu_of_the_literature() -> sp.Expr:
    """Tsuchida et al. 2021, for equal variances p and covariance c."""
    root = sp.sqrt((1 + p) ** 2 - c**2)
    sine2 = 1 - c**2 / p**2
    first = (c**2 / p**2 + 1 + 2 * p + p**2 * sine2) / ((1 + p) ** 2 * root)
    return c / 4 + p**2 / (2 * sp.pi) * (first + c / p**2 * sp.atan(c / root))


LITERATURE = {
    # Cho and Saul 2009, arc-cosine kernels of degree 1 and 0.
    "relu": (sp.Max(x, 0), (ROOT + c * (sp.pi - sp.acos(c / p))) / (2 * sp.pi)),
    "step": (sp.Heaviside(x), (sp.pi - sp.acos(c / p)) / (2 * sp.pi)),
    # Williams 1997.
    "erf": (sp.erf(x), 2 / sp.pi * sp.asin(2 * c / (1 + 2 * p))),
    "erf slope": (2 / sp.sqrt(sp.pi) * sp.exp(-(x**2)), 4 / (sp.pi * sp.sqrt((1 + 2 * p) ** 2 - 4 * c**2))),
    # Rahimi and Recht 2007; Pearce et al. 2019.
    "sin": (sp.sin(x), sp.exp(-p) * sp.sinh(c)),
    "cos": (sp.cos(x), sp.exp(-p) * sp.cosh(c)),
    "exp": (sp.exp(x), sp.exp(p + c)),
    # Mehler: E He_n He_n = n! c^n at p = 1.
    "hermite_6": (sp.Poly(x**6 - 15 * x**4 + 45 * x**2 - 15, x).as_expr(), 720 * c**6),
    "gelu": (x * (1 + sp.erf(x / sp.sqrt(2))) / 2, gelu_of_the_literature()),
}


@pytest.mark.parametrize("name", LITERATURE)
def test_equals_the_literature(name: str) -> None:
    expr, known = LITERATURE[name]
    difference = centered(expr) - known
    if name.startswith("hermite"):
        difference = difference.subs(p, 1)
    difference = difference.rewrite(sp.exp) if name in ("sin", "cos") else difference
    # Differentiating twice in c removes the angle; value and slope at c = 0, where the roots are rational
    # in p, fix
    # what that removes.
    assert sp.simplify(sp.diff(difference, c, 2)) == 0
    ends = [sp.diff(difference, c, k).subs(c, 0) for k in (0, 1)]
    assert all(sp.simplify(e.replace(sp.Pow, lambda b, n: sp.factor(b) ** n)) == 0 for e in ends)


def test_leaky_relu_with_a_symbolic_slope() -> None:
    a = sp.Symbol("a", real=True)
    f = theory.leaky_relu(a).phi
    found = kernel(f, f).centered.expr
    known = (1 - a) ** 2 * (ROOT + c * sp.asin(c / p)) / (2 * sp.pi) + (1 + a) ** 2 * c / 4
    assert found is not None
    assert sp.simplify(sp.expand(found - known)) == 0


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sin", "exp", "cube", "hermite_3", "linear"])
def test_certificates(name: str) -> None:
    found = theory.certify(theory.activation(name), count=1)
    assert found
    assert all(f.holds for f in found), found


@pytest.mark.parametrize("name", ["erf", "gelu", "gaussian"])
def test_certificates_of_slow_functions_at_one_extreme_point(name: str) -> None:
    f = theory.activation(name).phi
    closed = kernel(f, f).centered.expr
    assert closed is not None
    point = (sp.Rational(3, 10), sp.Rational(3, 10) * (1 - sp.Rational(1, 10**7)), sp.S.Zero)
    assert certificate.agreement(f, f, closed, point) >= certificate.DIGITS


@pytest.mark.parametrize(
    "expr",
    [
        sp.sin(x) + x / 2,
        sp.Max(x, 0) + sp.sin(x),
        sp.erf(x) + sp.Max(x, 0),
        x**2 * sp.Heaviside(x),
        x * sp.exp(-(x**2)),
    ],
)
def test_unseen_activations_work_from_their_expression(expr: sp.Expr) -> None:
    f = Function.from_expr(expr)
    closed = kernel(f, f).centered.expr
    assert closed is not None
    assert certificate.agreement(f, f, closed, (sp.Rational(1, 2), sp.Rational(-1, 5), sp.S.Zero)) >= certificate.DIGITS


def broken_moments(monkeypatch: pytest.MonkeyPatch) -> sp.Expr:
    """Stein's identity with the variance of the pair for its covariance."""
    original = moments.Pair
    monkeypatch.setattr(derivation, "Pair", lambda p_, c_, mean: original(p_, c_ / 2, mean))
    return x**3


def broken_price(monkeypatch: pytest.MonkeyPatch) -> sp.Expr:
    """A forgotten constant of integration."""
    original = price.reduce

    def forgetful(
        left: terms.Terms, right: terms.Terms, mean: sp.Expr, bare: bool = False
    ) -> price.PriceReduction | None:
        found = original(left, right, mean, bare)
        return found and replace(found, constants=(sp.S.Zero, *found.constants[1:]))

    monkeypatch.setattr(price, "reduce", forgetful)
    return sp.Max(x, 0)


def broken_integral(monkeypatch: pytest.MonkeyPatch) -> sp.Expr:
    """int c^2/r without its factor 1/2, in an integral that GELU's and x^2 step's kernels need."""
    original = algebraic._integral_over_root

    def wrong(numerator: sp.Poly, power: int, square: sp.Expr) -> list[tuple[tuple[int, int], sp.Expr]]:
        return [(key, 2 * w if key == (0, 1) else w) for key, w in original(numerator, power, square)]

    monkeypatch.setattr(algebraic, "_integral_over_root", wrong)
    return sp.Max(x, 0)


def broken_square(monkeypatch: pytest.MonkeyPatch) -> sp.Expr:
    """A weak derivative that drops the exponential's own slope."""
    original = moments._smooth_pair

    def wrong(s: terms.Term, t: terms.Term, pair: moments.Pair) -> sp.Expr:
        return original(s, terms.Term(t.poly, 2 * t.quad, t.lin, t.kind, t.at), pair)

    monkeypatch.setattr(moments, "_smooth_pair", wrong)
    return sp.exp(-(x**2) / 2)


def broken_generating(monkeypatch: pytest.MonkeyPatch) -> sp.Expr:
    """cosh for sinh: the sign of one exponential."""
    original = moments._smooth_pair

    def wrong(s: terms.Term, t: terms.Term, pair: moments.Pair) -> sp.Expr:
        value = original(s, t, pair)
        return value if s.lin == t.lin else -value

    monkeypatch.setattr(moments, "_smooth_pair", wrong)
    return sp.sin(x)


def broken_conditioning(monkeypatch: pytest.MonkeyPatch) -> sp.Expr:
    """The boundary term of Stein's identity at a step, halved."""
    original = moments._delta_pair
    monkeypatch.setattr(moments, "_delta_pair", lambda s, t, pair: original(s, t, pair) / 2)
    return x + sp.Max(x, 0)


@pytest.mark.parametrize(
    "plant",
    [broken_moments, broken_price, broken_integral, broken_square, broken_generating, broken_conditioning],
)
def test_a_wrong_step_is_caught_by_the_certificate(plant, monkeypatch: pytest.MonkeyPatch) -> None:
    point = (sp.Rational(1, 2), sp.Rational(1, 5), sp.S.Zero)
    reduce = price.reduce  # what it has kept is right or wrong as its parts were
    reduce.cache_clear()
    f = Function.from_expr(plant(monkeypatch))
    wrong = derivation.derive_pair(f, f, sp.S.Zero).expr
    assert wrong is not None
    assert certificate.agreement(f, f, wrong, point) < 10
    monkeypatch.undo()
    reduce.cache_clear()
    right = derivation.derive_pair(f, f, sp.S.Zero).expr
    assert right is not None
    assert certificate.agreement(f, f, right, point) >= certificate.DIGITS


def test_steps_name_the_method_and_end_with_the_result() -> None:
    f = theory.activation("relu").phi
    found = kernel(f, f).centered
    assert found.method == derivation.PRICE
    assert any("F' = E[f'(u) g'(v)]" in line for line in found.steps)
    assert found.steps[-1].endswith(str(found.expr))


def test_shifted_exponential_families_are_closed() -> None:
    for name in ("sin", "exp", "gaussian", "cube"):
        f = theory.activation(name).phi
        closed = kernel(f, f).shifted.expr
        assert closed is not None
        assert closed.has(mu)
        point = (sp.Rational(2, 5), sp.Rational(1, 10), sp.Rational(3, 10))
        assert certificate.agreement(f, f, closed, point) >= certificate.DIGITS


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (sp.erf(x), sp.sin(x)),
        (x * sp.erf(x), sp.exp(-(x**2))),
        (sp.Max(x, 0), sp.exp(x)),
        (sp.Max(x, 0), sp.Heaviside(x)),
        (sp.Max(x, 0) ** 2, sp.Max(-x, 0)),
        (x**2, sp.cos(x)),
    ],
)
def test_two_different_functions(left: sp.Expr, right: sp.Expr) -> None:
    f, g = Function.from_expr(left), Function.from_expr(right)
    closed = kernel(f, g).centered.expr
    assert closed is not None
    point = (sp.Rational(1, 3), sp.Rational(-1, 4), sp.S.Zero)
    assert certificate.agreement(f, g, closed, point) >= certificate.DIGITS
    assert sp.expand(closed - kernel(g, f).centered.expr).subs({p: 2, c: sp.Rational(1, 3)}).evalf(30) == 0
