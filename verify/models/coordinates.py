"""How what a model's modules give, and how it changes in training, goes with the width: the coordinate check.

In the maximal update parametrization every module gives numbers of size one at every width and changes by numbers of
size one in every step (Yang and Hu 2021, arXiv 2011.14522; Yang et al. 2022, arXiv 2203.03466, section on
implementations). What grows or vanishes as a power of the width is a mistake in the initialization, a multiplier or a
learning rate, and shows in one module first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fimcheck.verify.draws.pool import Pool
from fimcheck.verify.models.model import Loss, Model, ModelError, Said, enough, top_up
from fimcheck.verify.models.training import OPTIMIZERS, OUTPUT, SOFTMAX, Sizes, train
from fimcheck.verify.rule.regression import Array, regress

WIDTHS, SAMPLES, STEPS, NETWORKS = (64, 128, 256, 512, 1024), 16, 3, 80
FIRST_NETWORKS, WANTED = 10, 0.2
"""Twice as many networks are drawn until half of every interval is at most this."""
NEAR, WRONG = 0.25, 0.1
"""An exponent agrees that lies within NEAR of the stated one, and disagrees where it lies beyond WRONG for certain."""
ERROR_RATE = 1e-3
"""Chance that an interval misses: a model has many modules, and each is asked at every step."""
FLOOR = 1e-3
"""Relative error that every mean is given at least: exponents are not asked for better."""


@dataclass(frozen=True)
class Coordinate:
    """Root mean square of what a module gives at the start (step 0), or of its change after a step, at every width.

    low, high: ends of the interval of its exponent. expected: the stated exponent. bound: whether less is right too.
    """

    name: str
    step: int
    means: Array
    low: float
    high: float
    expected: float
    bound: bool

    @property
    def status(self) -> str:
        """AGREE, DISAGREE or INCONCLUSIVE."""
        above, below = self.low - self.expected, self.expected - self.high
        if above > WRONG or (below > WRONG and not self.bound):
            return "DISAGREE"
        inside = self.high - self.expected < NEAR and (self.bound or self.expected - self.low < NEAR)
        return "AGREE" if inside else "INCONCLUSIVE"


@dataclass(frozen=True)
class Check:
    """Every coordinate of a model, by name in the order of the forward pass and by step."""

    coordinates: tuple[Coordinate, ...]
    widths: tuple[int, ...]
    networks: int

    @property
    def names(self) -> tuple[str, ...]:
        """Modules in the order in which they run."""
        return tuple(dict.fromkeys(c.name for c in self.coordinates))

    def of(self, name: str) -> list[Coordinate]:
        """The coordinates of one module, step by step."""
        return [c for c in self.coordinates if c.name == name]

    def status(self, name: str) -> str:
        """The worst of a module's."""
        found = {c.status for c in self.of(name)}
        return next((s for s in ("DISAGREE", "INCONCLUSIVE") if s in found), "AGREE")

    @property
    def first(self) -> Coordinate | None:
        """The first that disagrees: at the earliest step, and of these the first in the forward pass."""
        wrong = [c for c in self.coordinates if c.status == "DISAGREE"]
        return min(wrong, key=lambda c: c.step) if wrong else None

    @property
    def agrees(self) -> bool:
        """Whether every coordinate has its exponent."""
        return all(c.status == "AGREE" for c in self.coordinates)

    def record(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "widths": list(self.widths),
            "networks": self.networks,
            "coordinates": [
                {"module": c.name, "step": c.step, "low": c.low, "high": c.high, "expected": c.expected,
                 "at_most": c.bound, "status": c.status, "means": c.means.tolist()}
                for c in self.coordinates
            ],
        }  # fmt: skip


