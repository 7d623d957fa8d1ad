"""The kinds of place in which a step can stand, and whether its theory holds there on sampled signals.

Cheap, so that every place can be tried: the signals are wide and no matrix is drawn for them (`numerics.wide`), and an
overlap is compared by its difference from what is predicted, so that one that is predicted to vanish is like any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from fimcheck import theory
from fimcheck.numerics import Composition, NetworkError
from fimcheck.numerics.wide import wide_overlaps
from fimcheck.theory.network.expectations import Numbers
from fimcheck.theory.network.state import Overlaps, State
from fimcheck.theory.network.step import TOTAL
from fimcheck.verify.claims.composition import OverlapClaim, overlap_claims
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.rule.limit import ROUNDING, Limit, extrapolate
from fimcheck.verify.rule.rule import Rule
from fimcheck.verify.rule.statistics import REFUSED, Array, Outcome

STEP = "STEP"
PLACES: Mapping[str, tuple[str, ...]] = {
    "behind a dense step": ("dense STEP dense", "dense STEP relu dense", "dense STEP erf dense"),
    "behind an activation": (
        "dense relu STEP dense",
        "dense erf STEP dense relu dense",
        "dense relu STEP relu dense",
        "dense relu shift(by=-1.5) STEP dense",
    ),
    "behind a shift": ("dense shift(by=-0.7) STEP dense", "dense shift(by=-0.7) STEP relu dense"),
    "on the inputs": ("STEP dense relu dense",),
    "at positions": (
        "conv skip(attention) STEP pool dense",
        "conv skip(attention) STEP relu pool dense",
        "conv relu STEP pool dense",
        "conv STEP relu pool dense",
        "conv relu skip(attention) STEP pool dense",
    ),
    "behind pooling": ("conv pool STEP dense", "conv relu pool STEP dense"),
    "twice in a row": ("dense STEP STEP dense", "dense relu STEP STEP dense", "dense STEP STEP erf dense"),
    "in every layer": ("dense STEP dense STEP dense STEP dense", "dense STEP relu dense STEP relu dense"),
    "first in a branch": (
        "dense skip(STEP dense) relu dense",
        "dense skip(STEP relu dense) relu dense",
        "dense relu skip(STEP dense) dense",
    ),
    "last in a branch": (
        "dense skip(dense STEP) dense",
        "dense skip(relu dense STEP) relu dense",
        "dense relu skip(dense relu STEP) dense",
    ),
    "on the stream of a skip": (
        "dense skip(dense) STEP skip(dense) dense",
        "dense skip(relu dense) STEP skip(relu dense) relu dense",
        "dense relu skip(dense relu) STEP skip(dense) dense",
    ),
    "in a gate": ("dense gate(dense STEP, dense relu) dense", "dense relu gate(STEP dense, dense) dense"),
    "behind a gate": ("dense gate(dense, dense erf) STEP dense",),
    "alone in a branch": (
        "dense gate(STEP, STEP) dense",
        "dense gate(STEP, dense relu) dense",
        "dense skip(STEP) dense",
    ),
    "behind layer normalization": (
        "dense layer STEP dense",
        "dense layer STEP relu dense",
        "dense relu layer STEP dense",
    ),
    "behind RMS normalization": ("dense rms STEP dense", "dense rms STEP erf dense", "dense relu rms STEP dense"),
    "behind group normalization": ("dense group STEP dense", "dense relu group STEP dense"),
    "behind batch normalization": (
        "dense batch STEP dense",
        "dense batch STEP relu dense",
        "dense batch relu STEP dense",
    ),
    "behind dropout": ("dense dropout STEP dense", "dense relu dropout STEP dense"),
    "before a normalization": ("dense STEP layer dense", "dense STEP layer relu dense", "dense relu STEP rms dense"),
    "before batch normalization": ("dense STEP batch relu dense",),
    "before dropout": ("dense STEP dropout dense",),
    "between unequal widths": ("dense(width=2) STEP dense(width=0.5) dense", "dense relu STEP dense(width=2) dense"),
    "in the NTK parametrization": (
        "dense(param=ntk) STEP dense(param=ntk)",
        "dense(param=ntk) relu STEP dense(param=ntk)",
    ),
}
"""Networks with the step in every kind of place that the grammar has; the commonest first."""

NUMBERS: tuple[Mapping[str, Any], ...] = (
    MappingProxyType({"sigma_w2": 2.0, "sigma_b2": 0.3, "gamma": 1.25, "beta": 0.5}),
    MappingProxyType({"sigma_w2": 1.3, "sigma_b2": 0.0, "gamma": 0.7, "beta": -0.4}),
)
"""Numbers that every kind of place is tried at: with biases and a positive shift, and without and a negative one."""
SAMPLES, COUPLED_SAMPLES = (5, 7), (8, 11)
"""T with each of them: of a network whose samples stay apart, and of one that mixes them."""
POSITIONS, POSITIONED_SAMPLES = 3, (4, 5)
"""Positions of a sample, where there are any, and T there."""
BEYOND = (
    "T in proportion to M, given inputs, normalized outputs, gamma < 0, and other values of parameters that are "
    "neither gamma nor beta"
)
"""What no place tries."""

WIDTHS = (128, 512, 2048)
EPS, LOOKS = 0.05, 6
BATCH = 16
"""Networks that are drawn together, and of the first look at every width."""
LEAST_SCALE = {"K": 0.5, "tq": 0.5, "Th": 0.5, "mean": 1.0}
"""An overlap is compared in units of itself, and of this part of the overlap of the same place at least; a mean in
those of the root of that overlap."""
EXACT = 1e-7
"""How far, relative to K[same] or Th[same], rounding may take a state from what is possible."""
MANY = 1e12
"""So many samples as there are where any number is allowed."""


@dataclass(frozen=True)
class Place:
    """A step in a kind of place, in words, and the setting of a network that has it there.

    fault: what no signal can have among the states that the theory returns there, with the first step that does; "" if
    all are possible.
    """

    kind: str
    setting: Setting
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.kind} [{self.setting}]"


@dataclass(frozen=True)
class Refusal:
    """A network that the theory refuses, or that cannot be sampled, with the words of the one that says so."""

    kind: str
    network: str
    by_theory: bool
    words: str


def places(step: str) -> Iterator[Place | Refusal]:
    """Every place of a step; where it is refused, the words once."""
    for kind, networks in PLACES.items():
        for first, network in enumerate(networks):
            for number in range(len(NUMBERS) if first == 0 else 1):
                found = _place(kind, network.replace(STEP, step), number)
                yield found
                if isinstance(found, Refusal):
                    break


def _place(kind: str, network: str, number: int) -> Place | Refusal:
    positions = POSITIONS if "conv" in network else 1

    def with_samples(samples: tuple[int, ...]) -> Setting:
        samples = samples if positions == 1 else POSITIONED_SAMPLES
        return Setting(steps=network, samples=samples[number], positions=positions, **NUMBERS[number])

    try:
        setting = with_samples(COUPLED_SAMPLES)
        setting = setting if setting.couples_samples else with_samples(SAMPLES)
        return Place(kind, setting, impossible(setting))
    except (theory.CompositionError, theory.ActivationError) as error:
        return Refusal(kind, network, True, str(error))
    except NetworkError as error:
        return Refusal(kind, network, False, str(error))


class _ImpossibleError(Exception):
    """A state that no signal can have: what comes after it has no meaning."""


def impossible(setting: Setting) -> str:
    """What no signal can have among the states that the theory returns, with the first step that does; "" if all are
    possible.
    """
    steps, T = setting.wide().all_steps, float(setting.samples or 0)
    # Samples that do not mix may be any number: what holds of some has to hold of all.
    samples = T if setting.couples_samples else MANY

    def checked(path: str, state: State) -> State:
        for fault in _faults(state, samples):
            raise _ImpossibleError(f"step {path}: {steps[path].words}: {fault}")
        return state

    try:
        setting.wide().run(Numbers(), T, apart=False, settle=checked, number=float)
    except _ImpossibleError as error:
        return str(error)
    return ""


def _faults(state: State, samples: float) -> Iterator[str]:
    """What is not possible: overlaps of units, and of their deviations from the mean, are positive matrices."""
    mean, tangent = float(state.mean), state.tangent.get(TOTAL)
    for name, t in (("K", state.K), ("Th", tangent)):
        if t is None:
            continue
        shown = ", ".join(f"{name}[{relation}] = {float(value):.6g}" for relation, value in t.items())
        values, positions = np.array([float(value) for _, value in t.items()]), float(state.positions)
        if not np.isfinite(values).all() or values[0] < 0:
            yield f"{shown}: an overlap is finite, and that of a place with itself not negative"
            return
        if np.abs(values).max() > values[0] * (1 + EXACT):
            yield f"{shown}: no overlap is larger than that of a place with itself"
        elif _least(t, positions, samples) < -EXACT * values[0]:
            yield f"{shown}: the overlaps of all places are not a positive matrix"
        if name == "K" and not np.isfinite(mean):
            yield f"the mean is {mean}"
        elif name == "K" and _least(t.map(lambda v: v - mean**2), positions, samples) < -EXACT * values[0]:
            yield f"{shown}, mean {mean:.6g}: K - mean^2 is the overlap of deviations, and not a positive matrix"


def _least(t: Overlaps, positions: float, samples: float) -> float:
    """The smallest eigenvalue of the matrix of all places of so many samples, the last kind over their number."""
    same, other = float(t.same), float(t.other)
    if t.mate is None:
        return min(same - other, same / samples + other * (1 - 1 / samples))
    within, across = same + (positions - 1) * float(t.mate), positions * other
    return min(same - float(t.mate), within - across, within / samples + across * (1 - 1 / samples))


def unlike(limit: State, many: State) -> str:
    """Where the state for T -> infinity is not that of very many samples; "" if it is."""
    for name, one, two in (("K", limit.K, many.K), ("Th", limit.tangent.get(TOTAL), many.tangent.get(TOTAL))):
        if one is None or two is None:
            continue
        pairs = zip(one.items(), two.items(), strict=True)
        for (relation, a), (_, b) in pairs:
            if not abs(float(a) - float(b)) <= 1e-3 * abs(float(two.same)):
                return f"{name}[{relation}] is {float(a):.6g} for T -> infinity and {float(b):.6g} at T = {SO_MANY:.0e}"
    return ""


SO_MANY = 1e5
"""Samples at which a rule should be that of infinitely many."""


def in_the_limit(step: str) -> str:
    """What is wrong with the rule for T -> infinity, behind a dense step; "" if nothing, or if T does not matter."""
    place = next(found for found in places(step) if isinstance(found, Place))
    wide = place.setting.wide()
    if not wide.couples_samples:
        return ""
    ends = [wide.run(Numbers(), count, apart=False, number=float)[1] for count in (np.inf, SO_MANY)]
    return unlike(*ends)


Drawings = dict[str, Array]


@dataclass
class Comparison:
    """Every overlap of a place against sampled signals, look by look, each at twice as many networks.

    agreed: how many are known to agree. left: those that are not, in the order of computation.
    refused: the first of these that is refused.
    """

    place: Place
    error_rate: float
    agreed: int = 0
    refused: OverlapClaim | None = None
    _batches: dict[tuple[str, int], list[Drawings]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        setting = self.place.setting
        self.left = {claim.id: claim for claim in overlap_claims(setting, {"network": str(setting)})}
        self._limits: dict[str, Limit | None] = {}
        self._rule = Rule(EPS, self.error_rate / len(self.left), LOOKS, "equals", (1.0, 2.0))

    def look(self, number: int) -> bool:
        """Whether an overlap is refused, on fresh draws too: the first in the order of computation."""
        count = BATCH * 2**number
        for claim in tuple(self.left.values()):
            outcome, self._limits[claim.id] = self._judged(claim, "main", count)
            if outcome == "AGREE":
                self.agreed += 1
                del self.left[claim.id]
                continue
            if outcome in REFUSED and self._judged(claim, "confirm", count)[0] in REFUSED:
                self.refused = claim
                return True
        return False

    def words(self, claim: OverlapClaim) -> str:
        """An overlap that does not agree: where, predicted and measured."""
        setting, limit = self.place.setting, self._limits[claim.id]
        path = claim.path.removesuffix(".value").removesuffix(".output")
        step = f", step {claim.path}: {setting.wide().all_steps[path].words}" if path else ""
        predicted, scale = claim.predicted(setting.wide(), setting), _scale(claim, setting)
        if limit is None:
            measured = "values that are not finite"
        elif limit.fit_p < self._rule.tail:
            measured = f"no limit of large width (p = {limit.fit_p:.1e})"
        else:
            measured = f"measured {predicted + (limit.value - 1) * scale:.4g} +- {limit.error * scale:.2g}"
        return f"{claim.id.removeprefix('network.')}{step}: predicted {predicted:.4g}, {measured}"

    def ratio(self, claim: OverlapClaim, count: int) -> tuple[float, float] | None:
        """The limit of measured/predicted of an overlap, and its error; None where no factor can be read off."""
        predicted = claim.predicted(self.place.setting.wide(), self.place.setting)
        draws = [claim.values(measured) / predicted for measured in self._take("main", count)] if predicted else []
        if not draws or not np.isfinite(np.concatenate(draws)).all():
            return None
        limit = self._limit(draws)
        return (limit.value, max(limit.error, EXACT * limit.value)) if limit.value > 0 else None

    def _limit(self, draws: Sequence[Array]) -> Limit:
        every = np.concatenate(draws)
        if np.ptp(every) <= ROUNDING * np.abs(every).max():  # the same in every network
            return Limit(float(every.mean()), 0.0, np.inf, 1.0, ())
        return extrapolate(WIDTHS, draws, self._rule.powers[:1])

    def _judged(self, claim: OverlapClaim, block: str, count: int) -> tuple[Outcome, Limit | None]:
        setting, rule = self.place.setting, self._rule
        predicted, scale = claim.predicted(setting.wide(), setting), _scale(claim, setting)
        draws = [1 + (claim.values(measured) - predicted) / scale for measured in self._take(block, count)]
        if not np.isfinite(np.concatenate(draws)).all():
            return "INVALID", None
        limit = self._limit(draws)
        half = limit.half_width(rule.tail) if limit.error else 0.0
        low, high = rule.band
        if limit.fit_p < rule.tail:
            return "MISFIT", limit
        if low < limit.value - half and limit.value + half < high:
            return "AGREE", limit
        outside = limit.value + half < low or limit.value - half > high
        return "DISAGREE" if outside else "INCONCLUSIVE", limit

    def _take(self, block: str, count: int) -> list[Drawings]:
        return [self._at(block, width, count) for width in WIDTHS]

    def _at(self, block: str, width: int, count: int) -> Drawings:
        """The first so many networks of a block."""
        setting, batches = self.place.setting, self._batches.setdefault((block, width), [])
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # small matrices: more threads wait for each other
        try:
            while BATCH * len(batches) < count:
                network = setting.network(width)
                assert isinstance(network, Composition)
                seed = setting.seed(width, f"places/{block}", len(batches))
                found = wide_overlaps(network, setting.samples_at(width), BATCH, seed)
                batches.append({name: values.numpy() for name, values in found.items()})
        finally:
            torch.set_num_threads(threads)
        return {name: np.concatenate([batch[name] for batch in batches])[:count] for name in batches[0]}


def _scale(claim: OverlapClaim, setting: Setting) -> float:
    """What an overlap is compared in units of."""
    whole = replace(claim, kind="K" if claim.kind == "mean" else claim.kind, relation="same", final="same")
    size = abs(whole.predicted(setting.wide(), setting))
    least = LEAST_SCALE[claim.kind] * (size**0.5 if claim.kind == "mean" else size)
    return max(abs(claim.predicted(setting.wide(), setting)), least)


def compared(
    found: Sequence[Place], error_rate: float, started: Callable[[str], None]
) -> tuple[list[Comparison], Comparison | None]:
    """Every place, all with few networks first and then those that are left open with more, until one is refused: what
    was compared, and where something is refused.
    """
    done: dict[Place, Comparison] = {}
    for number in range(LOOKS):
        for place in found:
            if number == 0:
                started(place.kind)
                done[place] = Comparison(place, error_rate / len(found))
            if done[place].look(number):
                return list(done.values()), done[place]
    return list(done.values()), None


def summary(steps: Sequence[str], done: Sequence[Comparison], refusals: Sequence[Refusal]) -> Iterator[str]:
    """What was examined, which places were refused with whose words, and what was not examined."""
    settings = [comparison.place.setting for comparison in done]
    kinds = dict.fromkeys(comparison.place.kind for comparison in done)
    ranges = [_values(settings, name) for name in ("samples", "positions", "sigma_w2", "sigma_b2", "gamma", "beta")]
    agreed = sum(comparison.agreed for comparison in done)
    yield (
        f"{', '.join(steps)}: {agreed} overlaps compared and found right, at {len(done)} settings "
        f"({', '.join(filter(None, ranges))}) in {len(kinds)} kinds of place: {', '.join(kinds)}"
    )
    for by_theory, who in ((True, "refused by the theory"), (False, "not examined, cannot be sampled")):
        for words, networks in _grouped(refusal for refusal in refusals if refusal.by_theory == by_theory).items():
            yield f"{who}: {'; '.join(networks)}: {words}"
    yield f"not examined: {BEYOND}"


def _values(settings: Sequence[Setting], name: str) -> str:
    values = sorted({getattr(setting, name) for setting in settings})
    short = {"samples": "T", "positions": "N"}.get(name, name)
    idle = all(name in setting.idle for setting in settings)
    return "" if idle or not values else f"{short} {', '.join(f'{value:g}' for value in values)}"


def _grouped(refusals: Iterator[Refusal]) -> dict[str, list[str]]:
    """Networks by the words with which they are refused, wherever the step stands in them."""
    found: dict[str, list[str]] = {}
    for refusal in refusals:
        words = re.sub(r" \(step \d[\w.]*\)|^step \d[\w.]*: ", "", refusal.words)
        found.setdefault(re.sub(r"\bstep \d[\w.]*", "a step", words), []).append(refusal.network)
    return found
