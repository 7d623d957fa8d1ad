"""float64 accuracy over variances 1e-6..1e3 and correlations -1..1, printed as a table of worst errors."""

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import sympy as sp

from fimcheck import theory
from fimcheck.theory.gaussian import evaluation, interpolation, quadrature, reduced
from fimcheck.theory.gaussian.kernel import Kernel, kernel
from fimcheck.theory.symbols import c, p

CLOSED = ["linear", "square", "cube", "hermite_2", "hermite_3", "relu", "leaky_relu", "abs", "erf", "gelu"]
CLOSED += ["sin", "cos", "exp", "gaussian"]
INTEGRATED = ["tanh", "sigmoid", "silu", "softplus", "elu", "selu", "hard_tanh", "relu6"]


def kernels(name: str) -> tuple[Kernel, Kernel]:
    phi = theory.activation(name).phi
    slope = phi.derivative()
    return kernel(phi, phi), kernel(slope, slope)


def extreme_points(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    variance = 10.0 ** rng.uniform(-6, 3, 24)
    gaps = 10.0 ** rng.uniform(-16, 0, 9)
    rho = np.concatenate([[-1.0, 1.0, 0.0], 1 - gaps, gaps - 1, rng.uniform(-1, 1, 3)])
    return variance, np.clip(variance * rho, -variance, variance)


def relative_error(expr: sp.Expr, variance: np.ndarray, covariance: np.ndarray, found: np.ndarray) -> float:
    exact = sp.lambdify([p, c], expr, "mpmath")
    worst = 0.0
    with mpmath.workdps(80):
        for q, r, value in zip(variance, covariance, found, strict=True):
            truth = mpmath.re(exact(mpmath.mpf(q), mpmath.mpf(r)))
            if truth > mpmath.mpf("1.7e308"):  # beyond float64, and so said
                assert value == np.inf
                continue
            size = abs(truth) if abs(truth) > mpmath.mpf("1e-60") else mpmath.mpf(1)
            worst = max(worst, float(abs(mpmath.mpf(value) - truth) / size))
    return worst


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_to_twelve_digits(name: str, record_property: Callable[[str, object], None]) -> None:
    for k in kernels(name):
        assert k.centered.expr is not None
        variance, covariance = extreme_points(1)
        if name == "exp":  # beyond, the rule has no density where the mass is: see the test below
            fits = np.minimum(1, 100 / variance)
            variance, covariance = variance * fits, covariance * fits
        worst = relative_error(k.centered.expr, variance, covariance, k(variance, covariance))
        record_property(f"worst relative error, {name}", worst)
        assert worst <= 1e-12


def test_a_number_without_a_second_route_is_refused() -> None:
    """E exp(u + v) = e^600 fits float64, the values that its rule would have to add do not."""
    with pytest.raises(quadrature.QuadratureError, match="Take a smaller variance"):
        kernels("exp")[0](345.0, 255.0)


def test_the_guards_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    relu = kernels("relu")[0].centered.expr
    assert relu is not None
    variance, covariance = extreme_points(1)
    monkeypatch.setattr(evaluation, "MAX_LOSS", np.inf)
    monkeypatch.setattr(evaluation, "stable", lambda expr: expr)
    unguarded = evaluation.compiled(relu)(variance, covariance, np.zeros_like(variance))
    assert relative_error(relu, variance, covariance, unguarded) > 1e-6


def polar(k: Kernel, variance: float, rho: float) -> float:
    """E f(u) g(v) in polar coordinates, panels graded toward the rays u = 0 and v = 0."""
    nodes, weights = np.polynomial.legendre.leggauss(24)

    def panels(ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ends = np.unique(ends)
        half = np.diff(ends)[:, None] / 2
        return ((ends[1:] + ends[:-1])[:, None] / 2 + half * nodes).ravel(), (half * weights).ravel()

    turn, scale = np.arccos(rho), np.sqrt(variance)
    rays = np.array([np.pi / 2, 3 * np.pi / 2, turn + np.pi / 2, turn + 3 * np.pi / 2, turn - np.pi / 2])
    graded = 2.0 ** -np.arange(0, 22, 0.5)
    ends = np.concatenate(
        [rays, *(rays[:, None] + s * graded for s in (1, -1)), np.linspace(0, 2 * np.pi, 13)], axis=None
    )
    angles, angle_weights = panels(ends[(ends >= 0) & (ends <= 2 * np.pi)])
    total = 0.0
    for angle, weight in zip(angles, angle_weights, strict=True):
        a, b = scale * np.cos(angle), scale * np.cos(angle - turn)
        steps = 2.0 ** np.arange(-2, 9)
        cuts = np.concatenate([np.abs(steps / a), np.abs(steps / b), np.linspace(0, 9.5, 8)])
        r, w = panels(cuts[cuts <= 9.5])
        total += weight * float(np.sum(w * r * np.exp(-(r**2) / 2) * k.f(a * r) * k.g(b * r)))
    return total / (2 * np.pi)


@pytest.mark.parametrize("name", ["tanh", "softplus", "elu"])
def test_quadrature_to_ten_digits_against_polar_coordinates(name: str) -> None:
    for k in kernels(name):
        for variance, rho in ((1e3, 0.3), (30.0, -0.97), (0.1, -1 + 1e-9)):
            truth = polar(k, variance, rho)
            assert float(k(variance, variance * rho)) == pytest.approx(truth, rel=1e-10)


@pytest.mark.parametrize("name", ["hard_tanh", "relu6"])
def test_price_equals_two_dimensional_quadrature(name: str) -> None:
    for k in kernels(name):
        for variance, rho in ((1e-3, 0.5), (3.0, 0.999), (2.0, 0.4), (30.0, -0.5)):
            left = reduced.pair(k.f, k.g, variance, variance * rho, 0.0)
            kinks = tuple(float(b) for b in k.f.breaks)
            assert left == pytest.approx(quadrature.pair(k.f, k.g, kinks, variance, variance * rho, 0.0), rel=1e-10)


@pytest.mark.parametrize("name", ["relu", "erf", "gelu", "sin", "cube"])
def test_quadrature_equals_the_closed_form(name: str) -> None:
    for k in kernels(name):
        kinks = tuple(float(b) for b in k.f.breaks)
        for variance, rho in ((0.01, 0.9), (3.0, -0.4), (2.0, 0.99)):
            value = quadrature.pair(k.f, k.g, kinks, variance, variance * rho, 0.0)
            assert value == pytest.approx(float(k(variance, variance * rho)), rel=1e-10)


def test_a_function_too_rough_for_the_rules_is_refused() -> None:
    def rough(u: np.ndarray) -> np.ndarray:
        return np.sign(np.sin(40 * u + 1))

    with pytest.raises(quadrature.QuadratureError, match="does not settle"):
        quadrature.single(rough, (), 1.0, 0.0)


def test_a_forgotten_kink_is_noticed() -> None:
    with pytest.raises(quadrature.QuadratureError):
        quadrature.single(lambda u: np.abs(u - 0.3337), (), 1.0, 0.0)
    assert quadrature.single(lambda u: np.abs(u - 0.3337), (0.3337,), 1.0, 0.3337) == pytest.approx(
        np.sqrt(2 / np.pi), rel=1e-13
    )


def test_tables_equal_direct_quadrature() -> None:
    k = kernels("tanh")[0]
    rng = np.random.default_rng(0)
    variance = rng.uniform(1.0, 1.9, 1500)
    covariance = variance * rng.uniform(0.5, 0.7, 1500)
    found = k(variance, covariance)
    for i in range(0, 1500, 150):
        assert found[i] == pytest.approx(float(k(variance[i], covariance[i])), rel=1e-10)


def test_a_tile_that_fails_its_check_is_not_used() -> None:
    def jumping(variance: float, covariance: float) -> float:  # noqa: ARG001
        return float(variance > 1.4)

    assert interpolation._coefficients(jumping, interpolation.Tile(0, 0, 1), False) is None
    points = np.full(400, 1.3)
    assert np.all(interpolation.values(jumping, points, np.linspace(0.5, 0.6, 400)) == 0.0)
