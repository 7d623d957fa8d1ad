"""The learning-rate reading and the top eigenspace, against the matrix and against the whole Jacobian."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fimcheck.numerics import RandomNetwork, draw, gram, measure
from fimcheck.numerics.autograd import slow_jacobian
from fimcheck.numerics.descent import PRECISION, stable_rates
from fimcheck.numerics.eigenspace import alignment


@pytest.mark.parametrize(
    ("activation", "hidden", "last", "samples"),
    [
        ("relu", "none", "none", 4),
        ("tanh", "none", "mean", 2),
        ("relu", "none", "batch", 3),
        ("tanh", "none", "batch", 3),
        ("relu", "batch", "none", 12),
        ("tanh", "layer", "none", 5),
    ],
)
def test_gradient_descent_is_stable_up_to_two_over_lambda_max(
    activation: str, hidden: str, last: str, samples: int
) -> None:
    """Found by running it, on every network alone; the bisection stops at a relative PRECISION."""
    network = RandomNetwork((24, 24, 24, 1), activation, hidden, last, sigma_b2=0.1)
    draws = measure(network, samples, range(6), ["lambda_max", "stable_rate"]).draws
    product = draws["stable_rate"] * draws["lambda_max"]
    assert np.all(np.abs(product / 2 - 1) < 2 * PRECISION)
    # Mutants: the thresholds of another update rule or of the mean instead of the sum of squares.
    assert not np.any(np.abs(product / 1 - 1) < 2 * PRECISION)
    assert not np.any(np.abs(product / (2 * samples) - 1) < 2 * PRECISION)


def test_single_precision_is_refused() -> None:
    network = RandomNetwork((8, 8, 8, 1), sigma_b2=0.1)
    with pytest.raises(ValueError, match="float32"):
        measure(network, 4, [1], ["stable_rate"], dtype="float32")


@pytest.mark.parametrize("hidden", ["none", "layer", "batch"])
def test_alignment_equals_principal_angles_in_parameter_space(hidden: str) -> None:
    network = RandomNetwork((12, 10, 9, 3), "tanh", hidden, sigma_b2=0.3, beta=0.5 if hidden != "none" else 0.0)
    drawn, samples = draw(network, 6, [1, 2]), 6
    fast = alignment(gram(network, drawn), 3)
    for jacobian, value in zip(slow_jacobian(network, drawn), fast, strict=True):
        leading = torch.linalg.svd(jacobian, full_matrices=False).Vh[:3].T
        means = torch.linalg.qr(jacobian.view(3, samples, -1).sum(1).T).Q
        assert float(value) == pytest.approx(float((leading.T @ means).square().sum() / 3), rel=1e-9)


def test_alignment_is_not_that_of_single_gradients() -> None:
    """Mutant: the gradient of one sample in place of their mean is visibly another subspace."""
    network = RandomNetwork((64, 64, 64, 1), "relu", sigma_b2=0.1)
    g = gram(network, draw(network, 6, range(4)))
    values, vectors = torch.linalg.eigh(g)
    single = values[:, -1] * vectors[:, 0, -1].square() / g[:, 0, 0]
    assert bool((alignment(g, 1) > single + 0.1).all())


def test_alignment_does_not_exist_without_mean_gradients() -> None:
    with pytest.raises(ValueError, match="alignment"):
        measure(RandomNetwork((8, 8, 8, 1), last="mean"), 4, [1], ["alignment"])


def test_a_stable_rate_is_the_same_at_every_place() -> None:
    network = RandomNetwork((12, 12, 12, 1), "tanh", sigma_b2=0.1)
    alone = measure(network, 4, [7], ["stable_rate"]).draws["stable_rate"]
    among = measure(network, 4, [3, 5, 7], ["stable_rate"]).draws["stable_rate"]
    assert among[2] == alone[0]


def test_a_dead_network_leaves_its_neighbours_alone() -> None:
    network = RandomNetwork((6, 6, 6, 1), "relu", sigma_b2=0.1)
    drawn = draw(network, 4, range(3))
    drawn.weights[0][1] = 0.0
    drawn.biases[0][1] = -1.0
    drawn.biases[1][1] = -1.0
    drawn.biases[2][1] = 0.0
    network = replace(network, biases=False)
    rates = stable_rates(network, drawn)
    assert bool(rates[1].isnan())
    assert bool(rates[[0, 2]].isfinite().all())
