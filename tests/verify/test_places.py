"""Steps in every kind of place: right theories stand, and planted ones are refused where they are wrong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fimcheck import numerics, theory
from fimcheck.numerics.steps.elementwise import DEFINED
from fimcheck.numerics.wide import wide_overlaps
from fimcheck.theory import symbols
from fimcheck.theory.network.state import Gaussian, Overlaps, State, mapped
from fimcheck.theory.network.step import STEPS
from fimcheck.verify import Setting
from fimcheck.verify.claims.composition import overlap_claims
from fimcheck.verify.examine import places as examine
from fimcheck.verify.examine.diagnosis import diagnose_place
from fimcheck.verify.examine.places import Place, Refusal, compared, in_the_limit, places, summary
from fimcheck.verify.rule.limit import Limit, extrapolate

Apply = Callable[[Any, State, Any, str], State]
ERROR_RATE = 1e-4


# What is done to the units, layout (..., samples, units).


def centered(u):
    return u - u.mean(-1, keepdim=True)


def rms(u, gamma, beta):
    return gamma * u / u.square().mean(-1, keepdim=True).sqrt() + beta


def mean_only(u, gamma, beta):
    return gamma * (u - u.mean(-2, keepdim=True)) + beta


def halves(u):
    one, two = u.chunk(2, -1)
    return one * two


def one_more(u):
    return u + 1


# The right theories.


def right_centered(step, state, run, path):
    return state.affine(1 + 0 * state.mean, 0 * state.mean, run.expect)


def right_rms(step, state, run, path):
    scale = step.gamma / run.expect.root(state.K.same)
    return state.affine(scale**2, scale * state.mean + step.beta, run.expect)


def right_mean_only(step, state, run, path, samples=None, positions=None):
    T, N = samples or run.samples, positions or state.positions

    def less(t):
        of_a_sample = t.same / N + (0 if t.mate is None else t.mate * (N - 1) / N)
        mean = of_a_sample / T + t.other * (1 - 1 / T)
        return t.map(lambda value: step.gamma**2 * (value - mean))

    K = less(state.K).map(lambda K: K + step.beta**2)
    law = state.law.scaled(step.gamma**2, step.beta, run.expect)
    return replace(state, K=K, mean=step.beta, tangent=mapped(state.tangent, less), law=law)


def right_halves(step, state, run, path):
    if not isinstance(state.law, Gaussian) or not np.all(state.mean == 0):
        raise theory.CompositionError(f"step {path}: halves of units that are not Gaussian around 0.")
    tangent = mapped(state.tangent, lambda t: t * state.K * 2)
    return replace(state, K=state.K * state.K, tangent=tangent, law=theory.Unmixed("halves"), width=state.width / 2)


def right_one_more(step, state, run, path):
    return state.affine(1 + 0 * state.mean, state.mean + 1, run.expect)


RIGHT = {
    "centered": (centered, right_centered),
    "rms": (rms, right_rms),
    "mean_only": (mean_only, right_mean_only),
    "halves": (halves, right_halves),
    "one_more": (one_more, right_one_more),
}


# Mistakes.


def only(relation: str, change: Callable[[Any], Any]) -> Callable[[Overlaps], Overlaps]:
    """A change of one relation, where it exists."""

    def f(t: Overlaps) -> Overlaps:
        value = getattr(t, relation)
        return t if value is None else replace(t, **{relation: change(value)})

    return f


def wrong_K(right: Apply, relation: str, change: Callable[[Any], Any]) -> Apply:
    """A right theory with a mistake in K of one relation."""

    def apply(step, state, run, path):
        found = right(step, state, run, path)
        return replace(found, K=only(relation, change)(found.K))

    return apply


def wrong_tangent(right: Apply, relation: str, change: Callable[[Any], Any]) -> Apply:
    """A right theory with a mistake in Th of one relation."""

    def apply(step, state, run, path):
        found = right(step, state, run, path)
        return replace(found, tangent=mapped(found.tangent, only(relation, change)))

    return apply


def wrong_rms(square: Callable[[Any, Any], Any], mean: Callable[[Any, Any, Any], Any]) -> Apply:
    """square and mean of the wrong theory, from the step, the state, and the right scale."""

    def apply(step, state, run, path):
        scale = step.gamma / run.expect.root(state.K.same)
        return state.affine(square(step, state.K.same), mean(step, state.mean, scale), run.expect)

    return apply


def with_(right: Apply, **changes: Any) -> Apply:
    """A right theory with a wrong fact about the state."""

    def apply(step, state, run, path):
        found = right(step, state, run, path)
        return replace(found, **{name: f(state) for name, f in changes.items()})

    return apply


def scaled_tangent(step, state, run, path):
    right = right_rms(step, state, run, path)
    return replace(right, tangent=mapped(state.tangent, lambda t: t * (1 / state.K.same)))


def first_step_only(step, state, run, path):
    right = right_rms(step, state, run, path)
    return right if path == "2" else right.affine(1 / step.gamma**2, right.mean, run.expect)


def one_tangent(step, state, run, path):
    right = right_halves(step, state, run, path)
    return replace(right, tangent=mapped(right.tangent, lambda t: t * (right.K.same * 0 + 1) * 0.5))


def same_centered(step, state, run, path):
    right = right_centered(step, state, run, path)
    return replace(right, K=replace(state.K, same=right.K.same))


def as_before(step, state, run, path):
    return state


def mates_as_others(step, state, run, path):
    n = run.samples * state.positions

    def less(t):
        spread = step.gamma**2 * (t.same - t.other)
        return state.alike(spread * (1 - 1 / n), -spread / n)

    K = less(state.K).map(lambda K: K + step.beta**2)
    law = state.law.scaled(step.gamma**2, step.beta, run.expect)
    return replace(state, K=K, mean=step.beta, tangent=mapped(state.tangent, less), law=law)


def many_samples(step, state, run, path):
    def less(t):
        return t.map(lambda value: step.gamma**2 * (value - t.other))

    K = less(state.K).map(lambda K: K + step.beta**2)
    return replace(state, K=K, mean=step.beta, tangent=mapped(state.tangent, less))


def uncoupled(step, state, run, path):
    return state.affine(step.gamma**2, step.beta, run.expect)


def wrong_limit(step, state, run, path):
    right = right_mean_only(step, state, run, path)
    return replace(right, K=right.K * (2 if run.infinite else 1))


def shifted_alone(step, state, run, path):
    return replace(state, K=state.K.map(lambda K: K + 1), mean=state.mean + 1)


# Definition, wrong theory, the kind of place that refuses it, and what it names there.
PLANTED: dict[str, tuple[Callable[..., torch.Tensor], Apply, str, str]] = {
    "nothing said of a centering": (centered, as_before, "behind an activation", "K[3].same"),
    "two samples not centered": (centered, same_centered, "behind an activation", "larger than"),
    "mean left by a centering": (
        centered, with_(right_centered, mean=lambda s: s.mean), "behind an activation", "K - m"),
    "taken for independent of the stream": (
        centered, with_(right_centered, fresh=lambda s: True), "alone in a branch", "K[2]"),
    "taken for mixing weights": (centered, right_centered, "alone in a branch", "K[2]"),
    "no mean behind an activation": (
        rms, wrong_rms(lambda s, q: s.gamma**2 / q, lambda s, m, a: s.beta), "behind an activation", "K[3].same"),
    "sign of the mean": (
        rms, wrong_rms(lambda s, q: s.gamma**2 / q, lambda s, m, a: s.beta - a * m), "behind an activation", "K[3]"),
    "size of a negative mean": (
        rms, wrong_rms(lambda s, q: s.gamma**2 / q, lambda s, m, a: a * abs(m) + s.beta), "behind a shift", "K[3]"),
    "sign of beta": (
        rms, wrong_rms(lambda s, q: s.gamma**2 / q, lambda s, m, a: a * m - s.beta), "behind a dense step", "mean[2]"),
    "beta scaled": (
        rms, wrong_rms(lambda s, q: s.gamma**2 / q, lambda s, m, a: a * (m + s.beta)), "behind a dense step", "K[2]"),
    "gamma for its square": (
        rms, wrong_rms(lambda s, q: s.gamma / q, lambda s, m, a: a * m + s.beta), "behind a dense step", "K[2].same"),
    "q for its root": (
        rms, wrong_rms(lambda s, q: s.gamma**2 / q**0.5, lambda s, m, a: a * m + s.beta), "behind a dense step", "K"),
    "gamma forgotten in the gradient": (rms, scaled_tangent, "behind a dense step", "tq[1].same"),
    "gradients of two samples": (
        rms, wrong_tangent(right_rms, "other", lambda v: 1.2 * v), "behind a dense step", "tq[1].other"),
    "two positions halved": (rms, wrong_K(right_rms, "mate", lambda v: v / 2), "at positions", "mate"),
    "gradients of two positions": (
        rms, wrong_tangent(right_rms, "mate", lambda v: 0 * v), "at positions", "mate"),
    "right without biases": (
        rms, wrong_K(right_rms, "other", lambda v: 1.2 * v), "behind a dense step", "K[2].other"),
    "right with biases": (
        rms, with_(right_rms, mean=lambda s: s.K.other / (s.K.other + 1e-300) * 0.5), "behind a dense step", "mean[2]"),
    "right in the first step": (rms, first_step_only, "twice in a row", "K[3]"),
    "one sample for two": (
        rms, lambda step, state, run, path: replace(state, K=Overlaps(state.K.other, state.K.same, state.K.mate)),
        "behind a dense step", "larger than that of a place with itself"),
    "samples taken for many": (mean_only, many_samples, "behind a dense step", "K[2].same"),
    "samples taken for apart": (mean_only, uncoupled, "behind a dense step", "K[2].same"),
    "right at eight samples": (
        mean_only, lambda *a: right_mean_only(*a, samples=8), "behind a dense step", "positive matrix"),
    "positions not counted": (mean_only, lambda *a: right_mean_only(*a, positions=1), "at positions", ""),
    "positions taken for samples": (mean_only, mates_as_others, "at positions", "K[3]"),
    "the law of a batch kept": (
        mean_only, with_(right_mean_only, law=lambda s: s.law), "behind batch normalization", "K[4]"),
    "infinitely many samples": (mean_only, wrong_limit, "behind a dense step", "for T -> infinity"),
    "product taken for Gaussian": (
        halves, with_(right_halves, law=lambda s: Gaussian()), "behind a dense step", "[3]"),
    "one gradient of a product": (halves, one_tangent, "behind a dense step", "tq[1].same"),
    "width of the halves": (halves, with_(right_halves, width=lambda s: s.width), "behind a dense step", "Th"),
    "cross term of a constant": (one_more, shifted_alone, "behind an activation", "K - mean^2"),
}  # fmt: skip


def added(name: str, definition: Callable[..., torch.Tensor], rule: Apply) -> None:
    """A step of this name on both sides."""

    @dataclass(frozen=True)
    class Planted(theory.Step):
        gamma: Any = symbols.gamma
        beta: Any = symbols.beta

        def apply(self, state, run, path):
            return rule(self, state, run, path)

    numerics.add_step(name, definition)
    Planted.couples_samples, Planted.mixes = DEFINED[name].couples, "mixing" in name
    theory.add_step(name, Planted)


@pytest.fixture
def step(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of an added step, another one for each: networks of a name are kept."""
    name = "planted_" + request.param.replace(" ", "_")
    definition, rule = (*RIGHT.values(), *(p[:2] for p in PLANTED.values()))[[*RIGHT, *PLANTED].index(request.param)]
    added(name, definition, rule)
    yield name
    del STEPS[name], DEFINED[name]


