"""What each normalization does: in the hidden layers to the Gaussian pair and the backward signal, in the last layer to
the spectrum.

The definitions of the normalizations themselves (what is done to a network) are not here: these are their consequences
for wide networks (Karakida, Akaho and Amari 2019, sections on batch and layer normalization).
"""

from dataclasses import dataclass
from typing import Any

import sympy as sp

from theory.symbols import Q1, Q2, C, M, Qmax, T, alpha_total, kappa1, kappa2

Value = Any
"""A SymPy expression, or a float64 number or array: the same rules serve both."""


@dataclass(frozen=True)
class PlainLayer:
    """No normalization: phi sees the pre-activations as they are."""

    name = "none"

    def pair(self, q1: Value, q2: Value, gamma: Value, beta: Value) -> tuple[Value, Value, Value]:  # noqa: ARG002
        """Variance, covariance and mean of the pair that phi sees."""
        return q1, q2, 0

    def gain(self, q1: Value, q2: Value, gamma: Value) -> tuple[Value, Value]:  # noqa: ARG002
        """Factors on the backward overlaps of one and of two samples."""
        return 1, 1

    def overlaps(self, hq1: Value, hq2: Value) -> tuple[Value, Value]:
        """Forward overlaps that meet the backward ones in kappa_1 and kappa_2."""
        return hq1, hq2


@dataclass(frozen=True)
class LayerNorm(PlainLayer):
    """u -> gamma (u - mean)/sd + beta over units: as M grows the mean tends to 0 and sd^2 to q_1."""

    name = "layer"

    def pair(self, q1: Value, q2: Value, gamma: Value, beta: Value) -> tuple[Value, Value, Value]:
        """The pair keeps its correlation and gets variance gamma^2 and mean beta."""
        return gamma**2, gamma**2 * q2 / q1, beta

    def gain(self, q1: Value, q2: Value, gamma: Value) -> tuple[Value, Value]:  # noqa: ARG002
        """The rank-two part of the Jacobian is O(1/M)."""
        return gamma**2 / q1, gamma**2 / q1


@dataclass(frozen=True)
class BatchNorm(PlainLayer):
    """u -> gamma (u - mean)/sd + beta over T -> infinity samples."""

    name = "batch"

    def pair(self, q1: Value, q2: Value, gamma: Value, beta: Value) -> tuple[Value, Value, Value]:  # noqa: ARG002
        """Two samples become independent N(beta, gamma^2) variables."""
        return gamma**2, 0 * q1, beta

    def gain(self, q1: Value, q2: Value, gamma: Value) -> tuple[Value, Value]:
        """The backward pass through the mean removes what is constant over samples."""
        return gamma**2 / (q1 - q2), 0

    def overlaps(self, hq1: Value, hq2: Value) -> tuple[Value, Value]:
        """Below a batch normalization only the centered part of the forward signal counts."""
        return hq1 - hq2, hq1 - hq2


HIDDEN_RULES = {"none": PlainLayer(), "layer": LayerNorm(), "batch": BatchNorm()}


@dataclass(frozen=True)
class Group:
    """A group of equal eigenvalues: value times a factor that varies over the classes.

    count: how many eigenvalues, over all classes. first, second, largest: mean, mean square and maximum of the factor.
    """

    count: sp.Expr
    value: sp.Expr
    first: sp.Expr = sp.S.One
    second: sp.Expr = sp.S.One
    largest: sp.Expr = sp.S.One


SHARED = alpha_total * ((T - 1) / T * kappa2 + kappa1 / T) * M
"""Eigenvalue along the all-ones direction over the samples, one per class."""

DEGENERATE = alpha_total * (kappa1 - kappa2) * M / T
"""Eigenvalue of the other T - 1 directions of each class."""


def spectrum(last: str) -> tuple[Group, ...]:
    """Nonzero eigenvalues of the FIM to leading order in M, the all-ones direction first where it survives.

    The dual matrix is block diagonal in the classes, each block alpha (M/T) [(kappa1 - kappa2) I + kappa2 1 1^T]. The
    normalizations multiply its sides by a projection: mean subtraction by I - 1 1^T/T, batch normalization by
    (last_gamma/sd_k) (I - 1 1^T/T - z z^T/T), z the normalized output.
    """
    if last == "none":
        return Group(C, SHARED), Group(C * (T - 1), DEGENERATE)
    if last == "mean":
        return (Group(C * (T - 1), DEGENERATE),)
    if last == "batch":
        return (Group(C * (T - 2), DEGENERATE, Q1, Q2, Qmax),)
    raise ValueError(f"The spectrum under last = {last!r} depends on the outputs; use layer_output_spectrum.")
