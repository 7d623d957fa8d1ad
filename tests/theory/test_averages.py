"""Gaussian averages of functions with kinks against brute force, which shares nothing with theory/gaussian."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pytest
import sympy as sp
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fimcheck import theory
from fimcheck.theory.gaussian import (
    algebraic,
    derivation,
    interpolation,
    moments,
    price,
    quadrature,
    reduced,
    sphere,
    terms,
)
from fimcheck.theory.gaussian.functions import DisagreementError, Function, ImpossibleError
from fimcheck.theory.gaussian.kernel import Kernel, kernel
from fimcheck.theory.gaussian.terms import Terms
from fimcheck.theory.network.expectations import Numbers, SecondRoute
from fimcheck.theory.network.state import Overlaps
from fimcheck.theory.symbols import T, p, x

NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)

SMOOTH: dict[str, tuple[sp.Expr, Callable[..., np.ndarray], Callable[..., np.ndarray]]] = {
    "1": (sp.S.One, np.ones_like, np.zeros_like),
    "exp": (sp.exp(x / 2), lambda u: np.exp(u / 2), lambda u: np.exp(u / 2) / 2),
    "tanh": (sp.tanh(x), np.tanh, lambda u: 1 / np.cosh(u) ** 2),
    "sin": (sp.sin(2 * x), lambda u: np.sin(2 * u), lambda u: 2 * np.cos(2 * u)),
    "gaussian": (sp.exp(-(x**2)), lambda u: np.exp(-(u**2)), lambda u: -2 * u * np.exp(-(u**2))),
}


@dataclass(frozen=True)
class Pieces:
    """A piecewise polynomial times a smooth function; coefficients of each piece from the constant on."""

    kinks: tuple[sp.Expr, ...]
    coefficients: tuple[tuple[sp.Expr, ...], ...]
    smooth: str

    @property
    def expr(self) -> sp.Expr:
        """The function for SymPy."""
        values = [sp.Add(*(a * x**k for k, a in enumerate(piece))) for piece in self.coefficients]
        cases = [(v, x < t) for v, t in zip(values, self.kinks, strict=False)]
        return sp.Piecewise(*cases, (values[-1], True)) * SMOOTH[self.smooth][0]

    @cached_property
    def places(self) -> np.ndarray:
        """The kinks as numbers."""
        return np.array([float(t) for t in self.kinks])

    def values(self, u: np.ndarray, derivative: bool) -> np.ndarray:
        """The function, or its slope between the kinks."""
        piece = np.searchsorted(self.places, u)
        table = [np.polynomial.Polynomial([float(a) for a in row]) for row in self.coefficients]
        _, value, slope = SMOOTH[self.smooth]

        def of(polynomials: list[np.polynomial.Polynomial]) -> np.ndarray:
            return np.choose(piece, [poly(u) for poly in polynomials])

        return of([t.deriv() for t in table]) * value(u) + of(table) * slope(u) if derivative else of(table) * value(u)

    @cached_property
    def jumps(self) -> list[tuple[float, float]]:
        """Place and height where the value jumps: a delta in the slope."""
        found = []
        for t, left, right in zip(self.kinks, self.coefficients, self.coefficients[1:], strict=False):
            height = sum((b - a) * t**k for k, (a, b) in enumerate(zip(left, right, strict=True)))
            if height != 0:
                found.append((float(t), float(height) * float(SMOOTH[self.smooth][1](np.array(float(t))))))
        return found


def between(kinks: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    ends = np.unique(np.clip(np.concatenate([np.linspace(low, high, 9), kinks]), low, high))
    half = np.diff(ends)[:, None] / 2
    return ((ends[1:] + ends[:-1])[:, None] / 2 + half * NODES).ravel(), (half * WEIGHTS).ravel()


def brute(f: Pieces, f_slope: bool, g: Pieces, g_slope: bool, p: float, c: float, mean: float) -> tuple[float, float]:
    """E f(u) g(v) and E|f(u)| E|g(v)| given u, the latter averaged: v given u is Gaussian."""
    own = np.sqrt(p - c * c / p)

    def density(distance: np.ndarray | float, sd: float) -> np.ndarray:
        return np.exp(-((distance / sd) ** 2) / 2) / sd / np.sqrt(2 * np.pi)

    def given_u(u: float) -> tuple[float, float]:
        center = mean + c / p * (u - mean)
        v, w = between(g.places, center - 12 * own, center + 12 * own)
        terms = w * g.values(v, g_slope) * density(v - center, own)
        deltas = [height * float(density(t - center, own)) for t, height in (g.jumps if g_slope else ())]
        return float(terms.sum()) + sum(deltas), float(np.abs(terms).sum()) + sum(map(abs, deltas))

    # Where the mean of v meets a kink of g, the average over v bends over the spread of v.
    images = mean + p / c * (g.places[:, None] - mean) + own * p / abs(c) * np.array([-6, -3, -1, 0, 1, 3, 6])
    reach = 12 * np.sqrt(p)
    u, w = between(np.concatenate([f.places, images.ravel()]), mean - reach, mean + reach)
    weights = w * f.values(u, f_slope) * density(u - mean, np.sqrt(p))
    if f_slope:
        u = np.concatenate([u, [t for t, _ in f.jumps]])
        weights = np.concatenate([weights, [h * float(density(t - mean, np.sqrt(p))) for t, h in f.jumps]])
    pairs = np.array([given_u(a) if w != 0 else (0.0, 0.0) for a, w in zip(u, weights, strict=True)])
    return float(weights @ pairs[:, 0]), float(np.abs(weights) @ pairs[:, 1])


@st.composite
def pieces(draw: st.DrawFn) -> Pieces:
    """One to five pieces of degree up to 3: jumps of value, of slope, or of curvature only at each kink."""
    count = draw(st.integers(1, 5))
    eighths = draw(st.lists(st.integers(-24, 24), min_size=count - 1, max_size=count - 1, unique=True))
    kinks = tuple(sp.Rational(k, 8) for k in sorted(eighths))
    quarters = st.integers(-8, 8).map(lambda k: sp.Rational(k, 4))
    rows = [draw(st.tuples(quarters, quarters, quarters, quarters))]
    for t in kinks:
        smoothness = draw(st.integers(0, 2))
        powers = [draw(quarters) * (x - t) ** k for k in range(smoothness, 4)]
        change = sp.Poly(sp.expand(sp.Add(*powers)), x)
        rows.append(tuple(a + change.coeff_monomial(x**k) for k, a in enumerate(rows[-1])))
    return Pieces(kinks, tuple(rows), draw(st.sampled_from(["1", "1", "1", *SMOOTH])))


variances = st.sampled_from([0.3, 1.0, 1.9, 5.0])
correlations = st.floats(-0.95, 0.95).filter(lambda r: abs(r) > 0.02)
means = st.sampled_from([0.0, 0.0, 0.4, -1.1])


def confirm(f: Pieces, p: float, rho: float, mean: float) -> None:
    phi = Function.from_expr(f.expr)
    slope = phi.derivative()
    for left, right, l_slope, r_slope in (
        (phi, phi, False, False), (slope, slope, True, True), (phi, slope, False, True)
    ):  # fmt: skip
        right_value, size = brute(f, l_slope, f, r_slope, p, rho * p, mean)
        found = float(kernel(left, right)(p, rho * p, mean))
        assert abs(found - right_value) <= 1e-8 * size + 1e-300, (found, right_value)


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow,),
    derandomize=True,
    phases=[Phase.generate],
)
@given(pieces(), variances, correlations, means)
def test_piecewise_polynomials_against_brute_force(f: Pieces, p: float, rho: float, mean: float) -> None:
    confirm(f, p, rho, mean)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=(HealthCheck.too_slow,), phases=[Phase.generate])
@given(pieces(), variances, correlations, means)
def test_many_piecewise_polynomials_against_brute_force(f: Pieces, p: float, rho: float, mean: float) -> None:
    confirm(f, p, rho, mean)


HARD_SWISH = x * sp.Max(0, sp.Min(1, x / 6 + sp.Rational(1, 2)))


@pytest.mark.parametrize(
    ("expr", "p", "c", "values", "slopes"),
    [
        (HARD_SWISH, 1.9, 0.2, 0.1462015716, 0.2675788095),
        (HARD_SWISH, 5.0, 3.0, 1.4048954485, 0.3794114631),
        (HARD_SWISH, 2.5, 0.5, 0.2884166431, None),
        (sp.Min(sp.Max(x, 0), 1) ** 2, 3.0, 2.0, 0.2251010030, None),
    ],
)
def test_slope_jumps_away_from_0(expr: sp.Expr, p: float, c: float, values: float, slopes: float | None) -> None:
    phi = Function.from_expr(expr)
    assert float(kernel(phi, phi)(p, c)) == pytest.approx(values, abs=1e-10)
    if slopes is not None:
        assert float(kernel(phi.derivative(), phi.derivative())(p, c)) == pytest.approx(slopes, abs=1e-10)


def test_a_mean_and_kinks_away_from_it() -> None:
    """The exponents of the reduced form hold p, c and mu here: no sign of an edge in c can be told from them."""
    rows = ((0, 0, 0, 0), (0, "1/2", "1/6", 0), (0, 1, 0, 0))
    coefficients = tuple(tuple(sp.Rational(entry) for entry in row) for row in rows)
    f = Pieces((sp.Integer(-3), sp.Integer(3)), coefficients, "1")
    phi = Function.from_expr(f.expr)
    for derivative, h in ((False, phi), (True, phi.derivative())):
        right, _ = brute(f, derivative, f, derivative, 1.9, 0.2, 0.4)
        assert float(kernel(h, h)(1.9, 0.2, 0.4)) == pytest.approx(right, rel=1e-9)


def unseen(number: int) -> Function:
    """Hard-swish with another slope, which no cache knows."""
    return Function.from_expr(x * sp.Max(0, sp.Min(1, x / (6 + number) + sp.Rational(1, 2))))


def blind_constants(monkeypatch: pytest.MonkeyPatch) -> Function:
    """The constants of Price's theorem by quadrature, which cannot see the deltas of phi''."""
    original = price.reduce

    def blind(left: Terms, right: Terms, mean: sp.Expr, bare: bool = False) -> price.PriceReduction | None:
        found = original(left, right, mean, bare)
        assert found is not None
        regular = tuple(t for t in terms.derivative(terms.derivative(left)) if t.kind != "delta")
        third = moments.mean_of_terms(regular, mean, p) ** 2
        return replace(found, constants=(*found.constants[:2], third, *found.constants[3:]))

    monkeypatch.setattr(price, "reduce", blind)
    return unseen(1)


