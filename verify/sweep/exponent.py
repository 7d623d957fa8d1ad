"""The exponent of a measured quantity in the width M, the samples T or the classes C, with no theory given.

The mean is fitted by M^p (a + corrections that vanish as M grows); in T and C, whose limit of large width is taken
first, its logarithm by a + p log v and corrections, of which every value of v has some in the width of its own. Which
corrections there are is not known without a theory. Every law that fits is kept, and the interval of the exponent
covers the intervals of them all; in T and C also without the smallest value and without the smallest width.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from fimcheck.numerics.orders import FIRST_LAYER, layers
from fimcheck.numerics.quantities import PER_LAYER, PER_NETWORK
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.rule.regression import Array
from fimcheck.verify.sweep.laws import CONFIDENCE, Cells, interval, trouble

Variable = Literal["M", "T", "C"]
# An exponent this well known tells all fractions with denominators up to 4 apart; no more draws are taken.
WANTED = 0.03
# Two multiples of 1/2 in an interval leave the law open.
TOO_WIDE = 0.5
DENOMINATORS = 4
FIRST_DRAWS = 60
# No cheap cell takes more than this many times the draws of the most expensive.
SHARE = 8
# Cost in sampled weights (see `Draws.cost`) of the draws for one variable. The first look is at widths up to the
# widest with which it keeps to it.
BUDGET = 4e9
WIDEST, NARROWEST = 1024, 128
STEPS = (1, 1.5, 2, 3, 4, 6, 8)


@dataclass(frozen=True)
class Exponent:
    """How a quantity goes with a variable: like variable^p with p in [low, high] at 95% confidence.

    reason: why nothing is concluded, else "". local: exponents between successive values at the largest width, as
    (from, to, exponent, standard error), which no correction was taken from.
    """

    quantity: str
    variable: Variable
    setting: str
    low: float
    high: float
    reason: str
    local: tuple[tuple[float, float, float, float], ...]

    @property
    def fractions(self) -> tuple[Fraction, ...]:
        """Fractions with denominators up to 4 inside the interval, the simplest first."""
        inside = [f for f in _fractions(self.low, self.high) if self.low <= f <= self.high]
        return tuple(sorted(inside, key=lambda f: (f.denominator, abs(f))))

    def __str__(self) -> str:
        what = f"{self.quantity} [{self.setting}] in {self.variable}"
        if self.reason:
            return f"{what}: INCONCLUSIVE; {self.reason}"
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        near = [f for f in _fractions(self.low - 1, self.high + 1) if f.denominator <= 2]
        below = max(f for f in near if f < self.low)
        above = min(f for f in near if f > self.high)
        compatible = ", ".join(map(str, self.fractions)) or f"no fraction with a denominator up to {DENOMINATORS}"
        return (
            f"{what}: grows like {self.variable}^{middle:.2f} +- {max(half, 0.005):.2f} "
            f"({CONFIDENCE:.0%}), compatible with {compatible}; not with {below} or {above}"
        )


def _fractions(low: float, high: float) -> set[Fraction]:
    return {
        Fraction(n, d)
        for d in range(1, DENOMINATORS + 1)
        for n in range(int(np.floor(low * d)) - 1, int(np.ceil(high * d)) + 2)
    }


def grid(setting: Setting, variable: Variable) -> list[tuple[int | None, Setting]]:
    """The settings measured for a variable, each with the variable's value: seven for T or C, one for the width.

    T starts at 4 and C at 2, or at 8 where the mean of 1/sd^2 over so few samples or outputs has no finite variance.
    """
    if variable not in get_args(Variable):
        raise ValueError(f"variable {variable!r}: a quantity is measured against M, T or C; use one of them")
    if variable == "M":
        return [(None, setting)]
    if setting.samples is None:
        raise ValueError(f"--in {variable} with M/T = {setting.rho}: T goes with M there; give T in place of M/T")
    name = "classes" if variable == "C" else "samples"
    first = _first(setting, variable)
    return [(int(first * step), replace(setting, **{name: int(first * step)})) for step in STEPS]


def _first(setting: Setting, variable: Variable) -> int:
    over = setting.wide().output.over
    if variable == "C":
        return 8 if over == "classes" else 2
    return 8 if setting.couples_samples or over == "samples" else 4


def name_of(quantity: str) -> tuple[str, int | None]:
    """Name of the measured quantity and its column, from a text such as "lambda_max" or "hq1[2]" (layer 2)."""
    found = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", quantity)
    name = found[1] if found else ""
    known = (*PER_NETWORK, *PER_LAYER)
    if found is None or name not in known:
        raise ValueError(f"quantity {quantity!r} is not a number that is measured: use one of {', '.join(known)}")
    layered = name in PER_LAYER
    if layered != (found[2] is not None):
        example = f"{name}[1]" if layered else name
        raise ValueError(f"quantity {quantity!r}: only order parameters have layers; write {example}")
    return name, None if found[2] is None else int(found[2]) - FIRST_LAYER[name]


def exponent(
    setting: Setting,
    quantity: str,
    variable: Variable,
    make_draws: Callable[[Setting, set[str]], Draws] = Draws,
    budget: float = BUDGET,
) -> Exponent:
    """Measure how a quantity goes with a variable, drawing until the exponent is known to 0.03 or the budget is spent.

    Draws are doubled from look to look. A look ends it by the width of the interval alone, never by its place.
    budget: cost of all draws in sampled weights; see `Draws.cost`.
    """
    name, column = name_of(quantity)
    if column is not None:
        own = layers(name, setting.depth)
        if not 0 <= column < len(own):
            raise ValueError(
                f"quantity {quantity!r}: a network with L = {setting.depth} has {name}[{own[0]}] to {name}[{own[-1]}]; "
                "take one of them"
            )
    draws = [(value, make_draws(at, {name})) for value, at in grid(setting, variable)]
    widest, doublings = 2 * WIDEST, 6 if variable == "M" else 5
    once = np.inf
    while once > budget and widest > NARROWEST:
        widest //= 2
        widths = tuple(widest >> k for k in reversed(range(doublings)))
        costs = np.array([[d.cost(w) for w in widths] for _, d in draws])
        shares = np.minimum(np.sqrt(costs.max() / costs), SHARE)
        once = FIRST_DRAWS * float((costs * shares).sum())
    looks = 1 + max(0, int(np.log2(budget / once)))
    found = None
    for look in range(looks):
        counts = np.ceil(FIRST_DRAWS * 2**look * shares).astype(int)
        cells = _measure(draws, widths, counts, name, column)
        found = judge(cells, quantity, variable, str(setting))
        if np.isfinite(found.low) and found.high - found.low <= 2 * WANTED:
            break
    assert found is not None
    return found


def _measure(
    draws: list[tuple[int | None, Draws]], widths: tuple[int, ...], counts: Array, name: str, column: int | None
) -> Cells:
    rows = []
    for (value, made), wanted in zip(draws, counts, strict=True):
        taken = made.take("scaling", dict(zip(widths, map(int, wanted), strict=True)))
        for width, measured in taken.items():
            d = measured[name] if column is None else measured[name][:, column]
            rows.append((width if value is None else value, width, d.mean(), d.std(ddof=1) / np.sqrt(d.size), d.size))
    return Cells(*(np.array(column, dtype=float) for column in zip(*rows, strict=True)))


def judge(cells: Cells, quantity: str, variable: Variable, setting: str) -> Exponent:
    """What the means say about the exponent."""
    low = high = np.nan
    reason = trouble(cells)
    if not reason:
        found = interval(cells, variable != "M")
        if found is None:
            reason = "no power law with finite-size corrections fits; see the local exponents"
        else:
            low, high = found
            if high - low >= TOO_WIDE:
                reason = (
                    f"the exponent lies in {low:.2f} .. {high:.2f} ({CONFIDENCE:.0%}), too wide to name a law: these "
                    "draws do not tell it from the corrections"
                )
    local = _local(cells) if np.all(cells.mean > 0) else ()
    return Exponent(quantity, variable, setting, low, high, reason, local)


def _local(cells: Cells) -> tuple[tuple[float, float, float, float], ...]:
    top = cells if len(np.unique(cells.value)) == len(cells.value) else cells.where(cells.width == cells.width.max())
    rows = zip(top.value, np.log(top.mean), top.error / top.mean, strict=True)
    return tuple(
        (float(v), float(w), float((y - x) / np.log(w / v)), float(np.hypot(e, f) / np.log(w / v)))
        for (v, x, e), (w, y, f) in pairwise(rows)
    )
