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
# Quantities at fixed M go with 1/M, the largest of several eigenvalues with M^-1/2; in T and C they are rational. Used
# where the variable is T or C.
SMALL_LAWS: tuple[tuple[float, ...], ...] = ((1.0,), (0.5,))
LARGE_LAWS: tuple[tuple[float, ...], ...] = ((1.0, 2.0), (0.5, 1.0))
COUNT_LAWS: tuple[tuple[float, ...], ...] = ((1.0,), (1.0, 2.0))
LEADS = 0.5
"""At the largest width the leading term of a law is at least this share of the mean, and at most its inverse."""
REACH, GRID, REFINEMENTS = 1.5, 32, 8
"""The exponent is looked for this far around the slope at the largest widths, on so many points, in so many
refinements at most."""


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


@dataclass(frozen=True)
class WidthLaw:
    """mean = M^p (a + b_1 M^-r + b_2 M^-2r), with as many terms: for one r, or for any of several.

    At the largest width a M^p is between LEADS and 1/LEADS of the mean. Without that, any power would pass for the
    correction of a larger one whose amplitude is nothing.
    """

    powers: tuple[float, ...]
    terms: int

    @property
    def parameters(self) -> int:
        """How many numbers are fitted: p, a, every b and, where there are several, r."""
        return 2 + self.terms + (len(self.powers) > 1)

    def chi2(self, cells: Cells, exponents: Array) -> Array:
        """The smallest sum of squared standardized residuals for every exponent, over amplitudes and powers."""
        value, powers = cells.value / cells.value[-1], np.array(self.powers)[:, None]
        weight = value ** exponents[:, None, None] / cells.error
        lead, *rest = (weight * value ** (-k * powers) for k in range(1 + self.terms))
        target = cells.mean / cells.error
        found, (a, *b) = _least_squares([lead, *rest], target)
        # In these units b is what the corrections are at the largest width.
        for bound, beyond in ((1 / LEADS - 1, np.greater), (LEADS - 1, np.less)):
            # The best fit that keeps the bound lies on it: b_1 + b_2 = bound a.
            held = [lead + bound * rest[0], *(column - rest[0] for column in rest[1:])]
            found = np.where(beyond(sum(b), bound * a), _least_squares(held, target)[0], found)
        return found.min(axis=1)

    def profile(self, cells: Cells) -> tuple[float, float, float]:
        """Ends of the interval that the profile likelihood of the exponent leaves, and the p-value of the best fit.

        They are found on a grid, refined where the fit is good: there may be several minima.
        """
        start = float(np.log(cells.mean[-1] / cells.mean[-2]) / np.log(cells.value[-1] / cells.value[-2]))
        low, high, fit_p = start - REACH, start + REACH, 1.0
        freedom, spare = float(cells.count.min()) - 1, len(cells.value) - self.parameters
        far = float(stats.t.isf((1 - CONFIDENCE) / 2, freedom)) ** 2
        for _ in range(REFINEMENTS):
            exponents = np.linspace(low, high, GRID)
            above = self.chi2(cells, exponents)
            if spare > 0:
                fit_p = _fit_p(float(above.min()), spare, freedom)
            above -= above.min() + far
            inside = np.flatnonzero(above <= 0)
            first, last = max(inside[0] - 1, 0), min(inside[-1] + 1, GRID - 1)
            low, high = float(exponents[first]), float(exponents[last])
            if 2 * len(inside) > GRID:
                ends = ((first, first + 1), (last, last - 1))
                above[[0, -1]] = np.maximum(above[[0, -1]], 0)
                low, high = (float(np.interp(0, above[[i, o]], exponents[[i, o]])) for o, i in ends)
                break
        return low, high, fit_p


def _least_squares(columns: Sequence[Array], target: Array) -> tuple[Array, list[Array]]:
    """Stacked least-squares problems with one right side, by Gram and Schmidt: smallest sums of squares, and the
    coefficients."""
    rest, basis, along, upper = target, [], [], []
    for column in columns:
        shares = []
        for unit in basis:
            shares.append((unit * column).sum(axis=-1))
            column = column - shares[-1][..., None] * unit
        shares.append(np.sqrt((column**2).sum(axis=-1)))
        basis.append(column / shares[-1][..., None])
        along.append((basis[-1] * rest).sum(axis=-1))
        rest = rest - along[-1][..., None] * basis[-1]
        upper.append(shares)
    found: list[Array] = []
    for k in reversed(range(len(columns))):
        known = sum((upper[k + 1 + j][k] * c for j, c in enumerate(found)), np.zeros(()))
        found.insert(0, (along[k] - known) / upper[k][k])
    return (rest**2).sum(axis=-1), found


WIDTH_LAWS = (WidthLaw(tuple(np.geomspace(0.4, 2, 17)), 1), WidthLaw((0.5,), 2), WidthLaw((1.0,), 2))


def _ends_in_widths(cells: Cells) -> list[tuple[float, float]]:
    """Intervals of the laws that are not refused, from the narrowest width on from which one fits well.

    Where widths are left out, every law has a guard: one that fits by chance is what is looked for there.
    """
    for least, first in product((ADD_TERM_BELOW, POOR_FIT_BELOW), np.sort(cells.width)):
        window, wider = cells.where(cells.width >= first), cells.where(cells.width > first)
        guarded = len(window.value) < len(cells.value)
        laws = [law for law in WIDTH_LAWS if len(window.value) > law.parameters]
        found = [(law, *law.profile(window)) for law in laws]
        if not found or max(fit_p for *_, fit_p in found) < least:
            continue
        ends = []
        for law, low, high, fit_p in found:
            if fit_p >= POOR_FIT_BELOW:
                ends += [(low, high), law.profile(wider)[:2]] if guarded else [(low, high)]
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
    fit, parameters = _fit_counts(cells, count_law, width_law)
    return fit, _fit_p(fit.chi2, len(cells.value) - parameters, float(cells.count.min()) - 1)


def _fit_counts(cells: Cells, count_law: Sequence[float], width_law: Sequence[float]) -> tuple[Regression, int]:
    """log mean = p log v + a + corrections in v, and in the width for every value of v apart."""
    value, width = cells.value / cells.value.min(), cells.width / cells.width.min()
    columns = [np.log(value), np.ones_like(value), *(value**-s for s in count_law), np.log(width)]
    columns += [width**-r * (value == v) for v in np.unique(value) for r in width_law]
    design = np.stack(columns, axis=1)
    fit = regress(design, np.log(cells.mean), cells.error / cells.mean, [int(n) for n in cells.count])
    return fit, design.shape[1]


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
