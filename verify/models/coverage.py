"""The test of the exponents of models: how often their interval covers, and what is said of lambda_max, where it is
known how it goes with the width.

If every mean is multiplied by M^q, so are the errors and every curve that is fitted, and the interval is the same one
moved by q (a test holds it). So the simulation takes p = 0, and its intervals answer for every true exponent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fimcheck.verify.draws.pool import Pool, completed
from fimcheck.verify.models.sharpness import GROWN, NETWORKS, WIDTHS, known, looks, verdict
from fimcheck.verify.rule.regression import Array
from fimcheck.verify.sweep.exponent import Exponent
from fimcheck.verify.sweep.exponent import judge as judged
from fimcheck.verify.sweep.laws import Cells

EXPONENTS = (*(round(-0.5 + 0.1 * k, 1) for k in range(16)), 0.15)
LEAST_COVERED, MOST_BELIEVED, GROWS = 0.93, 0.02, 0.15
"""Promised: how often the interval covers, and how often a quantity with at least the exponent GROWS is "bounded"."""
CORRECTIONS = (
    (0.0, 1.0),
    *((c, 0.5) for c in (25.0, 16.0, 8.0, 4.0, 1.0, -1.0, -3.0, -5.0)),
    *((c, 1.0) for c in (25.0, 8.0, 2.0, -2.0, -8.0, -25.0)),
    *((c, 1.5) for c in (25.0, 8.0, -8.0, -25.0)),
)
"""Amplitudes c and powers r of the corrections."""
Judge = Callable[[Cells, str, Any, str], Exponent]


@dataclass(frozen=True)
class Noise:
    """What one network has of its mean, a positive random number of mean one: chi^2_M/M, times a lognormal number of
    this spread at every width. shared: that number is the same at all widths, as where networks are fed the same data.
    """

    words: str
    spread: float = 0.0
    shared: bool = False

    def draw(self, seed: int, width: int, count: int) -> Array:
        """The first so many networks of a width, from a stream of their own."""
        found = np.random.default_rng([seed, width]).chisquare(width, count) / width
        if self.spread:
            number = np.random.default_rng([seed, 0 if self.shared else width, 1]).normal(size=count)
            found *= np.exp(self.spread * number - self.spread**2 / 2)
        return found


NOISES = (Noise("chi^2_M/M"), Noise("heavier", 0.3), Noise("shared", 0.3, True))


@dataclass(frozen=True)
class Law:
    """A mean as a function of the width."""

    words: str
    mean: Callable[[Array], Array]


def corrected(amplitude: float, power: float, width: Array) -> Array:
    """1 + c M^-r."""
    return 1 + amplitude * width**-power


def logarithm(width: Array) -> Array:
    """Growth that is slower than any power."""
    return np.log(width)


def opposite(width: Array) -> Array:
    """Two corrections of opposite sign, which all but cancel at the narrowest widths."""
    return width**0.15 * (1 + 8 * width**-0.5 - 40 / width)


def late(width: Array) -> Array:
    """Growth that sets in beyond the widths that are drawn."""
    return (1 + (width / 4096) ** 2) ** 0.25


def step(width: Array) -> Array:
    """A crossover amid the widths, from a constant to M^1/2."""
    return (1 + (width / 256) ** 4) ** 0.125


FAMILY = tuple(Law(f"1 {c:+g} M^-{r:g}" if c else "1", partial(corrected, c, r)) for c, r in CORRECTIONS)
OUTSIDE = (
    Law("ln M", logarithm),
    Law("M^0.15 (1 + 8 M^-1/2 - 40/M)", opposite),
    Law("(1 + (M/4096)^2)^1/4", late),
    Law("(1 + (M/256)^4)^1/8", step),
)


def experiment(
    law: Law, noise: Noise, widths: Sequence[int], seed: int, networks: int = NETWORKS, judge: Judge = judged
) -> tuple[Exponent, int]:
    """The exponent that `sharpness` finds for one set of draws, and how many networks of the widest it took."""
    found, number, width = None, 0, np.array(widths, dtype=float)
    true = law.mean(width)
    for counts in looks(widths, networks):
        draws = [noise.draw(seed, *each) for each in counts.items()]
        number, count = counts[widths[-1]], np.array([d.size for d in draws], dtype=float)
        mean = true * np.array([d.mean() for d in draws])
        error = true * np.array([d.std(ddof=1) for d in draws]) / np.sqrt(count)
        found = judge(Cells(width, width, mean, error, count), "lambda_max", "M", law.words)
        if known(found):
            break
    assert found is not None
    return found, number


@dataclass(frozen=True)
class Covered:
    """What was found for one law and one noise: exponents, and the networks of the widest that each took."""

    law: Law
    noise: Noise
    found: tuple[Exponent, ...]
    networks: tuple[int, ...]

    def at(self, exponent: float) -> list[Exponent]:
        """What would have been found if the law were multiplied by M^exponent."""
        return [replace(e, low=e.low + exponent, high=e.high + exponent) for e in self.found]

    def covered(self, exponent: float = 0.0) -> float:
        """How often the interval holds the true exponent."""
        return float(np.mean([e.low <= exponent <= e.high for e in self.at(exponent)]))

    def said(self, word: str, exponent: float = 0.0) -> float:
        """How often this is the verdict where the true exponent is this one."""
        return float(np.mean([verdict(e) == word for e in self.at(exponent)]))

    @property
    def kept(self) -> bool:
        """Whether the promise was kept for a law whose exponent is 0, at every true exponent."""
        believed = max(self.said("bounded", p) for p in EXPONENTS if p >= GROWS)
        return min(map(self.covered, EXPONENTS)) >= LEAST_COVERED and believed <= MOST_BELIEVED


def repeated(
    law: Law, noise: Noise, runs: int, widths: Sequence[int] = WIDTHS, networks: int = NETWORKS, judge: Judge = judged
) -> Covered:
    """Independent experiments on one law."""
    every = [experiment(law, noise, widths, seed, networks, judge) for seed in range(runs)]
    return Covered(law, noise, tuple(e for e, _ in every), tuple(n for _, n in every))


def coverage_table(
    runs: int, pool: Pool | None = None, said: Callable[[str], None] = lambda _: None
) -> tuple[str, bool]:
    """Markdown: for every law how often the interval covered and what the verdict was; and whether the promise was kept
    for all those that have an exponent.
    """
    cells = [(law, noise, WIDTHS) for law in FAMILY for noise in NOISES] + [(law, NOISES[0], GROWN) for law in FAMILY]
    cells += [(law, NOISES[0], WIDTHS) for law in OUTSIDE]
    cells = [(law, noise, widths) for law, noise, widths in cells if law.mean(np.array(widths, dtype=float)).min() > 0]
    tasks = ((i, partial(repeated, law, noise, runs, widths)) for i, (law, noise, widths) in enumerate(cells))
    found: dict[int, Covered] = {}
    for i, outcome in completed(pool, tasks):
        if isinstance(outcome, Exception):
            raise outcome
        found[i] = outcome
        said(f"{outcome.law.words}, {outcome.noise.words}")
    inside = [found[i] for i, (law, _, _) in enumerate(cells) if law in FAMILY]
    lines = [
        f'| mean over M^p | noise | widths | covered | p = 0 "bounded" | p = {GROWS:g} "bounded" | p = 0.5 "sharp" | '
        'p = 1 "sharp" | networks |',
        "|---" * 9 + "|",
    ]
    for i, (law, noise, widths) in enumerate(cells[: len(inside)]):
        each = found[i]
        numbers = (
            each.covered(), each.said("bounded"), each.said("bounded", GROWS), each.said("sharp", 0.5),
            each.said("sharp", 1.0),
        )  # fmt: skip
        told = " | ".join(f"{100 * n:.0f}%" for n in numbers)
        lines.append(
            f"| {law.words} | {noise.words} | {widths[0]} .. {widths[-1]} | {told} | {np.median(each.networks):.0f} |"
        )
    lines += ["", '| outside of the family | "sharp" | "bounded" | "open" | networks |', "|---" * 5 + "|"]
    for i in range(len(inside), len(cells)):
        each = found[i]
        told = " | ".join(f"{100 * each.said(word):.0f}%" for word in ("sharp", "bounded", "open"))
        lines.append(f"| {each.law.words} | {told} | {np.median(each.networks):.0f} |")
    worst, believed = min(e.covered() for e in inside), max(e.said("bounded", GROWS) for e in inside)
    lines += [
        "",
        f"{runs} runs each; covered at least {worst:.1%} (promised: {LEAST_COVERED:.0%}), "
        f'"bounded" said of M^{GROWS:g} or faster at most {believed:.1%} (promised: {MOST_BELIEVED:.0%})',
    ]
    return "\n".join(lines), all(each.kept for each in inside)
