"""Least squares on means of draws, whose errors are estimates too. Arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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


def regress(design: Array, means: Array, errors: Array, counts: Sequence[int]) -> Regression:
    """Weighted least squares on means whose standard errors were estimated from counts[i] draws each."""
    solution = np.linalg.pinv(design / errors[:, None])
    found = solution @ (means / errors)
    residuals = (means - design @ found) / errors
    shares = solution[0] ** 2
    variance = shares.sum()
    freedom = variance**2 / (shares**2 / (np.asarray(counts) - 1)).sum()
    return Regression(tuple(map(float, found)), float(np.sqrt(variance)), float(freedom), float((residuals**2).sum()))
