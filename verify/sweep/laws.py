"""Laws that means of a quantity are fitted by, and the interval of the exponent that those that fit leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import stats

from fimcheck.verify.rule.limit import ROUNDING
from fimcheck.verify.rule.regression import Array, Regression, regress
from fimcheck.verify.rule.rule import ADD_TERM_BELOW, POOR_FIT_BELOW

CONFIDENCE = 0.95
# Largest relative error of a mean whose logarithm is taken.
NOISY = 0.1
# Quantities at fixed M go with 1/M, the largest of several eigenvalues with M^-1/2; in T and C they are rational.
SMALL_LAWS: tuple[tuple[float, ...], ...] = ((1.0,), (0.5,))
LARGE_LAWS: tuple[tuple[float, ...], ...] = ((1.0, 2.0), (0.5, 1.0))
COUNT_LAWS: tuple[tuple[float, ...], ...] = ((1.0,), (1.0, 2.0))
STEPS_OF_FIT, SETTLED = 60, 1e-6
LEADS = 0.5
"""Share of the mean at the largest width that the leading term of a law must have."""


@dataclass(frozen=True)
class Cells:
    """Means of a quantity: mean[i] +- error[i] from count[i] draws, at value[i] of the variable and width[i]."""

    value: Array
    width: Array
    mean: Array
    error: Array
    count: Array

    def where(self, keep: Array) -> Cells:
        """The cells at which keep is true."""
        return Cells(*(getattr(self, name)[keep] for name in ("value", "width", "mean", "error", "count")))


def interval(cells: Cells, fixed_width: bool) -> tuple[float, float] | None:
    """Lower and upper end of the exponent, or None where no law fits.

    fixed_width: the variable is another than the width, whose limit is taken first.
    """
    if fixed_width:
        wider = cells.where(cells.width > cells.width.min())
        guards = (cells, wider, cells.where(cells.value > cells.value.min()))
        small, large = (list(product(COUNT_LAWS, laws)) for laws in (SMALL_LAWS, LARGE_LAWS))
        ends = _ends(guards, small, ADD_TERM_BELOW) or _ends(guards, large, POOR_FIT_BELOW)
    else:
        ends = _ends_in_widths(cells)
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None


def _ends_in_widths(cells: Cells) -> list[tuple[float, float]]:
    """Intervals of the laws that fit, from the narrowest width on from which one does.

    The larger laws are fitted in any case: six precise means may fit a smaller one and still be off its limit. Where
    widths are left out, every law has a guard: one that fits by chance is what is looked for there.
    """
    for first in np.sort(cells.width):
        window, wider, ends = cells.where(cells.width >= first), cells.where(cells.width > first), []
        guarded = len(window.value) < len(cells.value)
        for law in (*SMALL_LAWS, *LARGE_LAWS):
            tries = (window, wider) if guarded or law in SMALL_LAWS else (window,)
            if len(tries[-1].value) > len(law) + 2:
                ends += _ends(tries, [((), law)], ADD_TERM_BELOW)
        if ends:
            return ends
    return []


Law = tuple[tuple[float, ...], tuple[float, ...]]


def _ends(tries: Sequence[Cells], laws: Sequence[Law], least: float) -> list[tuple[float, float]]:
    """Intervals of the laws that fit the first of the tries, from all of them: the others are guards against
    truncation and keep the law."""
    ends = []
    for law in laws:
        if _fit(tries[0], law)[1] >= least:
            for fit, _ in (_fit(cells, law) for cells in tries):
                if np.isfinite(fit.chi2):
                    ends.append(fit.interval((1 - CONFIDENCE) / 2))
    return ends


def _fit(cells: Cells, law: Law) -> tuple[Regression, float]:
    """One law: the regression whose value is the exponent, and the p-value of its fit."""
    count_law, width_law = law
    fit, parameters = _fit_counts(cells, count_law, width_law) if count_law else _fit_widths(cells, width_law)
    return fit, _fit_p(fit.chi2, len(cells.value) - parameters, float(cells.count.min()) - 1)


def _fit_counts(cells: Cells, count_law: Sequence[float], width_law: Sequence[float]) -> tuple[Regression, int]:
    """log mean = p log v + a + corrections in v, and in the width for every value of v apart."""
    value, width = cells.value / cells.value.min(), cells.width / cells.width.min()
    columns = [np.log(value), np.ones_like(value), *(value**-s for s in count_law), np.log(width)]
    columns += [width**-r * (value == v) for v in np.unique(value) for r in width_law]
    design = np.stack(columns, axis=1)
    fit = regress(design, np.log(cells.mean), cells.error / cells.mean, [int(n) for n in cells.count])
    return fit, design.shape[1]


def _fit_widths(cells: Cells, width_law: Sequence[float]) -> tuple[Regression, int]:
    """mean = v^p (a + corrections), by Gauss-Newton steps in p: a correction may be larger than the limit.

    The last regression has the step for its first coefficient, which is nothing by then, and the error of p.
    """
    value, counts = cells.value / cells.value.min(), [int(n) for n in cells.count]
    powers = np.stack([value**-r for r in (0.0, *width_law)], axis=1)
    p = float(np.log(cells.mean[-1] / cells.mean[-2]) / np.log(value[-1] / value[-2]))
    curve, step = cells.mean, np.inf
    fit = None
    for _ in range(STEPS_OF_FIT):
        design = np.column_stack([curve * np.log(value), powers * value[:, None] ** p])
        fit = regress(design, cells.mean, cells.error, counts)
        step = float(np.clip(fit.value, -0.5, 0.5))
        p += step
        curve = design[:, 1:] @ np.array(fit.coefficients[1:])
        if abs(step) < SETTLED:
            break
    assert fit is not None
    leads = abs(step) < SETTLED and abs(fit.coefficients[1]) * value[-1] ** p > LEADS * abs(cells.mean[-1])
    chi2 = fit.chi2 if leads else np.inf  # it did not settle, or a correction is taken for the law
    return fit._replace(coefficients=(p, *fit.coefficients[1:]), chi2=chi2), powers.shape[1] + 1


def _fit_p(chi2: float, spare: int, freedom: float) -> float:
    """Chance of a larger sum of `spare` squares of Student t variables, by an F distribution with its mean and
    variance. Unlike Hotelling's it stays right when the squares are as many as the draws."""
    second = (4 * (freedom - 1) + (spare - 2) * (freedom - 4)) / 3
    scale = (spare * freedom / (freedom - 2)) * (second - 2) / second
    return float(stats.f.sf(chi2 / scale, spare, second))


def trouble(cells: Cells) -> str:
    """Why these means have no logarithm to be fitted, or an empty text."""
    for value, width, mean, error in zip(cells.value, cells.width, cells.mean, cells.error, strict=True):
        where = f"at {value:g} (M = {width:g})"
        if not np.isfinite(mean) or not np.isfinite(error):
            return f"the mean {where} is not finite"
        if mean > 0 and error <= ROUNDING * mean:
            return f"all draws {where} are the same up to rounding: the quantity is not random"
        if not error < NOISY * mean:
            return f"the mean {where} is {mean:.3g} +- {error:.1g}: no positive number known to {NOISY:.0%}"
    return ""