def sign_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> Function:
    """The mean of a polynomial behind a step with the boundary term of Stein's identity subtracted."""
    original = moments.normal_density
    monkeypatch.setattr(moments, "normal_density", lambda *at: -original(*at))
    return unseen(2)


def sign_in_the_recurrence(monkeypatch: pytest.MonkeyPatch) -> Function:
    """The derivatives of the joint density for -c."""
    original = reduced._hermite
    monkeypatch.setattr(reduced, "_hermite", lambda a, b, own, cross, m, n: original(a, b, own, -cross, m, n))
    return unseen(3)


def forgotten_constant(monkeypatch: pytest.MonkeyPatch) -> Function:
    """Price's theorem without E phi E phi."""
    original = price.reduce

    def forgetful(left: Terms, right: Terms, mean: sp.Expr, bare: bool = False) -> price.PriceReduction | None:
        found = original(left, right, mean, bare)
        return found and replace(found, constants=(sp.S.Zero, *found.constants[1:]))

    monkeypatch.setattr(price, "reduce", forgetful)
    return Function.from_expr(sp.Max(x, 0) ** 2 + x / 7)


def sign_in_an_integral(monkeypatch: pytest.MonkeyPatch) -> Function:
    """An integral over 1/r with the wrong sign of its root."""
    original = algebraic._integral_over_root

    def wrong(numerator: sp.Poly, power: int, square: sp.Expr) -> list[tuple[tuple[int, int], sp.Expr]]:
        return [(key, -w if key == (0, 1) else w) for key, w in original(numerator, power, square)]

    monkeypatch.setattr(algebraic, "_integral_over_root", wrong)
    return Function.from_expr(sp.Max(x, 0) ** 2 + x / 11)


