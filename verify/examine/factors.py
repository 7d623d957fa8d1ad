"""Which simple factor is missing where a measurement departs from the theory.

The ratio measured / predicted, found at several settings, is compared with every product of small powers of the
known symbols. Many candidates are tried, so one that fits is a proposal and never a proof: how many wrong ones
would fit by chance is counted, and the search stops at the complexity where that number is no longer small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from math import pi

import numpy as np
from scipy import stats
from scipy.spatial import KDTree

from fimcheck.verify.examine.observation import Observation
from fimcheck.verify.rule.statistics import Array

NUMBERS = {"2": 2.0, "3": 3.0, "pi": pi}
# What a power adds to the complexity of a factor; gamma^2 T/(T-1) has 2 + 1 + 1.
POWERS = {1.0: 1, -1.0: 1, 2.0: 2, -2.0: 2, 0.5: 2, -0.5: 2, 1.5: 3, -1.5: 3, 4.0: 3, -4.0: 3}
MOST_SYMBOLS = 3
MOST_COMPLEX = 4
# Chance that the right factor is not proposed because its chi-square is unlucky.
MISSED = 1e-3
# The search goes on to more complex factors while fewer wrong ones than this are expected to fit by chance.
CHANCE = 0.5
# Truths for which that is counted. Simple factors lie closest to others, and are what a diagnosis is after.
SIMPLE = 2
FEWEST_SETTINGS = 3


@dataclass(frozen=True)
class Proposal:
    """A factor that explains the ratio at every setting: its text, complexity, chi-square and p-value."""

    factor: str
    complexity: int
    chi2: float
    p: float


@dataclass(frozen=True)
class Diagnosis:
    """Proposals, the simplest first and among equals the best fitting; none where nothing fits or can be told.

    settings: how many were tried. searched: candidate factors compared. chance: how many wrong ones among them
    are expected to fit all the same. still: symbols that no setting varied, which a number may stand for.
    reason: why nothing is proposed, else "".
    """

    proposals: tuple[Proposal, ...]
    settings: int
    searched: int
    chance: float
    still: tuple[str, ...]
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return self.reason
        best, *others = self.proposals
        words = "there is no departure: the ratio equals 1" if best.factor == "1" else f"the ratio is {best.factor}"
        text = f"{words} at all {self.settings} settings tried (chi2 p = {best.p:.2g})"
        if others:
            text += ", or " + ", ".join(f"{o.factor} (p = {o.p:.2g})" for o in others[:2])
        text += (
            f"; {len(self.proposals)} of {self.searched} candidate factors fit, where {self.chance:.1g} wrong ones "
            "are expected to: a proposal, no proof"
        )
        return text + (f"; not varied: {', '.join(self.still)}" if self.still else "")


def propose(observed: Sequence[Observation]) -> Diagnosis:
    """Factors that explain the ratio at every setting within its errors, "1" (no departure) among the candidates.

    A factor is a product of powers 1/2, 1, 3/2, 2, 4 or their inverses of at most three symbols or of the numbers 2, 3
    and pi. Complexity is the sum of what the powers cost: 1 for a power 1, 2 for 2 and 1/2, 3 for 3/2 and 4, up to 4
    in all. A named factor stands alone and has complexity 1. A factor fits if its chi-square over all settings, no
    parameter fitted, has p >= 0.001.
    """
    if len(observed) < FEWEST_SETTINGS:
        return _nothing(observed, f"{len(observed)} settings cannot tell a factor; measure {FEWEST_SETTINGS} or more")
    candidates, still = _candidates(observed)
    if candidates is None:
        return _nothing(observed, "no symbol differs between the settings, so no factor can be told; vary them", still)
    ratio, error = (np.array([getattr(o, which) for o in observed]) for which in ("ratio", "error"))
    limit, chance = _resolved(candidates.logs * (ratio / error), candidates.complexity)
    if limit < 1:
        return _nothing(
            observed,
            f"the settings do not tell candidate factors apart at these errors: {chance:.2g} wrong ones of the "
            f"simplest would fit by chance; vary more symbols, or draw more (not varied: {', '.join(still) or 'none'})",
            still,
        )
    searched = candidates.complexity <= limit
    chi2 = (((np.exp(candidates.logs) - ratio) / error) ** 2).sum(axis=1)
    p = stats.chi2.sf(chi2, len(observed))
    fitting = sorted(np.flatnonzero((p >= MISSED) & searched), key=lambda i: (candidates.complexity[i], chi2[i]))
    found = tuple(
        Proposal(candidates.text(int(i)), int(candidates.complexity[i]), float(chi2[i]), float(p[i])) for i in fitting
    )
    reason, count = "", int(searched.sum())
    if not found:
        reason = f"none of {count} candidate factors explains the ratio at all {len(observed)} settings tried"
        if limit < MOST_COMPLEX:
            reason += f"; more complex ones than {limit} are not told apart at these errors"
    return Diagnosis(found, len(observed), count, chance, still, reason)


@dataclass(frozen=True)
class _Candidates:
    """Factors to compare: products of powers of symbols by their exponents, then whole factors by their names.

    logs: logarithms of their values, (candidates, settings).
    """

    symbols: tuple[str, ...]
    exponents: Array
    whole: tuple[str, ...]
    logs: Array
    complexity: Array

    def text(self, number: int) -> str:
        """The factor in symbols, or its name."""
        products = len(self.exponents)
        return self.whole[number - products] if number >= products else _text(self.symbols, self.exponents[number])


def _candidates(observed: Sequence[Observation]) -> tuple[_Candidates | None, tuple[str, ...]]:
    """All candidates, None where no symbol differs between the settings; and the symbols that do not."""
    tables = [o.symbols for o in observed]
    shared = [name for name in tables[0] if all(t.get(name, 0.0) > 0 for t in tables)]
    columns = {name: tuple(t[name] for t in tables) for name in shared}
    still = tuple(name for name, values in columns.items() if len(set(values)) == 1)
    # Symbols that are equal at every setting are one candidate, and are named together.
    together: dict[tuple[float, ...], list[str]] = {}
    for name in shared:
        if name not in still:
            together.setdefault(columns[name], []).append(name)
    if not together:
        return None, still
    names = (*(" or ".join(same) for same in together.values()), *NUMBERS)
    symbols = np.log([*together, *([n] * len(observed) for n in NUMBERS.values())]).T
    exponents, complexity = _products(len(names))
    whole = _whole(observed)
    logs = np.concatenate([exponents @ symbols.T, *([list(whole.values())] if whole else [])])
    complexity = np.concatenate([complexity, np.ones(len(whole), dtype=complexity.dtype)])
    return _Candidates(names, exponents, tuple(whole), logs, complexity), still


def _whole(observed: Sequence[Observation]) -> dict[str, Array]:
    """Logarithms of the named factors that every setting has and that are not 1 throughout, by what they would mean:
    a prediction that is misread, or a theory of the network that is.
    """
    shared = [name for name in observed[0].named if all(name in o.named for o in observed)]
    logs = {name: np.log([o.named[name] for o in observed]) for name in shared}
    told = {name: values for name, values in logs.items() if np.abs(values).max() > 1e-9}
    predicted = {f"that of a prediction with {name}": -values for name, values in told.items()}
    return predicted | {f"that of a network with {name}": values for name, values in told.items()}


def _nothing(observed: Sequence[Observation], reason: str, still: tuple[str, ...] = ()) -> Diagnosis:
    return Diagnosis((), len(observed), 0, 0.0, still, reason)


@cache
def _products(symbols: int) -> tuple[Array, Array]:
    """Exponents (candidates, symbols) of every factor, the simplest first, and their complexities."""
    rows = [(0, np.zeros(symbols))]
    for size in range(1, MOST_SYMBOLS + 1):
        powers = [e for e in product(POWERS, repeat=size) if sum(POWERS[x] for x in e) <= MOST_COMPLEX]
        for where in combinations(range(symbols), size):
            for e in powers:
                row = np.zeros(symbols)
                row[list(where)] = e
                rows.append((sum(POWERS[x] for x in e), row))
    rows.sort(key=lambda found: found[0])
    return np.array([row for _, row in rows]), np.array([cost for cost, _ in rows])


def _resolved(points: Array, complexity: Array) -> tuple[int, float]:
    """The complexity up to which the settings tell candidates apart, and how many wrong ones fit by chance there.

    points: logarithms of the candidates in units of the errors, so that two of them are confused when their
    distance is less than a chi-square that the right one may have. The number is a mean, each simple candidate in
    turn being taken for the truth.
    """
    radius = float(np.sqrt(stats.chi2.isf(MISSED, points.shape[1])))
    chance = 0.0
    for limit in range(1, MOST_COMPLEX + 1):
        truths = KDTree(points[complexity <= min(limit, SIMPLE)])
        expected = int(truths.count_neighbors(KDTree(points[complexity <= limit]), radius)) / truths.n - 1
        if expected > CHANCE:
            return limit - 1, chance if limit > 1 else expected
        chance = expected
    return MOST_COMPLEX, chance


def _text(names: Sequence[str], exponents: Array) -> str:
    above = [_power(name, e) for name, e in zip(names, exponents, strict=True) if e > 0]
    below = [_power(name, -e) for name, e in zip(names, exponents, strict=True) if e < 0]
    text = " ".join(above) or "1"
    if below:
        text += "/" + (below[0] if len(below) == 1 else f"({' '.join(below)})")
    return text


def _power(name: str, exponent: float) -> str:
    if exponent == 0.5:
        return f"sqrt({name})"
    base = f"({name})" if "-" in name or " " in name else name
    return base if exponent == 1 else f"{base}^{'(3/2)' if exponent == 1.5 else f'{exponent:g}'}"
