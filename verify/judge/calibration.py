"""The test of the test: how often the rule is right, on synthetic draws whose limit is known and on real networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from fimcheck.verify.claims.claim import Claim, Predictor
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.judge.verdict import Effort, decide, first_counts, ratios
from fimcheck.verify.rule.limit import extrapolate
from fimcheck.verify.rule.rule import Relation, Rule
from fimcheck.verify.rule.statistics import REFUSED, Array, settle

WIDTHS = (64, 128, 256, 512, 1024)
COUNTS = (200, 150, 100, 70, 50)
OUTCOMES = ("AGREE", "DISAGREE", "MISFIT", "INCONCLUSIVE", "INVALID")
RULE = Rule(eps=0.05, error_rate=0.001, looks=4, relation="equals", powers=(1, 2))


@dataclass(frozen=True)
class Theory:
    """A theory about the toy, wrong by a factor and by a power of M / match; the right one has the defaults.

    curvature: share c of an unusually large second-order correction c (64/M)^2 of the toy itself. slow: (a, r) of a
    correction a M^-r that is slower than the rule is told.
    """

    words: str
    scale: float = 1.0
    exponent: float = 0.0
    match: int = 1
    curvature: float = 0.0
    slow: tuple[float, float] = (0.0, 1.0)

    @property
    def right(self) -> bool:
        """Whether its limit is 1."""
        return self.scale == 1 and self.exponent == 0

    @property
    def plainly_wrong(self) -> bool:
        """Whether it is wrong by far more than eps and nothing of the toy hides it."""
        return abs(self.scale - 1) > 1.5 * RULE.eps and self.slow[0] == 0


THEORIES = (
    Theory("the right theory"),
    Theory("5% too large", scale=1.05),
    Theory("5% too small", scale=0.95),
    Theory("10% too large", scale=1.1),
    Theory("10% too small", scale=0.9),
    Theory("exponent wrong by 0.05", exponent=0.05),
    Theory("exponent wrong by -0.05", exponent=-0.05),
    Theory("exponent wrong by 1/2, right at M = 256", exponent=0.5, match=256),
    Theory("the right theory, correction 0.1 (64/M)^2", curvature=0.1),
    Theory("5% too small, correction 0.1 (64/M)^2", scale=0.95, curvature=0.1),
    Theory("10% too small, correction 0.1 (64/M)^2", scale=0.9, curvature=0.1),
    Theory("8% too small, correction -3 M^-1/2", scale=1 / 1.08, slow=(-3 / 1.08, 1 / 2)),
    Theory("10% too small, correction -1.25 M^-1/3", scale=1 / 1.1, slow=(-1.25 / 1.1, 1 / 3)),
    Theory("15% too small, correction -M^-1/4", scale=1 / 1.15, slow=(-1 / 1.15, 1 / 4)),
    Theory("the right theory, correction M^-1/2 / 2", slow=(0.5, 1 / 2)),
)

# Exponents of measured / predicted of an upper bound, and of the inverse of a lower one.
BOUND_WIDTHS = (*WIDTHS, 2048)
BOUND_COUNTS = (*COUNTS, 40)
BOUND_RULE = Rule(eps=0.05, error_rate=0.001, looks=4, relation="at most", powers=(0.5, 1, 1.5))
EXPONENTS = (-0.5, -0.1, 0.0, 0.05, 0.1, 0.125, 0.2, 0.25, 0.4)


def toy(seed: int, theory: Theory = THEORIES[0], noise: float = 1.0) -> Callable[[str, Sequence[int]], Sequence[Array]]:
    """Draws of measured / predicted for `statistics.settle`, reproducible from the seed.

    They behave like the second moment of a deep ReLU network: mean 1 - 2/M + 3/M^2, spread noise * sqrt(5/M),
    skewed like a chi-square.
    """

    def mean(width: int) -> float:
        a, r = theory.slow
        truth = 1 - 2 / width + 3 / width**2 + theory.curvature * (WIDTHS[0] / width) ** 2 + a * width**-r
        return truth / theory.scale * (width / theory.match) ** theory.exponent

    return _sampler(seed, WIDTHS, mean, noise)


def _sampler(
    seed: int, widths: Sequence[int], mean: Callable[[int], float], noise: float = 1.0
) -> Callable[[str, Sequence[int]], Sequence[Array]]:
    """Draws of a given mean at every width, a longer request extending a shorter one, as real draws do."""
    drawn: dict[tuple[str, int], Array] = {}

    def sample(block: str, counts: Sequence[int]) -> list[Array]:
        out = []
        for width, n in zip(widths, counts, strict=True):
            if (block, width) not in drawn or drawn[block, width].size < n:
                shape = width / (5 * noise**2)
                rng = np.random.default_rng([seed, width, len(block)])
                drawn[block, width] = rng.gamma(shape, 1 / shape, max(n, 8 * COUNTS[0])) * mean(width)
            out.append(drawn[block, width][:n])
        return out

    return sample


def outcomes(theory: Theory, runs: int) -> list[str]:
    """What the rule says of a theory in independent synthetic experiments."""
    return [settle(WIDTHS, COUNTS, toy(seed, theory), RULE)[0].outcome for seed in range(runs)]


def bound_outcomes(exponent: float, runs: int, relation: Relation = "at most") -> list[str]:
    """What the rule says of a bound whose measured / predicted is 0.02 M^exponent (1 - M^-1/2 / 2), or of a lower one
    for which it is the inverse of that.
    """
    rule, sign = replace(BOUND_RULE, relation=relation), 1 if relation == "at most" else -1

    def mean(width: int) -> float:
        return (0.02 * width**exponent * (1 - width**-0.5 / 2)) ** sign

    samplers = (_sampler(seed, BOUND_WIDTHS, mean) for seed in range(runs))
    return [settle(BOUND_WIDTHS, BOUND_COUNTS, sample, rule)[0].outcome for sample in samplers]


def calibration_table(runs: int) -> tuple[str, bool]:
    """Markdown: for every theory how often each outcome was found; then for bounds, by the exponent of their ratio. And
    whether the rule kept its promises: the right theory never fails and one wrong by 10% never agrees.
    """
    found = {theory: outcomes(theory, runs) for theory in THEORIES}
    broken = (
        _count(seen, REFUSED) if theory.right else _count(seen, ("AGREE",)) if theory.plainly_wrong else 0
        for theory, seen in found.items()
    )
    kept = max(broken) <= _allowed(runs, RULE.error_rate)
    theories = _table({theory.words: seen for theory, seen in found.items()})
    bounds = _table(
        {f"{p:g}": bound_outcomes(p, runs) for p in EXPONENTS}, "upper bound, exponent of measured / predicted"
    )
    return f"{theories}\n\n{bounds}", kept


def _count(found: Sequence[str], names: Sequence[str]) -> int:
    return sum(found.count(name) for name in names)


def _allowed(runs: int, rate: float) -> int:
    """Wrong verdicts that a rule with this error rate exceeds once in a thousand times."""
    return int(stats.binom.isf(1e-3, runs, rate))


def _table(found: dict[str, list[str]], head: str = "theory") -> str:
    lines = [f"| {head} | " + " | ".join(OUTCOMES) + " |", "|---" * (len(OUTCOMES) + 1) + "|"]
    for words, outcome in found.items():
        lines.append(f"| {words} | " + " | ".join(str(outcome.count(name)) for name in OUTCOMES) + " |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Repeated:
    """Many verdicts on one claim, each on networks of its own.

    found: outcomes of the theory as derived and of the same made wrong by a factor. fit_p: p-values of the fit with
    all corrections, uniform where these are the whole curve.
    """

    claim: Claim
    effort: Effort
    found: dict[str, list[str]]
    fit_p: list[float]

    @property
    def kept(self) -> bool:
        """Whether the promise held: no more wrong verdicts than chance gives once in a thousand at the stated rate."""
        size = f"{self.effort.eps:.0%}"
        wrong = (_count(self.found[f"{size} too {way}"], ("AGREE",)) for way in ("large", "small"))
        broken = max(_count(self.found["as derived"], REFUSED), *wrong)
        return broken <= _allowed(len(self.fit_p), self.effort.error_rate)

    def __str__(self) -> str:
        runs, rate = len(self.fit_p), self.effort.error_rate
        uniform = stats.kstest(self.fit_p, "uniform").pvalue
        return "\n".join(
            [
                _table(self.found),
                "",
                f"promised for each verdict: the derived theory fails, and one wrong by eps = {self.effort.eps:.0%} "
                f"agrees, with chance {rate:g} at most: {rate * runs:.3g} of {runs} on average",
                f"p-values of the fit: uniform with Kolmogorov-Smirnov p = {uniform:.2g}",
            ]
        )


def repeated(claim: Claim, effort: Effort, make_draws: Callable[[int], Draws], runs: int) -> Repeated:
    """Judge a claim again and again; make_draws(i) gives draws of the i-th stream of seeds."""
    factors = {"as derived": 1.0}
    for size in (effort.eps, 2 * effort.eps):
        factors |= {f"{size:.0%} too large": 1 + size, f"{size:.0%} too small": 1 / (1 + size)}
    found: dict[str, list[str]] = {words: [] for words in factors}
    fit_p = []
    for run in range(runs):
        draws = make_draws(run)
        right, rule = claim.predictor(draws.setting), effort.rule(claim, draws.setting)
        counts = first_counts(claim, draws, right, effort, rule)
        for words, factor in factors.items():
            verdict = decide(claim, draws, _scaled(right, factor), effort, counts)
            found[words].append(verdict.status)
        first = ratios(claim, draws, right, "main", counts)
        fit_p.append(extrapolate(claim.widths(draws.setting), first, rule.powers).fit_p)
    return Repeated(claim, effort, found, fit_p)


def _scaled(right: Predictor, factor: float) -> Predictor:
    return lambda width, measured: right(width, measured) * factor