def lost_tail(monkeypatch: pytest.MonkeyPatch) -> Function:
    """Quadrature over 9.5 standard deviations of a function whose square has its mass 9 away."""
    monkeypatch.setattr(quadrature, "REACHES", (9.5,))
    return Function.from_expr(sp.exp(3 * x) * sp.tanh(x))


MISTAKES = [
    blind_constants,
    sign_in_a_moment,
    sign_in_the_recurrence,
    forgotten_constant,
    sign_in_an_integral,
    lost_tail,
]


@pytest.mark.parametrize("plant", MISTAKES, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_refused(plant: Callable[..., Function], monkeypatch: pytest.MonkeyPatch) -> None:
    phi = plant(monkeypatch)
    with pytest.raises(DisagreementError, match="a rule that only evaluates"):
        Kernel(phi, phi)(2.0, 1.7)


def test_a_wrong_form_is_refused_where_it_is_derived(monkeypatch: pytest.MonkeyPatch) -> None:
    phi = forgotten_constant(monkeypatch)
    with pytest.raises(DisagreementError, match=r"variance 1\.3"):
        _ = Kernel(phi, phi).centered
    monkeypatch.setattr(derivation, "mean_of_terms", lambda *_: sp.S.One)
    with pytest.raises(DisagreementError):
        _ = Kernel(phi, phi).centered_same
    with pytest.raises(DisagreementError):
        _ = Kernel(phi, phi).independent


def test_a_wrong_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    original = interpolation.values
    monkeypatch.setattr(interpolation, "values", lambda *at: original(*at) * (1 + 1e-6))
    phi = Function.from_expr(sp.tanh(x))
    with pytest.raises(DisagreementError):
        Kernel(phi, phi)(np.linspace(1.1, 1.2, 1500), np.linspace(0.5, 0.6, 1500))


def test_a_wrong_average_over_a_batch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    phi = theory.activation("relu").phi
    original = sphere.radius_moment
    monkeypatch.setattr(sphere, "radius_moment", lambda degree, samples: original(degree + 1, samples))
    with pytest.raises(DisagreementError, match="T = 6"):
        sphere.expr(phi, 0, 1, T, sp.S.One, sp.S.Zero)
    monkeypatch.setattr(sphere, "certified", lambda _: 0.25)
    with pytest.raises(DisagreementError, match="T = 9"):
        sphere._integral(phi, 2, 9.0)


def test_fast_growth_moves_the_range_of_quadrature() -> None:
    phi = Function.from_expr(sp.exp(3 * x) * sp.tanh(x))
    u, w = between(np.empty(0), 0.0, 25.0)
    square = float(w @ (np.exp(6 * u - u**2 / 4) * np.tanh(u) ** 2)) / np.sqrt(4 * np.pi)
    assert float(kernel(phi, phi)(2.0, 2.0)) == pytest.approx(square, rel=1e-9)


@pytest.mark.parametrize(("power", "first", "slope"), [("3/2", 1.0, 2.25), ("5/2", 4.0, 6.25)])
def test_rectified_powers(power: str, first: float, slope: float) -> None:
    v, half = 2.1, sp.Rational(power)
    squares = np.sqrt(2 / np.pi) * v ** float(half) * first  # E max(u, 0)^(2 power)
    slopes = slope * v ** (float(half) - 1) * (np.sqrt(2 / np.pi) if power == "5/2" else 1 / np.sqrt(2 * np.pi))
    for expr, times in ((sp.Max(x, 0) ** half, 1), (sp.Abs(x) ** half, 2)):
        phi = theory.activation(expr).phi
        assert float(kernel(phi, phi)(v, v)) == pytest.approx(times * squares, rel=1e-10)
        assert float(kernel(phi.derivative(), phi.derivative())(v, v)) == pytest.approx(times * slopes, rel=1e-10)
        assert phi.derivative().deltas == ()
    with pytest.raises(theory.ActivationError, match="slope"):
        theory.activation(sp.Abs(x) ** (half - 1) if power == "3/2" else sp.Abs(x) ** sp.Rational(1, 3))


def test_averages_that_nothing_random_has_are_refused() -> None:
    phi = theory.activation("relu").phi
    Overlaps(1.0, -0.5).possible(phi)
    with pytest.raises(ImpossibleError, match=r"1.1 .* exceeds E f\(u\)\^2 = 1"):
        Overlaps(1.0, 1.1).possible(phi)
    with pytest.raises(ImpossibleError, match="mate"):
        Overlaps(1.0, 0.5, -1.1).possible(phi)
    gram = np.full((3, 3), -0.6)
    np.fill_diagonal(gram, 1.0)
    with pytest.raises(ImpossibleError, match=r"eigenvalue -0\.2"):
        Overlaps(1.0, gram).possible(phi)
    with pytest.raises(OverflowError, match="beyond float64"):
        Overlaps(np.inf, 1.0).possible(phi)
    with pytest.raises(ValueError, match="negative eigenvalue"):
        theory.GivenInputs(gram)


def test_a_network_with_impossible_averages_names_the_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    net = theory.WideNetwork(3, "relu", sigma_w2=2, sigma_b2=0.1, ratios=1)
    monkeypatch.setattr(Numbers, "pair", lambda *_: np.array(7.0))
    with pytest.raises(ImpossibleError, match=r"activation relu, step 2: .* report"):
        theory.numeric_order_parameters(net)


def overflows(expr: sp.Expr, exact: sp.Expr, depth: int, step: int) -> None:
    shallow = theory.WideNetwork(2, expr, sigma_w2=1, sigma_b2=0, ratios=1)
    assert float(theory.numeric_order_parameters(shallow).kappa1) == pytest.approx(float(exact), rel=1e-12)
    deep = theory.WideNetwork(depth, expr, sigma_w2=1, sigma_b2=0.1, ratios=1)
    with pytest.raises(OverflowError, match=rf"activation .*, step {step}: .* float64"):
        theory.numeric_order_parameters(deep)


def test_overflow_names_the_activation_and_the_step() -> None:
    overflows(sp.exp(5 * x), sp.exp(50) * 26, 3, 4)
    overflows(x**8, sp.factorial2(15) + 64 * sp.factorial2(13), 4, 6)


@pytest.mark.slow
def test_overflow_of_a_high_power() -> None:
    overflows(x**24, sp.factorial2(47) + 24**2 * sp.factorial2(45), 3, 4)


def test_the_stated_error_is_the_distance_of_the_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    net = theory.WideNetwork(3, HARD_SWISH, sigma_w2=2, sigma_b2=0.1, ratios=1)
    found = theory.predict(net, "kappa2")
    assert found.distance() < 1e-12
    monkeypatch.setattr(SecondRoute, "pair", lambda self, *at: Numbers.pair(self, *at) * 1.01)
    assert found.distance() == pytest.approx(0.02 * float(found.evaluate()), rel=0.5)
