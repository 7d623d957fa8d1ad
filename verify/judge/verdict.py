"""From a claim and a setting to a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np

from fimcheck import theory
from fimcheck.verify.claims.claim import Claim, Predictor, evaluator
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.claims.wording import SettingError
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.rule.rule import Relation, Rule
from fimcheck.verify.rule.statistics import Array, Finding, Outcome, plan, problem, settle

PILOT = 20
RATIO = "measured/predicted"
# Two routes to the same number of a network agree to this, and no law of large numbers does: what is less is rounding.
DETERMINED = 1e-9


@dataclass(frozen=True)
class Effort:
    """How hard to try, and how often to be wrong.

    eps, error_rate, looks: see `statistics.Rule`; error_rate is per verdict.
    budget: most cost of the first look of a claim, in sampled weights (see `draws.cost`).

    >>> verify.Effort(eps=0.02).eps
    0.02
    """

    eps: float = 0.05
    error_rate: float = 1e-3
    looks: int = 4
    budget: float = 4e10

    def rule(self, claim: Claim, setting: Setting) -> Rule:
        """The rule for one claim at one setting."""
        relation = cast(Relation, claim.prediction(setting).relation)
        return Rule(self.eps, self.error_rate, self.looks, relation, claim.powers(setting))


class NotVerified(AssertionError):
    """A verdict other than AGREE, raised by `Verdict.require`."""


@dataclass(frozen=True)
class Point:
    """Measured and predicted at one width.

    draws: how many; predicted: what the theory states, the median where it depends on the draw; mean, error: of
    measured / predicted, and its standard error.
    """

    width: int
    draws: int
    predicted: float
    mean: float
    error: float


@dataclass(frozen=True)
class Verdict:
    """What was claimed, predicted and measured, and whether they agree.

    finding: limit of measured/predicted with its interval, the detectable discrepancy, outcome and reason.
    counts: draws per width in the first look; look number i uses 2^(i-1) times as many.
    points: the means that the deciding look judged, one per width.
    scale: what a difference of measured and predicted was divided by, in words; "" where they were divided.
    effort: what the verdict was allowed to cost and how often it may be wrong.
    """

    claim: Claim
    setting: Setting
    effort: Effort
    rule: Rule
    finding: Finding
    looks: int
    counts: tuple[int, ...]
    points: tuple[Point, ...]
    scale: str = ""

    @property
    def compared(self) -> str:
        """What tends to 1 if the theory holds."""
        return f"1 + (measured - predicted)/({self.scale})" if self.scale else RATIO

    @property
    def status(self) -> Outcome:
        return self.finding.outcome

    @property
    def predicted(self) -> float:
        """The predicted number at the largest width."""
        return self.points[-1].predicted

    def require(self) -> Verdict:
        """Raise NotVerified unless the status is AGREE."""
        if self.status != "AGREE":
            raise NotVerified(str(self))
        return self

    def record(self) -> dict[str, Any]:
        """Plain data, for the JSON record."""
        return {
            "claim": self.claim.id,
            "statement": self.claim.statement,
            "quantity": self.claim.quantity,
            "measured": self.claim.measured,
            "samples": self.claim.samples,
            "formula": self.claim.formula(self.setting),
            "where": list(self.claim.where(self.setting)),
            "assumptions": self.claim.assumptions,
            "compared": self.compared,
            "source": self.claim.source,
            "setting": {"text": str(self.setting), **self.setting.record()},
            "rule": {**asdict(self.rule), "band": self.rule.band},
            "points": [asdict(point) for point in self.points],
            "looks": self.looks,
            "finding": asdict(self.finding),
        }

    def __str__(self) -> str:
        limit = self.finding.limit
        measured = f"{limit.value:.4f} +- {limit.error:.4f}" if limit else "none"
        drift = "" if self.finding.drift is None else f", exponents beyond the bound up to {self.finding.drift:+.2f}"
        return (
            f"{self.claim.id} [{self.setting}]: {self.status}; limit of {self.compared} {measured}, "
            f"detectable {self.finding.detectable:.1%}{drift}; {self.finding.reason}"
        )


def ratios(claim: Claim, draws: Draws, predicted: Predictor, block: str, counts: Sequence[int]) -> list[Array]:
    """measured / predicted, or 1 and their difference on the claim's scale, at every width: one value per draw."""
    taken = draws.take(block, dict(zip(claim.widths(draws.setting), counts, strict=True)))
    return [_compared(claim, draws.setting, predicted, width, measured)[1] for width, measured in taken.items()]


