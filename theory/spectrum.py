"""What a normalization of the outputs does to the spectrum of the FIM (Karakida, Akaho and Amari 2019).

To leading order in M the dual matrix is block diagonal in the classes, each block alpha (M/T) [(kappa1 -
kappa2) I + kappa2 1 1^T]. A normalization multiplies it from both sides by its own Jacobian.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sympy as sp

from theory.normalizations import check_new
from theory.symbols import Q1, Q2, C, Expr, M, Qmax, T, alpha_total, kappa1, kappa2

SHARED = alpha_total * ((T - 1) / T * kappa2 + kappa1 / T) * M
"""Eigenvalue along the all-ones direction over the samples, one per class."""

DEGENERATE = alpha_total * (kappa1 - kappa2) * M / T
"""Eigenvalue of the other T - 1 directions of each class."""


@dataclass(frozen=True)
class Group:
    """A group of equal eigenvalues: value, times a factor that may vary over the classes.

    count: eigenvalues over all classes. first, second, largest: mean, mean square and maximum of the factor.
    """

    count: Expr
    value: Expr
    first: Expr = sp.S.One
    second: Expr = sp.S.One
    largest: Expr = sp.S.One


@dataclass(frozen=True)
class Spectrum:
    """The groups of nonzero eigenvalues; shared is None where the all-ones direction is removed."""

    shared: Group | None
    rest: Group

    @property
    def groups(self) -> tuple[Group, ...]:
        """All groups."""
        return (self.rest,) if self.shared is None else (self.shared, self.rest)

    @property
    def trace(self) -> Expr:
        """tr F."""
        return sp.Add(*(g.count * g.value * g.first for g in self.groups))

    @property
    def trace_of_square(self) -> Expr:
        """tr F^2."""
        return sp.Add(*(g.count * g.value**2 * g.second for g in self.groups))


SPECTRA = {
    "none": Spectrum(Group(C, SHARED), Group(C * (T - 1), DEGENERATE)),
    # f -> f - mean over samples: the projection I - 1 1^T/T removes the all-ones direction.
    "mean": Spectrum(None, Group(C * (T - 1), DEGENERATE)),
    # f -> last_gamma (f - mean)/sd: (last_gamma/sd_k) (I - 1 1^T/T - z z^T/T) removes z too.
    "batch": Spectrum(None, Group(C * (T - 2), DEGENERATE, Q1, Q2, Qmax)),
}
"""By the normalization of the last layer; under "layer" see layer_output_spectrum."""

Jacobian = Callable[[np.ndarray, float], np.ndarray]
ADDED: dict[str, Jacobian] = {}


def output_names() -> tuple[str, ...]:
    """Names of the normalizations of the outputs."""
    return (*SPECTRA, "layer", *ADDED)


def add_output_normalization(name: str, jacobian: Jacobian) -> None:
    """Add a normalization of the outputs under a new name by its derivative, written by hand.

    jacobian(outputs (C, T) before the normalization, last_gamma) is the matrix (C T, C T) of d normalized_k(t) /
    d raw_j(s), rows k*T + t, columns j*T + s.
    """
    if not callable(jacobian):
        raise ValueError(f"normalization {name!r}: {jacobian!r} is no function of (outputs, last_gamma); give one")
    check_new("normalization", name, output_names())
    ADDED[name] = jacobian


def output_spectrum(
    name: str, kappa1: float, kappa2: float, alpha: float, M: float, outputs: np.ndarray, last_gamma: float = 1.0
) -> np.ndarray:
    """Eigenvalues of the FIM, largest first, given the outputs (C, T) that an added normalization is applied to.

    Its Jacobian N multiplies the dual matrix alpha (M/T) [(kappa1 - kappa2) I + kappa2 1 1^T] of every class from
    both sides.
    """
    classes, samples = outputs.shape
    jacobian = np.asarray(ADDED[name](outputs, last_gamma), float)
    if jacobian.shape != (outputs.size, outputs.size):
        raise ValueError(
            f"the Jacobian of normalization {name!r} has shape {jacobian.shape} for outputs of shape {outputs.shape}; "
            f"return one of shape {(outputs.size, outputs.size)}"
        )
    block = (kappa1 - kappa2) * np.eye(samples) + kappa2
    matrix = jacobian @ np.kron(np.eye(classes), block) @ jacobian.T
    return np.linalg.eigvalsh(alpha * M / samples * matrix)[::-1]


def layer_output_spectrum(
    kappa1: float, kappa2: float, alpha: float, M: float, outputs: np.ndarray, last_gamma: float = 1.0
) -> np.ndarray:
    """Nonzero eigenvalues of the FIM, largest first, given the outputs that are layer-normalized.

    outputs: array (C, T) of the network's outputs before normalization, C >= 3. With P_t = I - 1 1^T/C -
    z_t z_t^T/C acting on the classes and A = stack_t(P_t/sd(t)), the dual matrix is (alpha M/T)
    last_gamma^2 [kappa2 A A^T + (kappa1 - kappa2) blockdiag_t(P_t/sd(t)^2)].
    """
    f = np.asarray(outputs, float)
    if f.ndim != 2 or f.shape[0] < 3 or not np.all(np.isfinite(f)):
        raise ValueError(f"outputs has shape {f.shape}: give finite values of shape (C, T) with C >= 3.")
    classes, samples = f.shape
    sd = f.std(axis=0)
    if not np.all(sd > 0):
        raise ValueError("outputs are equal over all classes for some sample: layer normalization divides by their sd.")
    z = ((f - f.mean(axis=0)) / sd).T
    projections = np.eye(classes) - 1 / classes - z[:, :, None] * z[:, None, :] / classes
    jacobians = last_gamma * projections / sd[:, None, None]
    stacked = jacobians.reshape(samples * classes, classes)
    matrix = kappa2 * stacked @ stacked.T
    for t in range(samples):
        block = slice(t * classes, (t + 1) * classes)
        matrix[block, block] += (kappa1 - kappa2) * jacobians[t] @ jacobians[t].T
    # Two directions per sample are removed.
    return np.linalg.eigvalsh(alpha * M / samples * matrix)[::-1][: samples * (classes - 2)]