def refusal(step: str, kinds: tuple[str, ...]) -> tuple[str, list[Place]]:
    """What refuses a step in some kinds of place, "" if nothing does, and its places there."""
    found = [at for at in places(step) if isinstance(at, Place) and at.kind in kinds]
    words = next((at.fault for at in found if at.fault), "") or in_the_limit(step)
    if not words:
        _, refused = compared(found, ERROR_RATE, lambda _: None)
        words = refused.words(refused.refused) if refused is not None and refused.refused is not None else ""
    return words, found


@pytest.mark.parametrize("step", PLANTED, indirect=True)
def test_planted_mistakes_are_refused_where_they_are_made(step: str, request: pytest.FixtureRequest) -> None:
    _, _, kind, named = PLANTED[request.node.callspec.params["step"]]
    words, found = refusal(step, (kind,))
    assert found
    assert named in words
    assert words


@pytest.mark.parametrize("step", RIGHT, indirect=True)
def test_right_steps_stand(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one look in places that refuse wrong versions; `test_right_examples_hold` looks until it is sure."""
    monkeypatch.setattr(examine, "LOOKS", 1)
    words, found = refusal(step, ("behind a dense step",) if "halves" in step else ("behind an activation",))
    assert found
    assert words == ""


CAUSES = {"beta scaled": "it departs at beta = 0.5 and not at beta = 0"}
"""That a factor is named is held by the wrong examples in test_examples.py."""


@pytest.mark.parametrize("step", CAUSES, indirect=True)
def test_what_departs_is_named_with_its_cause(step: str, request: pytest.FixtureRequest) -> None:
    found = next(at for at in places(step) if isinstance(at, Place))
    _, refused = compared([found], ERROR_RATE, lambda _: None)
    assert refused is not None
    departs, cause, replay = diagnose_place(refused, Path("mine.py"))
    assert departs.startswith(f"behind a dense step [{found.setting}]: K[2]")
    assert CAUSES[request.node.callspec.params["step"]] in cause
    assert replay == f"replay: fimcheck check mine.py --setting '{found.setting}'"


def test_a_step_that_its_theory_refuses_is_listed_with_its_words() -> None:
    """relu stands for a step that leaves units of unknown law."""
    found = [at for at in places("relu") if isinstance(at, Refusal)]
    said = list(summary(["relu"], [], found))
    assert any("dense relu relu dense" in line and "the law of its units is not known" in line for line in said)
    assert all(at.by_theory for at in found)
    assert said[-1].startswith("not examined: ")


@pytest.mark.parametrize(
    "text",
    [
        "dense relu layer dense erf dense T=5 sb2=0.3",
        "dense batch relu dense T=8 sb2=0.3",
        "conv relu skip(attention) dropout pool dense T=4 N=3 sb2=0.3",
        "dense(param=ntk) gate(dense(param=ntk), dense(param=ntk) relu) dense(param=ntk) T=5",
    ],
)
def test_wide_signals_have_the_overlaps_of_networks_with_weights(text: str) -> None:
    """Both extrapolated to infinite width, overlap by overlap."""
    setting, widths, networks = Setting.parse(text), (64, 128, 256), 40
    kinds = ["K", "mean", "tq", "Th"]
    one, two = [], []
    for width in widths:
        network = setting.network(width)
        assert isinstance(network, numerics.Composition)
        found = wide_overlaps(network, setting.samples or 0, networks, setting.seed(width, "wide", 0))
        one.append({name: value.numpy() for name, value in found.items()})
        seeds = [setting.seed(width, "real", i) for i in range(networks)]
        two.append(numerics.measure(network, setting.samples or 0, seeds, kinds).draws)
    for claim in overlap_claims(setting, {"network": text}):
        values = [[claim.values(measured) for measured in route] for route in (one, two)]
        if min(np.ptp(v) for route in values for v in route) > 1e-9:
            a, b = (extrapolate(widths, route, (1.0,)) for route in values)
            half = Limit(0.0, float(np.hypot(a.error, b.error)), min(a.freedom, b.freedom), 1.0, ()).half_width(1e-5)
            assert abs(a.value - b.value) < half, claim.id
