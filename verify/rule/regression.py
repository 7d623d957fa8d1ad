"""Least squares on means of draws, whose errors are estimates too. Arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


class Regression(NamedTuple):
    """A weighted least-squares fit: its coefficients, standard error and effective degrees of freedom of the first of
    them, and the sum of the squared standardized residuals."""

    coefficients: tuple[float, ...]
    error: float
    freedom: float
    chi2: float

    @property
    def value(self) -> float:
        """The first coefficient."""
        return self.coefficients[0]

    def interval(self, tail: float) -> tuple[float, float]:
        """The interval of the first coefficient that misses it with probability `tail` on either side."""
        half = half_width(self.error, self.freedom, tail)
        return self.value - half, self.value + half


def half_width(error: float, freedom: float, tail: float) -> float:
    """Half of the interval, from a standard error of so many degrees of freedom, that misses with probability `tail` on
    either side."""
    return float(stats.t.isf(tail, freedom)) * error


def regress(design: Array, means: Array, errors: Array, counts: Sequence[int]) -> Regression:
    """Weighted least squares on means whose standard errors were estimated from counts[i] draws each."""
    solution = np.linalg.pinv(design / errors[:, None])
    found = solution @ (means / errors)
    residuals = (means - design @ found) / errors
    shares = solution[0] ** 2
    variance = shares.sum()
    freedom = variance**2 / (shares**2 / (np.asarray(counts) - 1)).sum()
    return Regression(tuple(map(float, found)), float(np.sqrt(variance)), float(freedom), float((residuals**2).sum()))