def check(
    model: Model,
    widths: Sequence[int] | None = None,
    samples: int = SAMPLES,
    steps: int = STEPS,
    optimizer: str = "adam",
    rate: float = 1e-2,
    loss: Loss = "squared",
    networks: int = NETWORKS,
    pool: Pool | None = None,
    said: Said = lambda _: None,
) -> Check:
    """Train networks of every width and find the exponent of everything that their modules give."""
    widths = enough(widths or model.widths or WIDTHS)
    if optimizer not in OPTIMIZERS:
        raise ModelError(f"optimizer {optimizer!r}: it is {' or '.join(OPTIMIZERS)}, or define optimizer(module, rate)")
    if not (np.isfinite(rate) and rate > 0):
        raise ModelError(f"rate = {rate}: a learning rate is positive")
    if steps < 1 or networks < 2:
        raise ModelError(f"steps = {steps}, networks = {networks}: one step and two networks are the fewest")
    rest = (samples, steps, optimizer, rate, loss)
    trained: dict[int, list[Sizes]] = {width: [] for width in widths}
    count = min(FIRST_NETWORKS, networks)
    while True:
        top_up(model, train, trained, dict.fromkeys(widths, count), lambda w, seed: (w, seed, *rest), pool, said)
        found = tuple(_coordinates(model, trained))
        if count >= networks or all(c.high - c.low <= 2 * WANTED for c in found):
            return Check(found, widths, count)
        count = min(2 * count, networks)


def _coordinates(model: Model, trained: dict[int, list[Sizes]]) -> Iterator[Coordinate]:
    keys = list(trained[min(trained)][0])
    unknown = set(model.exponents) - {name for name, _ in keys}
    if unknown:
        known = ", ".join(dict.fromkeys(name for name, _ in keys))
        raise ModelError(f"exponents of {sorted(unknown)[0]!r}: no module has that name; there are {known}")
    names = {name for name, _ in keys}
    for width, found in trained.items():
        for other in ({name for name, _ in sizes} ^ names for sizes in found):
            if other:
                raise ModelError(
                    f"{model.where(model.build)}: {min(other)} runs at only one of the widths {min(trained)} and "
                    f"{width}: what is compared between widths needs one name at all of them"
                )
    places = {name: place for place, (name, _) in reversed(list(enumerate(keys)))}
    for name, step in sorted(keys, key=lambda key: (places[key[0]], key[1])):
        values = [np.array([sizes[name, step] for sizes in found]) for found in trained.values()]
        means = np.array([v.mean() for v in values])
        if not np.isfinite(means).all():
            width = list(trained)[int(np.flatnonzero(~np.isfinite(means))[0])]
            if step > 1:
                continue  # what came before it tells
            raise ModelError(f"{model.where(model.build)}: {name} is not finite at width {width}, step {step}")
        if (means == 0).any():
            continue  # nothing that is trained lies below it, or it starts from zero
        errors = np.array([v.std(ddof=1) / np.sqrt(v.size) for v in values])
        counts = np.array([float(v.size) for v in values])
        low, high = _exponent(np.array(list(trained), dtype=float), means, np.maximum(errors, FLOOR * means), counts)
        expected = model.exponents.get(name, (0.0, 0.0))[0 if step == 0 else 1]
        # A readout may start from ever smaller values: the first step makes them. So may what a softmax is given, which
        # grows to size one only where d exceeds the number of samples that the keys come from.
        bound = name not in model.exponents and (
            SOFTMAX in name or (step == 0 and (name == OUTPUT or _last(keys, name)))
        )
        yield Coordinate(name, step, means, low, high, expected, bound)


def _last(keys: Sequence[tuple[str, int]], name: str) -> bool:
    """Whether a module is the last that runs, whose outputs are the model's."""
    names = [n for n, step in keys if step == 0 and n != OUTPUT]
    return bool(names) and name == names[-1]


def _exponent(widths: Array, means: Array, errors: Array, counts: Array) -> tuple[float, float]:
    """Ends of the interval of the exponent: the hull of plain power laws through the three and the four widest widths.

    Corrections are left to the margins, which are far wider than what they change there.
    """
    ends = []
    for widest in (3, 4):
        w, y, e, n = (v[-widest:] for v in (widths, np.log(means), errors / means, counts))
        design = np.stack([np.log(w / w[0]), np.ones_like(w)], axis=1)
        ends += regress(design, y, e, [int(c) for c in n]).interval(ERROR_RATE / 2)
    return min(ends), max(ends)
