"""RandomNetwork and its draws: validation, counts, replay, distribution."""

import math
from typing import Any

import pytest
import torch

from fimcheck.numerics import RandomNetwork, draw, measure
from fimcheck.numerics.autograd import slow_jacobian

RECORDED = [-0.47300203843, -1.35201687466, -0.41040053979, 1.284655644485]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"widths": (5, 5)}, "at least 2 weight layers"),
        ({"widths": (5, 5, 0)}, r"widths\[2\] = 0"),
        ({"widths": (5, -3, 1)}, r"widths\[1\] = -3"),
        ({"widths": (5, 2.5, 1)}, r"widths\[1\] = 2.5"),
        ({"widths": (5, True, 1)}, r"widths\[1\] = True"),
        ({"sigma_w2": 0}, "sigma_w2 = 0: the weight variance must be positive"),
        ({"sigma_w2": -1.0}, "sigma_w2 = -1.0"),
        ({"sigma_w2": math.nan}, "sigma_w2 = nan: must be a finite number"),
        ({"sigma_b2": -0.1}, "sigma_b2 = -0.1: a variance cannot be negative"),
        ({"sigma_b2": math.inf}, "sigma_b2 = inf"),
        ({"beta": "1"}, "beta = '1'"),
        ({"hidden": "layer", "gamma": 0}, "gamma = 0"),
        ({"last": "batch", "last_gamma": 0.0}, "last_gamma = 0"),
        ({"hidden": "mean"}, "hidden = 'mean' is unknown: use one of none, layer, batch"),
        ({"last": "group"}, "last = 'group' is unknown"),
        ({"weights": "uniform"}, "weights = 'uniform' is unknown"),
        ({"activation": "relu7"}, "relu7"),
        ({"widths": (5, 1, 2), "hidden": "layer"}, "over 1 unit divides by zero; use two or more"),
        ({"widths": (5, 5, 2), "last": "layer"}, "C = 2 outputs"),
    ],
)
def test_bad_networks_are_refused_with_value_rule_and_remedy(arguments: dict[str, Any], says: str) -> None:
    arguments = {"widths": (5, 5, 3)} | arguments
    with pytest.raises(ValueError, match=says) as caught:
        RandomNetwork(**arguments)
    assert ":" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"samples": 1}, "samples = 1: T must be a whole number of at least 2"),
        ({"samples": 2.0}, "samples = 2.0"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [-1]}, "seed -1"),
        ({"seeds": [2**63]}, "seed 9223372036854775808"),
        ({"seeds": [1.0]}, "seed 1.0"),
        ({"dtype": "float16"}, "dtype = 'float16' is unknown"),
        ({"device": "gpu0"}, "device = 'gpu0' cannot be used here"),
        ({"inputs": torch.zeros(3, 5)}, r"inputs of shape \(3, 5\)"),
    ],
)
def test_bad_draws_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        draw(**({"network": RandomNetwork((5, 5, 1)), "samples": 4, "seeds": [1]} | arguments))


def test_batch_normalization_of_outputs_needs_three_samples() -> None:
    with pytest.raises(ValueError, match="T >= 3"):
        measure(RandomNetwork((5, 5, 1), last="batch"), 2, [1], ["m"])


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(
    ("hidden", "last"), [("none", "none"), ("batch", "mean"), ("layer", "batch"), ("none", "layer")]
)
def test_parameters_are_counted_as_the_jacobian_has_columns(hidden: str, last: str, affine: bool, biases: bool) -> None:
    network = RandomNetwork((4, 5, 6, 3), "tanh", hidden, last, biases=biases, affine=affine)
    assert slow_jacobian(network, draw(network, 3, [1])).shape[2] == network.parameters


def test_a_seed_is_one_network_whatever_is_drawn_beside_it() -> None:
    network = RandomNetwork((4, 6, 5, 2), sigma_b2=0.3)
    alone, beside = draw(network, 3, [7]), draw(network, 9, [1, 7, 2**62 + 1])
    rounded = draw(network, 3, [7], "float32")
    for a, b, c in zip(alone.weights, beside.weights, rounded.weights, strict=True):
        assert torch.equal(a[0], b[1])
        assert torch.equal(a.float(), c)
    for a, b in zip(alone.biases, beside.biases, strict=True):
        assert torch.equal(a[0], b[1])
    assert torch.equal(alone.inputs[0], beside.inputs[1, :3])
    assert not torch.equal(beside.weights[0][0], beside.weights[0][1])
    # Seeds that differ above bit 32 are different networks.
    assert not torch.equal(draw(network, 3, [5]).inputs, draw(network, 3, [5 + 2**32]).inputs)


def test_draws_are_replayed_across_versions() -> None:
    # Numbers of this draw as first recorded: a change of generator or order must be deliberate.
    drawn = draw(RandomNetwork((2, 2, 1), sigma_b2=1.0), 2, [2024])
    recorded = [
        drawn.weights[0][0, 0, 0],
        drawn.biases[0][0, 1],
        drawn.weights[1][0, 0, 1],
        drawn.inputs[0, 1, 1],
    ]
    assert [round(float(v), 12) for v in recorded] == RECORDED


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("widths", [(30, 50, 2), (50, 30, 2)])
def test_weights_and_biases_have_their_variances(widths: tuple[int, ...], weights: str) -> None:
    drawn = draw(RandomNetwork(widths, sigma_w2=1.7, sigma_b2=0.3, weights=weights), 40, range(200))
    for tensor, variance in (
        (drawn.weights[0], 1.7 / widths[0]),
        (drawn.biases[0], 0.3),
        (drawn.inputs, 1.0),
    ):
        # 5 standard errors of a variance of n normal numbers (fewer degrees of freedom only help).
        assert abs(float(tensor.square().mean()) / variance - 1) < 5 * (2 / tensor.numel()) ** 0.5
        assert abs(float(tensor.mean())) < 5 * (variance / tensor.numel()) ** 0.5


def test_orthogonal_weights_are_orthogonal() -> None:
    drawn = draw(RandomNetwork((3, 7, 5, 1), sigma_w2=1.5, weights="orthogonal"), 2, [1, 2])
    tall, wide = drawn.weights[0], drawn.weights[1]
    eye = torch.eye(7, dtype=torch.float64)
    torch.testing.assert_close(tall.mT @ tall, (1.5 * 7 / 3 * eye[:3, :3]).expand(2, -1, -1))
    torch.testing.assert_close(wide @ wide.mT, (1.5 * eye[:5, :5]).expand(2, -1, -1))
