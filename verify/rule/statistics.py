"""Limits by extrapolation, their errors, and the rule that turns them into a finding. Arrays only.

The tested number is the limit, as the width M grows, of y(M) = measured / predicted, modelled as

    E y(M) = theta + a_1 M^-r_1 + a_2 M^-r_2 + ...

with the exponents r_i given by the claim. A fixed relative tolerance at one width would reject true theory
(finite-width corrections are often 10% or more) or accept false theory (when it is set to forgive those).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from fimcheck.verify.rule.limit import ROUNDING, Limit, drift, extrapolate, fitted, slower
from fimcheck.verify.rule.regression import Array
from fimcheck.verify.rule.rule import POOR_FIT_BELOW, Rule

Outcome = Literal["AGREE", "DISAGREE", "MISFIT", "INCONCLUSIVE", "INVALID"]
REFUSED: tuple[Outcome, ...] = ("DISAGREE", "MISFIT", "INVALID")
"""Outcomes that a right theory must not have."""

# Fewer draws at a width estimate its error too badly for the tests of the fit.
MINIMUM_DRAWS = 4
# A bound usually has slack: its first look is planned for an interval this much wider than that of an equality, and
# the later looks narrow it where the slack is small.
SLACK = 4.0
# A bound with the wrong exponent of M holds at every sampled width and fails later: no agreement while the ratio may go
# to its edge like M to this power.
DRIFT = 0.1
# Numbers that no draw changes lie this near to a curve in the width, relative to the largest.
CURVE = 1e-9
# DISAGREE must be found twice, on independent draws: power 0.95 each gives 0.90 for both.
POWER_PER_BLOCK = 0.95


@dataclass(frozen=True)
class Finding:
    """What one look at the draws says.

    limit: the fit over all widths; guard: the same without the smallest width (truncation guard).
    low, high: the hull of both intervals at the rule's error rate.
    detectable: smallest relative error of the theory that this amount of data would have called DISAGREE
        with probability 0.9 (infinite where nothing could be estimated).
    drift: of a bound, the largest exponent p for which measured/predicted may approach and cross it like M^p (to the
        power -p for a lower bound), from the same two fits; None for an equality.
    confirmation: for DISAGREE and MISFIT, what the same look at fresh draws says; None where none was taken.
    """

    outcome: Outcome
    reason: str
    limit: Limit | None
    guard: Limit | None
    low: float
    high: float
    detectable: float
    drift: float | None = None
    confirmation: Finding | None = None


def _exact(widths: Sequence[int], draws: Sequence[Array], powers: Sequence[float]) -> float | None:
    """The limit of a number that no draw changes: the same at all widths, or on the curve of the powers.

    None where draws differ, are few or not finite. Broken draws, which come from the same seed, lie on no such curve.
    """
    every = np.concatenate(draws)
    if min(d.size for d in draws) < MINIMUM_DRAWS or not np.isfinite(every).all():
        return None
    size = np.abs(every).max()
    if np.ptp(every) <= ROUNDING * size:
        return float(every[0])
    if len(widths) < minimum_widths(powers) or any(np.ptp(d) > ROUNDING * size for d in draws):
        return None
    design = np.stack([(np.asarray(widths, float) / min(widths)) ** -r for r in (0.0, *powers)], axis=1)
    curve = np.linalg.lstsq(design, np.array([d[0] for d in draws]), rcond=None)[0]
    off = np.abs(design @ curve - np.array([d[0] for d in draws])).max()
    return float(curve[0]) if off <= CURVE * size else None


def _certain(ratio: float, rule: Rule) -> Finding:
    """What a ratio that neither the draw nor the width changes says."""
    below, above = rule.band
    above_low, below_high = ratio > below, ratio < above
    agrees = {"equals": above_low and below_high, "at least": above_low, "at most": below_high}[rule.relation]
    limit = Limit(ratio, 0.0, np.inf, 1.0, ())
    reason = f"measured/predicted is {ratio:.12g} in the limit, and the same in every draw"
    outcome: Outcome = "AGREE" if agrees and ratio > 0 else "DISAGREE"
    return Finding(outcome, reason, limit, limit, ratio, ratio, _detectable(ratio, 0.0, rule))


def minimum_widths(powers: Sequence[float]) -> int:
    """Fewest widths with which both the full fit and the truncation guard can be judged."""
    return len(powers) + 3


def judge(widths: Sequence[int], draws: Sequence[Array], rule: Rule) -> Finding:
    """One look: fit, guard, and the rule. Comparisons are written so that NaN never passes."""
    exact = _exact(widths, draws, rule.powers)
    if exact is not None and len(widths) >= minimum_widths(rule.powers):
        return _certain(exact, rule)
    trouble = problem(widths, draws, rule)
    if trouble:
        return Finding("INVALID", trouble, None, None, np.nan, np.nan, np.inf)
    limit = fitted(widths, draws, rule.powers)
    # The guard keeps the terms that the full fit needed, so that it tests truncation and nothing else.
    guard = extrapolate(widths[1:], draws[1:], rule.powers[: len(limit.coefficients)])
    halves = [fit.half_width(rule.tail) for fit in (limit, guard)]
    low = min(fit.value - h for fit, h in zip((limit, guard), halves, strict=True))
    high = max(fit.value + h for fit, h in zip((limit, guard), halves, strict=True))
    inner_low = max(fit.value - h for fit, h in zip((limit, guard), halves, strict=True))
    inner_high = min(fit.value + h for fit, h in zip((limit, guard), halves, strict=True))
    shift = max(
        h + float(stats.norm.ppf(POWER_PER_BLOCK)) * fit.error for fit, h in zip((limit, guard), halves, strict=True)
    )
    detectable = _detectable(limit.value, shift, rule)
    outcome, reason = _decide(limit, low, high, inner_low, inner_high, rule)
    if outcome == "AGREE" and min(limit.fit_p, guard.fit_p) < POOR_FIT_BELOW:
        outcome, reason = "INCONCLUSIVE", f"the curve over widths fits poorly (p = {limit.fit_p:.1e})"
    if rule.relation == "equals":
        power = slower(widths, draws, rule) if outcome == "AGREE" else None
        if power is not None:
            outcome = "INCONCLUSIVE"
            reason = (
                f"one correction M^-{power:.2g} fits far better than M^-{rule.powers[0]:.2g} and leads out of the "
                "band: the claim's powers are not told from slower ones"
            )
        return Finding(outcome, reason, limit, guard, low, high, detectable)
    slowest, fastest = drift(widths, draws, rule)
    if slowest > DRIFT and outcome in ("AGREE", "INCONCLUSIVE"):
        outcome, reason = "DISAGREE", f"measured/predicted goes beyond the bound like M^{slowest:.2f} or faster"
    elif outcome == "AGREE" and not fastest < DRIFT:
        outcome, reason = "INCONCLUSIVE", f"measured/predicted may go beyond the bound like M^{fastest:.2f}"
    return Finding(outcome, reason, limit, guard, low, high, detectable, fastest)


def _detectable(value: float, shift: float, rule: Rule) -> float:
    """Smallest relative error whose effect on the limit, `shift` beyond the band, would have been DISAGREE.

    For "equals" of a right theory. A bound has slack: the error counts from the limit that was measured, and
    where that is not told from 0 no factor makes an upper bound wrong.
    """
    low, high = rule.band
    if rule.relation == "equals":
        # A theory too large by the factor 1 + d moves the limit to 1 / (1 + d).
        return 1 / (low - shift) - 1 if low > shift else np.inf
    if rule.relation == "at least":
        return max(0.0, (value + shift) / low - 1)
    return max(0.0, high / (value - shift) - 1) if value > shift else np.inf


def problem(widths: Sequence[int], draws: Sequence[Array], rule: Rule) -> str:
    """Why nothing can be concluded from these draws, or an empty text."""
    need = minimum_widths(rule.powers)
    if len(widths) < need or list(widths) != sorted(set(widths)):
        return f"widths {tuple(widths)} must be {need} or more increasing values for {len(rule.powers)} corrections"
    for width, d in zip(widths, draws, strict=True):
        if d.ndim != 1 or d.size < MINIMUM_DRAWS:
            return f"{d.size} draws at width {width}: at least {MINIMUM_DRAWS} are needed to estimate an error"
        bad = int(np.count_nonzero(~np.isfinite(d)))
        if bad:
            return f"{bad} of {d.size} values at width {width} are not finite"
        if rule.relation != "equals" and np.any(d <= 0):
            return f"measured over predicted is not positive at width {width}: a bound must be a positive number"
        if not np.ptp(d) > ROUNDING * np.abs(d).max():
            return f"all {d.size} values at width {width} are the same up to rounding: the draws are not random"
    return ""


def _decide(
    limit: Limit, low: float, high: float, inner_low: float, inner_high: float, rule: Rule
) -> tuple[Outcome, str]:
    if len(limit.coefficients) == len(rule.powers) and limit.fit_p < rule.tail:
        return (
            "MISFIT",
            f"no limit: the curve over widths does not fit any allowed law (p = {limit.fit_p:.1e})",
        )
    below, above = rule.band
    if rule.relation == "equals":
        inside, outside = low > below and high < above, inner_high < below or inner_low > above
    elif rule.relation == "at least":
        inside, outside = low > below, inner_high < below
    else:
        inside, outside = high < above, inner_low > above
    if inside:
        return "AGREE", "the interval of the limit lies inside the band"
    if outside:
        return "DISAGREE", "the interval of the limit lies outside the band"
    return "INCONCLUSIVE", "the interval of the limit crosses the edge of the band"


def settle(
    widths: Sequence[int],
    counts: Sequence[int],
    sample: Callable[[str, Sequence[int]], Sequence[Array]],
    rule: Rule,
) -> tuple[Finding, int]:
    """The whole verdict: look, double the draws, look again, at most `rule.looks` times.

    Returns the last finding and the looks taken. sample(block, counts) returns counts[i] draws at widths[i]
    from the named independent block, a longer request extending a shorter one. AGREE ends it; so does a
    failure found again in the block "confirm".
    """
    finding = Finding("INCONCLUSIVE", "no look was taken", None, None, np.nan, np.nan, np.inf)
    for look in range(rule.looks):
        now = [n * 2**look for n in counts]
        finding = judge(widths, sample("main", now), rule)
        if finding.outcome in ("AGREE", "INVALID"):
            return finding, look + 1
        if finding.outcome in ("DISAGREE", "MISFIT"):
            again = judge(widths, sample("confirm", now), rule)
            if again.outcome == "INVALID":
                return again, look + 1
            if _same_failure(finding, again):
                reason = f"{finding.reason}; confirmed on fresh draws"
                return replace(finding, reason=reason, confirmation=again), look + 1
            reason = f"{finding.reason}, but fresh draws do not confirm it"
            finding = replace(finding, outcome="INCONCLUSIVE", reason=reason, confirmation=again)
    return finding, rule.looks


def _same_failure(first: Finding, second: Finding) -> bool:
    """Whether the second look fails too; two limits outside of the band must lie on the same side of it."""
    if second.outcome not in ("DISAGREE", "MISFIT") or first.limit is None or second.limit is None:
        return False
    one_is_misfit = "MISFIT" in (first.outcome, second.outcome)
    return one_is_misfit or (first.limit.value > 1) == (second.limit.value > 1)


def plan(
    widths: Sequence[int], pilot: Sequence[Array], costs: Sequence[float], rule: Rule, budget: float
) -> tuple[int, ...]:
    """Draws per width for the first look, from a pilot, so that the interval's half-width is eps / 2 (a bound: SLACK
    times that).

    costs: cost of one draw at each width, any unit; budget: most cost that the first look may take. Draws go
    as spread / sqrt(cost), the cheapest way to a given error of a sum. The pilot's mean is not looked at.
    """
    spreads = np.array([d.std(ddof=1) for d in pilot])
    shape = spreads / np.sqrt(costs)
    shape /= shape.max()
    # The guard is the wider of the two fits; its error for these shares decides.
    scaled = np.asarray(widths[1:], dtype=float) / widths[1]
    design = np.stack([scaled**-r for r in (0.0, *rule.powers[:-1])], axis=1)
    errors = spreads[1:] / np.sqrt(shape[1:])
    variance = float((np.linalg.pinv(design / errors[:, None])[0] ** 2).sum())
    coarse = 1.0 if rule.relation == "equals" else SLACK
    wanted = coarse * rule.eps / 2 / float(stats.norm.isf(rule.tail))
    scale = min(variance / wanted**2, budget / float(shape @ np.asarray(costs)))
    return tuple(max(d.size, int(np.ceil(scale * share))) for d, share in zip(pilot, shape, strict=True))
