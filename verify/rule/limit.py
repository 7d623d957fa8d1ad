"""The limit of large width from means at several widths, by corrections that vanish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fimcheck.verify.rule.regression import Array, half_width, regress
from fimcheck.verify.rule.rule import ADD_TERM_BELOW, POOR_FIT_BELOW, Rule

# Relative spread of values that differ by rounding only.
ROUNDING = 1e-12
# Powers of a correction that may be slower than a claim's first one, tried in steps down to the slowest.
SLOWEST, POWER_STEP = 0.2, 0.05
# How many times likelier the fit of another power must be to count against the claim's own.
FAR_BETTER = 3.0


@dataclass(frozen=True)
class Limit:
    """An extrapolated limit: estimate, standard error, effective degrees of freedom, p-value of the fit.

    coefficients: a_1, a_2, ... of the corrections that were fitted, so that the curve can be drawn.
    """

    value: float
    error: float
    freedom: float
    fit_p: float
    coefficients: tuple[float, ...]

    def half_width(self, tail: float) -> float:
        """Half-width of the interval that misses the limit with probability `tail` on either side."""
        return half_width(self.error, self.freedom, tail)


def extrapolate(widths: Sequence[int], draws: Sequence[Array], powers: Sequence[float]) -> Limit:
    """Weighted least squares of the means over widths; theta is the constant term.

    draws[i] holds the independent values of y at widths[i]. The standard error propagates the estimated
    variance of each mean, its degrees of freedom are Satterthwaite's, and the fit is judged by Hotelling's
    F approximation, which accounts for the variances being estimated.
    """
    spare = len(widths) - len(powers) - 1
    if spare < 1:
        raise ValueError(
            f"{len(widths)} widths cannot test a fit with {len(powers) + 1} parameters; use {len(powers) + 2} or more"
        )
    # Widths in units of the smallest keep the least-squares problem well conditioned; theta is unaffected.
    scaled = np.asarray(widths, dtype=float) / min(widths)
    design = np.stack([scaled**-r for r in (0.0, *powers)], axis=1)
    means, errors, counts = _means(draws)
    fit = regress(design, means, errors, counts)
    n = min(counts)
    scale = (n - spare) / ((n - 1) * spare)
    fit_p = float(stats.f.sf(scale * fit.chi2, spare, n - spare))
    theta, *corrections = fit.coefficients
    coefficients = tuple(a * min(widths) ** r for a, r in zip(corrections, powers, strict=True))
    return Limit(theta, fit.error, fit.freedom, fit_p, coefficients)


def _means(draws: Sequence[Array]) -> tuple[Array, Array, list[int]]:
    """Means, their standard errors, and how many draws each is of."""
    counts = [d.size for d in draws]
    return np.array([d.mean() for d in draws]), np.array([d.std(ddof=1) for d in draws]) / np.sqrt(counts), counts


def drift(widths: Sequence[int], draws: Sequence[Array], rule: Rule) -> tuple[float, float]:
    """How fast measured / predicted goes to the forbidden side of a bound: ends of the interval of the exponent p.

    log E y = c + p log M + a M^-r_1 by weighted least squares, over all widths and without the smallest: the hull of
    the two intervals. Its sign is that of p for an upper bound, and turned for a lower one.
    """
    ends = []
    for first in (0, 1):
        scaled = np.asarray(widths[first:], dtype=float) / widths[first]
        design = np.stack([np.log(scaled), np.ones_like(scaled), scaled ** -rule.powers[0]], axis=1)
        means, errors, counts = _means(draws[first:])
        ends += regress(design, np.log(means), errors / means, counts).interval(rule.tail)
    sign = 1 if rule.relation == "at most" else -1
    low, *_, high = sorted(sign * end for end in ends)
    return low, high


def fitted(widths: Sequence[int], draws: Sequence[Array], powers: Sequence[float]) -> Limit:
    """The smaller model where it fits, else one more term."""
    limit = extrapolate(widths, draws, powers[:-1])
    return extrapolate(widths, draws, powers) if limit.fit_p < ADD_TERM_BELOW else limit


def slower(widths: Sequence[int], draws: Sequence[Array], rule: Rule) -> float | None:
    """A power slower than the claim's first whose correction alone fits, far better than the claim's first alone, with
    a limit that may lie outside of the band; None where there is none.

    Two fast corrections can imitate a slow one over the sampled widths and end elsewhere.
    """
    stated = extrapolate(widths, draws, rule.powers[:1]).fit_p
    below, above = rule.band
    for power in np.arange(SLOWEST, rule.powers[0] - POWER_STEP, POWER_STEP):
        slow = extrapolate(widths, draws, (float(power),))
        half = slow.half_width(rule.tail)
        fits = slow.fit_p >= POOR_FIT_BELOW and slow.fit_p > FAR_BETTER * stated
        if fits and not (slow.value - half > below and slow.value + half < above):
            return float(power)
    return None
