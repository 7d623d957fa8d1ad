"""Fast routes equal the slow one over generated settings; mutants of the hand-written derivatives do not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fimcheck.numerics import coupled, dual, projection
from fimcheck.numerics.autograd import slow_gram
from fimcheck.numerics.chain import WEIGHTS, RandomNetwork
from fimcheck.numerics.dual import gram
from fimcheck.numerics.matrixfree import dual_operator
from fimcheck.numerics.normalizations import (
    HIDDEN_NORMALIZATIONS,
    LAST_NORMALIZATIONS,
    SAMPLES,
    UNITS,
    Derivative,
    standardize,
)
from fimcheck.numerics.passes import forward
from fimcheck.numerics.sampling import Draw, draw

# exp and cubes of cubes lose digits to the size of their values, not to the algorithm: see test_dual.
TAME = [
    "linear",
    "relu",
    "leaky_relu",
    "abs",
    "erf",
    "gelu",
    "sin",
    "cos",
    "gaussian",
    "tanh",
    "sigmoid",
    "softplus",
]


@st.composite
def networks(draw: st.DrawFn) -> RandomNetwork:
    hidden = draw(st.sampled_from(HIDDEN_NORMALIZATIONS))
    last = draw(st.sampled_from(LAST_NORMALIZATIONS))
    depth = draw(st.integers(2, 5))
    # Two units of a normalized layer have a Jacobian of zero, whose rounding says nothing.
    inner = st.integers(4 if hidden == "layer" else 2, 12)
    # One input makes every unit a multiple of one signal: normalized, the units are copies, and what cancels
    # exactly leaves rounding that says nothing. (Width 1 has its own tests.)
    widths = [draw(st.integers(2, 8)), *(draw(inner) for _ in range(depth - 1))]
    positive = st.floats(0.3, 3)
    return RandomNetwork(
        (*widths, draw(st.integers(4 if last == "layer" else 1, 5))),
        draw(st.sampled_from(TAME)),
        hidden,
        last,
        sigma_w2=draw(positive),
        sigma_b2=draw(st.just(0.0) | positive),
        gamma=draw(positive) * draw(st.sampled_from([-1, 1])),
        beta=draw(st.floats(-1, 1)),
        last_gamma=draw(positive),
        biases=draw(st.booleans()),
        affine=draw(st.booleans()),
        weights=draw(st.sampled_from(WEIGHTS)),
    )


@settings(derandomize=True, deadline=None, database=None, max_examples=80)
@given(network=networks(), samples=st.integers(4, 9), memory=st.sampled_from([1, 2**14, 2**31]))
def test_every_fast_route_equals_the_slow_one(network: RandomNetwork, samples: int, memory: int) -> None:
    drawn = draw(network, samples, seeds=(1, 2))
    slow, fast = slow_gram(network, drawn), gram(network, drawn, memory)
    eye = torch.eye(slow.shape[1], dtype=torch.float64).expand(2, -1, -1)
    product = dual_operator(network, drawn)(eye)
    for seed, amplification in enumerate(amplifications(network, drawn)):
        if not amplification < ILL_CONDITIONED:
            continue
        assert bool(slow[seed].isfinite().all())
        allowed = 1e-10 * slow[seed].abs().max() + amplification**2 * rounding(network, drawn, seed)
        for route in (fast, product):
            assert (route[seed] - slow[seed]).abs().max() <= allowed


# Statistics of a nearly constant signal are rounding, divided by rounding: no two routes need agree on them.
ILL_CONDITIONED = 100.0


def amplifications(network: RandomNetwork, drawn: Draw) -> list[float]:
    """For every seed, how much its normalizations amplify rounding at most: magnitude over standard deviation."""
    run = forward(network, drawn)
    worst = torch.ones(2, dtype=torch.float64)
    axes = {"layer": UNITS, "batch": SAMPLES}
    hidden = [v.squeeze(2) for path, v in run.trace.inside.items() if path in network.dense]
    for name, u in [*((network.hidden, u) for u in hidden[:-1]), (network.last, run.raw)]:
        if name in axes:
            gain = standardize(u, axes[name])[1].gain
            assert gain is not None
            size = gain.abs().flatten(1).amax(1) * u.abs().flatten(1).amax(1)
            worst = torch.maximum(worst, size.nan_to_num(nan=float("inf")))
    return worst.tolist()


def test_the_property_test_tests_most_networks() -> None:
    """Generic networks are well conditioned, so the exclusion above excludes few."""
    kept = 0
    for hidden in HIDDEN_NORMALIZATIONS:
        for last in LAST_NORMALIZATIONS:
            network = RandomNetwork((5, 8, 8, 8, 4), "tanh", hidden, last, sigma_b2=0.2)
            kept += sum(a < ILL_CONDITIONED for a in amplifications(network, draw(network, 7, seeds=(1, 2))))
    assert kept >= 20


def rounding(network: RandomNetwork, drawn: Draw, seed: int) -> float:
    """Rounding that is left of a matrix most of which is projected out: that of the matrix before."""
    numbers = {name: value[seed : seed + 1] for name, value in drawn.numbers.items()}
    one = Draw(numbers, drawn.inputs[seed : seed + 1])
    last = forward(network, one).last
    gain = 1.0 if last is None or last.gain is None else float(last.gain.abs().max())
    return 1e-14 * gain**2 * float(slow_gram(replace(network, last="none"), one).abs().max())


def without(*, mean: bool = False, z: bool = False, gain: bool = False) -> Callable[[Derivative, Tensor], Tensor]:
    """A derivative that forgets one term."""

    def call(self: Derivative, signal: Tensor) -> Tensor:
        result = signal if mean else signal - signal.mean(self.axes, keepdim=True)
        if self.z is not None and self.gain is not None:
            if not z:
                result = result - self.z * (signal * self.z).mean(self.axes, keepdim=True)
            if not gain:
                result = result * self.gain
        return result

    return call


def mismatch(hidden: str, last: str) -> float:
    network = RandomNetwork((5, 8, 9, 7, 4), "tanh", hidden, last, sigma_b2=0.2, gamma=1.4, affine=True)
    drawn = draw(network, 6, seeds=(1,))
    slow = slow_gram(network, drawn)
    return float((gram(network, drawn) - slow).abs().max() / slow.abs().max())


@pytest.mark.parametrize("hidden", ["layer", "batch"])
@pytest.mark.parametrize("term", ["mean", "z", "gain"])
def test_a_dropped_term_is_caught(hidden: str, term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mismatch(hidden, "none") < 1e-12
    monkeypatch.setattr(Derivative, "__call__", without(**{term: True}))
    assert mismatch(hidden, "none") > 1e-3


LAST_MUTANTS = [("mean", "mean"), *((last, term) for last in ("batch", "layer") for term in ("mean", "z", "gain"))]


@pytest.mark.parametrize(("last", "term"), LAST_MUTANTS)
def test_a_dropped_term_of_the_last_normalization_is_caught(
    last: str, term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mismatch("none", last) < 1e-12
    right, directions = dual.project, projection._class_directions
    if term != "mean":
        monkeypatch.setattr(dual, "project", lambda g, d: right(g, replace(d, **{term: None})))
    elif last == "layer":
        monkeypatch.setattr(projection, "_class_directions", lambda g, d: directions(g, d)[1:])
    else:
        monkeypatch.setattr(projection, "_center_samples", lambda _: None)
    assert mismatch("none", last) > 1e-3


@pytest.mark.parametrize("where", [(coupled, "_top_amplitude"), (coupled, "_factor"), (coupled.Layer, "pull")])
def test_a_wrong_part_of_the_batch_route_is_caught(where: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name = where
    right = getattr(owner, name)

    def off_by_a_percent(*arguments):
        result = right(*arguments)
        return (result[0], 1.01 * result[1]) if name == "_top_amplitude" else 1.01 * result

    monkeypatch.setattr(owner, name, off_by_a_percent)
    assert mismatch("batch", "none") > 1e-3


@pytest.mark.parametrize("name", ["_add_blocks", "_add_last_affine"])
@pytest.mark.parametrize("hidden", ["none", "batch"])
def test_a_forgotten_last_layer_is_caught(name: str, hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dual, name, lambda *_: None)
    assert mismatch(hidden, "batch") > 1e-3
