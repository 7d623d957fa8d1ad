"""The second moment of the spectrum at T = M/rho against sampled networks."""

import math

import numpy as np
import pytest

from fimcheck import theory

RHO = 2


def sampled(width: int, seed: int) -> float:
    """sum_i lambda_i^2/M of a sampled ReLU network, L = 3, C = 1, mean subtraction in the last layer."""
    rng = np.random.default_rng(seed)
    samples = width // RHO
    layers, signs = [rng.normal(size=(samples, width))], []
    weights = []
    for _ in range(2):
        weights.append(rng.normal(size=(width, width)) * math.sqrt(2 / width))
        u = layers[-1] @ weights[-1] + rng.normal(size=width) * math.sqrt(0.1)
        layers.append(np.maximum(u, 0))
        signs.append(u > 0)
    weights.append(rng.normal(size=(width, 1)) * math.sqrt(2 / width))
    signal, gram = np.ones((samples, 1)), np.zeros((samples, samples))
    for layer in (2, 1, 0):
        gram += (signal @ signal.T) * (layers[layer] @ layers[layer].T)
        if layer:
            signal = (signal @ weights[layer].T) * signs[layer - 1]
    gram -= gram.mean(0)
    gram -= gram.mean(1, keepdims=True)
    return float(np.sum((gram / samples) ** 2)) / width


def test_second_order_explains_what_the_first_order_misses() -> None:
    net = theory.WideNetwork(3, "relu", sigma_w2=2, sigma_b2=0.1, ratios=(1, 1, 1))
    orders = theory.numeric_order_parameters(net)
    first = RHO * 4 * float(orders.kappa1 - orders.kappa2) ** 2
    second = first + theory.fluctuation_variance(net)
    draws = np.array([sampled(400, seed) for seed in range(16)])
    error = draws.std(ddof=1) / math.sqrt(draws.size)
    assert draws.mean() == pytest.approx(second, abs=4 * error)
    assert draws.mean() - first > 4 * error


def test_the_upper_bound_takes_it_as_c_2() -> None:
    net = theory.WideNetwork(3, "relu", last="mean", sigma_w2=2, sigma_b2=0.1, ratios=(1, 1, 1))
    bound = theory.predict(net, "lambda_max_upper", "proportional")
    plain = theory.WideNetwork(3, "relu", sigma_w2=2, sigma_b2=0.1, ratios=(1, 1, 1))
    assert theory.fluctuation_variance(net) == theory.fluctuation_variance(plain)
    assert bound.evaluate(M=800, C=1, rho=2, c_2=theory.fluctuation_variance(net)) == pytest.approx(103.9, abs=0.1)


def test_linear_networks_fluctuate_like_products_of_gaussians() -> None:
    """L = 2, phi(u) = u, sigma_b = 0: only a^0 and n_1, nt_1 with Var z = q_1 and Var g = sigma_w2 enter
    nowhere else.
    """
    net = theory.WideNetwork(2, "linear", sigma_w2=1, sigma_b2=0, ratios=(1, 1))
    # hq_2^0 = 0 removes b; tq_2 = 1 in both layers: a^0 + a^1, a^1 = a^0 + n_1, Var a^0 = Var n_1 = 1.
    assert theory.fluctuation_variance(net) == pytest.approx(5.0, rel=1e-9)


def test_hidden_normalization_is_refused() -> None:
    net = theory.WideNetwork(3, "relu", "layer", sigma_w2=2, sigma_b2=0.1, gamma=1, beta=0, ratios=(1, 1, 1))
    with pytest.raises(ValueError, match="without normalization"):
        theory.fluctuation_variance(net)