def _compared(
    claim: Claim, setting: Setting, predicted: Predictor, width: int, measured: dict[str, Array]
) -> tuple[Array | float, Array]:
    """What is predicted, and the number of every draw that tends to 1 if that holds."""
    stated, scale = predicted(width, measured), _scale(claim, setting)
    with np.errstate(all="ignore"):  # a division by zero becomes INVALID in the rule, with its count
        if scale is None:
            return stated, np.asarray(claim.values(measured) / stated, dtype=float)
        off = np.asarray((claim.values(measured) - stated) / evaluator(scale, setting)(width, {}), dtype=float)
        return stated, 1 + np.where(np.abs(off) < DETERMINED, 0.0, off)


@lru_cache(maxsize=256)
def _scale(claim: Claim, setting: Setting) -> theory.Prediction | None:
    return claim.difference(setting)


def first_counts(claim: Claim, draws: Draws, predicted: Predictor, effort: Effort, rule: Rule) -> tuple[int, ...]:
    """Draws per width for the first look, planned from a pilot and the wanted discrepancy."""
    widths = claim.widths(draws.setting)
    pilot = ratios(claim, draws, predicted, "main", [PILOT] * len(widths))
    if problem(widths, pilot, rule):
        return (PILOT,) * len(widths)  # the rule will call it INVALID and say why
    return plan(widths, pilot, [draws.cost(w) for w in widths], rule, effort.budget)


def check(claim: Claim, setting: Setting, effort: Effort | None = None, draws: Draws | None = None) -> Verdict:
    """Test one claim at one setting.

    draws: measurements to share between claims about the same setting; made afresh when not given.
    Raises SettingError if the claim is not about this setting.

    >>> setting = verify.Setting("linear", depth=2, samples=4)
    >>> effort = verify.Effort(eps=0.1, budget=1e7)
    >>> verify.check(verify.CLAIMS["plain.m"], setting, effort).status
    'AGREE'
    """
    claim.admit(setting)
    claim.require_refutable(setting)
    effort = effort or Effort()
    draws = draws or Draws(setting, claim.quantities)
    if draws.setting != setting or not set(claim.quantities) <= set(draws.quantities):
        raise SettingError(
            f"draws of {draws.setting} with {', '.join(draws.quantities)}: claim {claim.id} at {setting} needs draws "
            f"of that setting with {', '.join(claim.quantities)}; make such draws"
        )
    return decide(claim, draws, claim.predictor(setting), effort)


def decide(
    claim: Claim, draws: Draws, predicted: Predictor, effort: Effort, counts: tuple[int, ...] | None = None
) -> Verdict:
    """The verdict on a predictor, the theory's own or a wrong one; counts: draws of the first look, if planned."""
    rule = effort.rule(claim, draws.setting)
    counts = counts or first_counts(claim, draws, predicted, effort, rule)
    finding, looks = settle(
        claim.widths(draws.setting), counts, lambda block, now: ratios(claim, draws, predicted, block, now), rule
    )
    final = dict(zip(claim.widths(draws.setting), (n * 2 ** (looks - 1) for n in counts), strict=True))
    points = tuple(_point(claim, draws.setting, predicted, width, m) for width, m in draws.take("main", final).items())
    scale = _scale(claim, draws.setting)
    verdict = Verdict(
        claim, draws.setting, effort, rule, finding, looks, counts, points, "" if scale is None else scale.quantity
    )
    if finding.outcome != "INVALID" and _fixed(claim, draws, predicted, counts):
        reason = f"{', '.join(claim.given)} of every network determine its {claim.measured}: nothing could refute it"
        finding = replace(finding, outcome="INVALID", reason=reason)
    return replace(verdict, finding=replace(finding, reason=finding.reason.replace(RATIO, verdict.compared)))


def _fixed(claim: Claim, draws: Draws, predicted: Predictor, counts: Sequence[int]) -> bool:
    """Whether what a claim is given determines, draw by draw, what it measures."""
    if not claim.given:
        return False
    return all(np.ptp(y) <= DETERMINED * np.abs(y).max() for y in ratios(claim, draws, predicted, "main", counts))


def _point(claim: Claim, setting: Setting, predicted: Predictor, width: int, measured: dict[str, Array]) -> Point:
    stated, ratio = _compared(claim, setting, predicted, width, measured)
    with np.errstate(all="ignore"):  # as in `_compared`
        error = ratio.std(ddof=1) / np.sqrt(ratio.size)
    return Point(width, ratio.size, float(np.median(stated)), float(ratio.mean()), float(error))
