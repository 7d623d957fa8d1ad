"""Least squares on means of draws, whose errors are estimates too. Arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Regression(NamedTuple):
    """The first coefficient of a weighted least-squares fit: value, standard error, effective degrees of freedom;
    and the sum of the squared standardized residuals of the fit."""

    value: float
    error: float
    freedom: float
    chi2: float


def regress(design: Array, means: Array, errors: Array, counts: Sequence[int]) -> Regression:
    """Weighted least squares on means whose standard errors were estimated from counts[i] draws each."""
    solution = np.linalg.pinv(design / errors[:, None])
    residuals = (means - design @ (solution @ (means / errors))) / errors
    shares = solution[0] ** 2
    variance = shares.sum()
    freedom = variance**2 / (shares**2 / (np.asarray(counts) - 1)).sum()
    value = float(solution[0] @ (means / errors))
    return Regression(value, float(np.sqrt(variance)), float(freedom), float((residuals**2).sum()))
