"""Steps and output normalizations that are added by name, against the slow obvious route and the built-in ones."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from fimcheck import numerics
from fimcheck.numerics import outputs
from fimcheck.numerics.activations import FUNCTIONS
from fimcheck.numerics.autograd import slow_gram, slow_outputs
from fimcheck.numerics.steps.elementwise import DEFINED


def standardized(u: Tensor, axis: int) -> Tensor:
    centered = u - u.mean(axis, keepdim=True)
    return centered / centered.square().mean(axis, keepdim=True).sqrt()


def layer(z: Tensor, gamma: float, beta: float) -> Tensor:
    return gamma * standardized(z, -1) + beta


def batch(z: Tensor, gamma: float, beta: float) -> Tensor:
    return gamma * standardized(z, -2) + beta


def halves(z: Tensor) -> Tensor:
    """Changes the number of units."""
    one, two = z.chunk(2, -1)
    return one * two.sigmoid()


def mixed(z: Tensor, gamma: float, beta: float, push: float = 0.5) -> Tensor:
    """Couples samples, and has a parameter of its own."""
    return gamma * (z - z.mean(-2, keepdim=True)) + push * z.tanh() + beta


STEPS = {"my_layer": layer, "my_batch": batch, "my_halves": halves, "my_mixed": mixed}
OUTPUT = {
    "my_mean": lambda f, gamma: f - f.mean(-2, keepdim=True),
    "my_batch": lambda f, gamma: gamma * standardized(f, -2),
    "my_layer": lambda f, gamma: gamma * standardized(f, -1),
    "my_mixed": lambda f, gamma: gamma * f * f.square().mean((-1, -2), keepdim=True) + f.flip(-2),
}


@pytest.fixture(autouse=True)
def added() -> Iterator[None]:
    for name, function in STEPS.items():
        numerics.add_step(name, function)
    for name, function in OUTPUT.items():
        numerics.add_output_normalization(name, function)
    yield
    for name in STEPS:
        del DEFINED[name]
    for name in OUTPUT:
        del outputs.OUTPUTS[name]


NETWORK = numerics.RandomNetwork(
    (7, 6, 6, 6, 4), "tanh", sigma_w2=1.7, sigma_b2=0.3, gamma=1.3, beta=0.4, last_gamma=0.8
)


def with_step(step: str, last: str = "none", biases: bool = True) -> numerics.Composition:
    """The same chain with a step before every activation; a step that halves the units stands in its place."""
    before = ((step, {}, ()),) if step != "my_halves" else ()
    after = (("tanh", {}, ()),) if step != "my_halves" else ((step, {}, ()),)
    layers = (("dense", {}, ()), *before, *after) * 3
    return numerics.Composition((*layers, ("dense", {}, ())), 6, 7, 4, 1, last, 1.7, 0.3, 1.3, 0.4, 0.8, biases)


@pytest.mark.parametrize(("step", "last"), list(product(["layer", *STEPS], ["none", "batch", *OUTPUT])))
def test_added_steps_and_outputs_equal_the_slow_route(step: str, last: str) -> None:
    for biases in (True, False):
        network = with_step(step, last, biases)
        drawn = numerics.draw(network, 6, [1, 2, 3])
        slow = slow_gram(network, drawn)
        assert numerics.gram(network, drawn) == pytest.approx(slow, abs=1e-12 * float(slow.abs().max()))


@pytest.mark.parametrize(("hidden", "last"), list(product(["none", "batch"], OUTPUT)))
def test_added_outputs_of_the_chain_equal_the_slow_route(hidden: str, last: str) -> None:
    network = replace(NETWORK, hidden=hidden, last=last)
    drawn = numerics.draw(network, 6, [1, 2, 3])
    slow = slow_gram(network, drawn)
    assert numerics.gram(network, drawn) == pytest.approx(slow, abs=1e-12 * float(slow.abs().max()))


def test_the_step_is_really_applied() -> None:
    """Mutant of the comparison above: both routes might leave the step out."""
    plain = with_step("shift")
    drawn = numerics.draw(plain, 6, [1])
    for name in ("my_layer", "my_batch", "my_mixed"):
        assert not torch.allclose(slow_outputs(with_step(name), drawn), slow_outputs(plain, drawn), rtol=1e-3)
    drawn = numerics.draw(NETWORK, 6, [1])
    for name in OUTPUT:
        assert not torch.allclose(
            slow_outputs(replace(NETWORK, last=name), drawn), slow_outputs(NETWORK, drawn), rtol=1e-3
        )


@pytest.mark.parametrize("step", ["layer", "batch"])
def test_built_in_steps_written_as_definitions_measure_the_same(step: str) -> None:
    quantities = ["K", "mean", "tq", "Th", "m", "s", "lambda_max", "lambda_perp", "stable_rate"]
    one, two = (numerics.measure(with_step(s), 6, [1, 2], quantities).draws for s in (step, f"my_{step}"))
    for quantity, values in one.items():
        # Gradient descent only bisects down to this width.
        assert two[quantity] == pytest.approx(values, rel=0.01 if quantity == "stable_rate" else 1e-10), quantity


def test_coupling_is_found_by_trying() -> None:
    assert {name: DEFINED[name].couples for name in STEPS} == {
        "my_layer": False, "my_batch": True, "my_halves": False, "my_mixed": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "function", "named"),
    [
        ("layer", layer, "'layer' exists already"),
        ("my_layer", layer, "'my_layer' exists already"),
        ("two words", layer, "one word"),
        ("tanh", layer, "'tanh' exists already"),
        ("new", 3, "not a function"),
        ("new", lambda z, strength: z, "strength needs a default"),
        ("new", lambda z, gamma, beta: z.mean(-1), "keep networks and samples"),
        ("new", lambda z, gamma, beta: 1.0, "float"),
    ],
)
def test_bad_definitions_are_refused(name: str, function, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        numerics.add_step(name, function)
    assert "new" not in DEFINED


def test_bad_output_definitions_are_refused() -> None:
    with pytest.raises(ValueError, match="exists already"):
        numerics.add_output_normalization("mean", OUTPUT["my_mean"])
    with pytest.raises(ValueError, match="outputs, gamma"):
        numerics.add_output_normalization("new", layer)  # type: ignore[arg-type]


def test_bad_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="affine"):
        replace(NETWORK, last="my_layer", affine=True)
    with pytest.raises(ValueError, match="unknown"):
        replace(NETWORK, hidden="my_layer")
    with pytest.raises(ValueError, match="no parameter 'size'"):
        numerics.Composition((("dense", {}, ()), ("my_layer", {"size": 1}, ()), ("dense", {}, ())), 6, 7, 4)


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
