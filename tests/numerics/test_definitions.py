"""Normalizations that are added by name: the generic route against the slow obvious one, and against the built-in."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

import numerics
from numerics import definitions
from numerics.activations import FUNCTIONS
from numerics.autograd import slow_gram, slow_outputs


def standardized(u: Tensor, axis: int) -> Tensor:
    centered = u - u.mean(axis, keepdim=True)
    return centered / centered.square().mean(axis, keepdim=True).sqrt()


def layer(z: Tensor, gamma: float, beta: float) -> Tensor:
    return gamma * standardized(z, -1) + beta


def batch(z: Tensor, gamma: float, beta: float) -> Tensor:
    return gamma * standardized(z, -2) + beta


def residual(z: Tensor, gamma: float, beta: float, before: Tensor | None = None) -> Tensor:
    return z + beta if before is None else z + gamma * before


def mixed(z: Tensor, gamma: float, beta: float, before: Tensor | None = None) -> Tensor:
    """Couples samples and takes the layer below."""
    return gamma * (z - z.mean(-2, keepdim=True)) + beta * (0 if before is None else before.tanh())


HIDDEN = {"my_layer": layer, "my_batch": batch, "my_residual": residual, "my_mixed": mixed}
OUTPUT = {
    "my_mean": lambda f, gamma: f - f.mean(-2, keepdim=True),
    "my_batch": lambda f, gamma: gamma * standardized(f, -2),
    "my_layer": lambda f, gamma: gamma * standardized(f, -1),
    "my_mixed": lambda f, gamma: gamma * f * f.square().mean((-1, -2), keepdim=True) + f.flip(-2),
}


@pytest.fixture(autouse=True)
def added() -> Iterator[None]:
    for name, function in HIDDEN.items():
        numerics.add_normalization(name, function)
    for name, function in OUTPUT.items():
        numerics.add_output_normalization(name, function)
    yield
    for name in HIDDEN:
        del definitions.HIDDEN[name]
    for name in OUTPUT:
        del definitions.OUTPUT[name]


NETWORK = numerics.RandomNetwork(
    (7, 6, 6, 6, 4), "tanh", sigma_w2=1.7, sigma_b2=0.3, gamma=1.3, beta=0.4, last_gamma=0.8
)


@pytest.mark.parametrize(("hidden", "last"), list(product(["none", "batch", *HIDDEN], ["none", "batch", *OUTPUT])))
def test_generic_route_equals_the_slow_one(hidden: str, last: str) -> None:
    for biases in (True, False):
        network = replace(NETWORK, hidden=hidden, last=last, biases=biases)
        draw = numerics.draw(network, 6, [1, 2, 3])
        slow = slow_gram(network, draw)
        for memory in (2**31, 20_000):  # all rows at once, and few
            assert numerics.gram(network, draw, memory) == pytest.approx(slow, abs=1e-12 * float(slow.abs().max()))


def test_the_step_is_really_applied() -> None:
    """Mutant of the comparison above: both routes might leave the step out."""
    draw = numerics.draw(NETWORK, 6, [1])
    plain = slow_outputs(NETWORK, draw)
    for name in HIDDEN:
        assert not torch.allclose(slow_outputs(replace(NETWORK, hidden=name), draw), plain, rtol=1e-3)
    for name in OUTPUT:
        assert not torch.allclose(slow_outputs(replace(NETWORK, last=name), draw), plain, rtol=1e-3)


@pytest.mark.parametrize("last", ["none", "mean"])
@pytest.mark.parametrize("hidden", ["layer", "batch"])
def test_built_in_normalizations_written_as_definitions_measure_the_same(hidden: str, last: str) -> None:
    quantities = ["hq1", "hq2", "q1", "q2", "m", "s", "lambda_max", "lambda_perp", "stable_rate"]
    quantities += ["c_I", "c_1"] if hidden == "batch" else ["tq1", "tq2", "kappa1", "kappa2"]
    built_in = replace(NETWORK, hidden=hidden, last=last)
    written = replace(NETWORK, hidden=f"my_{hidden}", last="none" if last == "none" else f"my_{last}")
    one, two = (numerics.measure(network, 6, [1, 2], quantities).draws for network in (built_in, written))
    for quantity, values in one.items():
        # Gradient descent only bisects down to this width.
        assert two[quantity] == pytest.approx(values, rel=0.01 if quantity == "stable_rate" else 1e-10), quantity


def test_coupling_is_found_by_trying() -> None:
    assert {name: definitions.HIDDEN[name].couples for name in HIDDEN} == {
        "my_layer": False, "my_batch": True, "my_residual": False, "my_mixed": True,
    }  # fmt: skip
    with pytest.raises(ValueError, match="my_batch"):
        numerics.measure(replace(NETWORK, hidden="my_batch"), 6, [1], ["tq1"])
    with pytest.raises(ValueError, match="couple samples"):
        numerics.measure(replace(NETWORK, hidden="my_layer"), 6, [1], ["c_I"])


@pytest.mark.parametrize(
    ("name", "function", "named"),
    [
        ("layer", layer, "'layer' exists already"),
        ("my_layer", layer, "'my_layer' exists already"),
        ("two words", layer, "one word"),
        ("new", 3, "no function"),
        ("new", lambda z: z, "gamma, beta"),
        ("new", lambda z, gamma, beta: z.mean(-1), "keep the shape"),
        ("new", lambda z, gamma, beta: 1.0, "float"),
    ],
)
def test_bad_definitions_are_refused(name: str, function, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        numerics.add_normalization(name, function)
    assert "new" not in definitions.HIDDEN


def test_bad_output_definitions_are_refused() -> None:
    with pytest.raises(ValueError, match="exists already"):
        numerics.add_output_normalization("mean", OUTPUT["my_mean"])
    with pytest.raises(ValueError, match="outputs, gamma"):
        numerics.add_output_normalization("new", layer)


def test_bad_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="widths equal"):
        numerics.RandomNetwork((5, 6, 7, 2), hidden="my_residual")
    with pytest.raises(ValueError, match="affine"):
        replace(NETWORK, hidden="my_layer", affine=True)
    with pytest.raises(ValueError, match="my_layer"):
        replace(NETWORK, hidden="unknown")


def test_an_added_activation_is_measured_like_the_built_in_one() -> None:
    numerics.add_activation("my_tanh", torch.tanh)
    try:
        one, two = (
            numerics.measure(replace(NETWORK, activation=name), 4, [1, 2], ["m", "lambda_max"]).draws
            for name in ("tanh", "my_tanh")
        )
        for quantity, values in one.items():
            assert two[quantity] == pytest.approx(values, rel=1e-12)
        with pytest.raises(ValueError, match="'my_tanh' exists already"):
            numerics.add_activation("my_tanh", torch.tanh)
        with pytest.raises(ValueError, match="not elementwise"):
            numerics.add_activation("my_sum", lambda x: x.cumsum(0) if x.ndim else x)
    finally:
        del FUNCTIONS["my_tanh"]
