"""Expectations over a batch normalized over exactly T samples."""

import math

import numpy as np
import pytest
import sympy as sp

from fimcheck import theory
from fimcheck.theory.gaussian import sphere
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.symbols import T, x

ONE, ZERO = sp.S.One, sp.S.Zero


def test_the_constraints_of_a_normalized_batch() -> None:
    identity = theory.activation("linear").phi
    assert sphere.expr(identity, 0, 1, T, ONE, ZERO) == 1
    assert sp.simplify(sphere.expr(identity, 0, 2, T, ONE, ZERO) + 1 / (T - 1)) == 0
    # E z_1^4 = 3 (T-1)/(T+1) on the sphere of T - 1 dimensions.
    square = theory.activation("square").phi
    assert sp.simplify(sphere.expr(square, 0, 1, T, ONE, ZERO) - 3 * (T - 1) / (T + 1)) == 0


@pytest.mark.parametrize("name", ["relu", "abs", "cube", "hermite_2", "leaky_relu"])
@pytest.mark.parametrize("samples", [4, 5, 30, 4000])
def test_closed_form_equals_quadrature(name: str, samples: int) -> None:
    phi = theory.activation(name).phi
    for f, power in ((phi, 0), (phi.derivative(), 0), (phi.derivative(), 1)):
        for count in (1, 2):
            closed = float(sphere.expr(f, power, count, sp.Integer(samples), sp.Rational(13, 10), ZERO))
            found = sphere.value(f, power, count, float(samples), 1.3, 0.0)
            assert found == pytest.approx(closed, rel=1e-9, abs=1e-10)


def test_quadrature_equals_sampled_batches() -> None:
    rng = np.random.default_rng(0)
    batches = rng.normal(size=(200_000, 5))
    batches -= batches.mean(axis=1, keepdims=True)
    batches /= batches.std(axis=1, keepdims=True)
    f = Function.from_expr(sp.tanh(x))
    for power in (0, 1):
        h = batches[:, :2] ** power * np.tanh(0.8 * batches[:, :2] + 0.3)
        for count, draws in ((1, h[:, 0] ** 2), (2, h[:, 0] * h[:, 1])):
            error = draws.std() / math.sqrt(draws.size)
            assert sphere.value(f, power, count, 5.0, 0.8, 0.3) == pytest.approx(draws.mean(), abs=5 * error)
            # Independent Gaussians instead of a batch would be far outside.
            assert error < 0.002


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="T >= 4"):
        sphere.value(theory.activation("tanh").phi, 0, 1, 3.0, 1.0, 0.0)
    net = theory.WideNetwork(3, "relu", hidden="batch", sigma_w2=2, sigma_b2=0, gamma=1, beta=0, ratios=(1, 1, 1))
    with pytest.raises(ValueError, match="T > 3"):
        theory.predict(net, "lambda_1").evaluate(M=10, T=3)


def sampled(width: int, samples: int, seed: int) -> tuple[float, float]:
    """lambda_1/M and lambda_perp/M of a sampled ReLU network, L = 3, C = 1, hidden batch normalization."""
    rng = np.random.default_rng(seed)
    first, second = (rng.normal(size=(width, width)) * math.sqrt(2 / width) for _ in range(2))
    last = rng.normal(size=width) * math.sqrt(2 / width)

    def normalized(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (u - u.mean(0)) / u.std(0), u.std(0)

    def back(signal: np.ndarray, z: np.ndarray, sd: np.ndarray) -> np.ndarray:
        signal = signal * (z > 0)
        mean, along = signal.mean(1, keepdims=True), (signal * z).mean(1, keepdims=True)
        return (signal - mean - z * along) / sd

    h0 = rng.normal(size=(samples, width))
    z1, sd1 = normalized(h0 @ first)
    h1 = np.maximum(z1, 0)
    z2, sd2 = normalized(h1 @ second)
    h2 = np.maximum(z2, 0)
    out = np.zeros((samples, samples, width))
    out[np.arange(samples), np.arange(samples)] = last
    upper = back(out, z2, sd2)
    lower = back(upper @ second.T, z1, sd1)
    gram = h2 @ h2.T
    for signal, h in ((upper, h1), (lower, h0)):
        mixed = np.einsum("tsi,sr->tri", signal, h @ h.T, optimize=True)
        gram += mixed.reshape(samples, -1) @ signal.reshape(samples, -1).T
    top = gram.sum() / samples**2
    return top / width, (np.trace(gram) / samples - top) / (samples - 1) / width


def test_exact_in_T_against_sampled_networks() -> None:
    net = theory.WideNetwork(3, "relu", hidden="batch", sigma_w2=2, sigma_b2=0, gamma=1, beta=0, ratios=(1, 1, 1))
    draws = np.array([sampled(256, 12, seed) for seed in range(40)])
    error = draws.std(axis=0) / math.sqrt(len(draws))
    for i, quantity in enumerate(("lambda_1", "lambda_perp")):
        exact = theory.predict(net, quantity).evaluate(M=1, T=12)
        # Four standard errors and the O(1/M) bias of the width.
        assert draws[:, i].mean() == pytest.approx(exact, abs=4 * error[i] + exact / 256)
        # The T -> infinity constants at T = 12 are a different theory, and it is rejected.
        orders = theory.numeric_order_parameters(net, "infinite")
        part = 2 * (orders.kappa1 - orders.kappa2) / 12
        limit = part if quantity == "lambda_perp" else part + 2 * orders.kappa2
        assert abs(draws[:, i].mean() - limit) > 4 * error[i] + limit / 256
