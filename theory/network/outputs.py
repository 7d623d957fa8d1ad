"""What is done to the outputs, and what that does to the spectrum of the FIM (Karakida, Akaho and Amari 2019).

To leading order in M the dual matrix is block diagonal in the classes, each block alpha (M/T) [(kappa1 - kappa2) I +
kappa2 1 1^T]. A normalization multiplies it from both sides by its own Jacobian, a metric by its root.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import sympy as sp

from fimcheck.theory.naming import check_new
from fimcheck.theory.symbols import Q1, Q2, R1, C, Expr, M, Qmax, T, alpha_total, kappa1, kappa2, last_gamma

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


Jacobian = Callable[[np.ndarray, float], np.ndarray]
"""(outputs (C, T), last_gamma) -> (C T, C T): d normalized_k(t) / d raw_j(s), rows k*T + t, columns j*T + s."""


@dataclass(frozen=True)
class Output:
    """What is done to the outputs.

    name, words: for settings and sentences. rule: its consequence, as a line of text. spectrum: groups of eigenvalues,
    None where they depend on the outputs in no simpler way than through `jacobian`; mean: m there, if it has a
    formula. removed: directions over the
    samples taken from every class. fewest_samples, fewest_classes: below which nothing is left. scaled: whether
    last_gamma enters. over: what the sd that divides the outputs is taken over, "samples", "classes", or "" for none.
    statistics: what a quantity depends on beside kappa_1 and kappa_2: a mean of powers of that sd, or "raw_outputs".
    source: part of the paper.
    """

    name: str
    words: str
    rule: str
    spectrum: Spectrum | None = None
    jacobian: Jacobian | None = field(default=None, compare=False)
    mean: Expr | None = None
    removed: int = 0
    fewest_samples: int = 2
    fewest_classes: int = 1
    scaled: bool = False
    over: str = ""
    statistics: Mapping[str, str] = field(default_factory=dict, compare=False)
    added: bool = False
    source: str = ""

    def eigenvalues(self, block: np.ndarray, outputs: np.ndarray, last_gamma: float = 1.0) -> np.ndarray:
        """Eigenvalues, largest first, of N (I x block) N^T, N the Jacobian at the raw outputs (C, T).

        block (T, T): the dual matrix of one class.
        """
        assert self.jacobian is not None
        classes, _ = outputs.shape
        jacobian = np.asarray(self.jacobian(outputs, last_gamma), float)
        if jacobian.shape != (outputs.size, outputs.size):
            raise ValueError(
                f"the Jacobian of {self.name!r} has shape {jacobian.shape} for outputs of shape {outputs.shape}; "
                f"return one of shape {(outputs.size, outputs.size)}"
            )
        return np.linalg.eigvalsh(jacobian @ np.kron(np.eye(classes), block) @ jacobian.T)[::-1]


def _layer_jacobian(outputs: np.ndarray, last_gamma: float) -> np.ndarray:
    """last_gamma P_t/sd(t), P_t = I - 1 1^T/C - z_t z_t^T/C, for every sample."""
    classes, _ = outputs.shape
    if classes < 3 or not np.all(np.isfinite(outputs)):
        raise ValueError(f"outputs has shape {outputs.shape}: give finite values of shape (C, T) with C >= 3.")
    sd = outputs.std(axis=0)
    if not np.all(sd > 0):
        raise ValueError("outputs are equal over all classes for some sample: layer normalization divides by their sd.")
    z = ((outputs - outputs.mean(axis=0)) / sd).T
    projections = np.eye(classes) - 1 / classes - z[:, :, None] * z[:, None, :] / classes
    return _by_sample(last_gamma * projections / sd[:, None, None])


def _softmax_root(outputs: np.ndarray, last_gamma: float) -> np.ndarray:
    """The symmetric root of diag p - p p^T of every sample, p the softmax of its outputs (arXiv 1910.05992)."""
    p = np.exp(outputs - outputs.max(axis=0)).T
    p /= p.sum(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(p[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * p[:, None, :])
    roots = (vectors * np.sqrt(np.clip(values, 0, None))[:, None, :]) @ vectors.transpose(0, 2, 1)
    return last_gamma * _by_sample(roots)


def _by_sample(blocks: np.ndarray) -> np.ndarray:
    """The matrix (C T, C T), rows k*T + t, of one C x C block for every sample."""
    samples, classes, _ = blocks.shape
    matrix = np.zeros((classes, samples, classes, samples))
    t = np.arange(samples)
    matrix[:, t, :, t] = blocks
    return matrix.reshape(classes * samples, classes * samples)


OUTPUTS: dict[str, Output] = {
    found.name: found
    for found in (
        Output(
            "none", "", "outputs as they are: one eigenvalue along (1, .., 1) and T - 1 equal ones per class",
            Spectrum(Group(C, SHARED), Group(C * (T - 1), DEGENERATE)),
            source="the FIM without normalization of the outputs",
        ),
        Output(
            "mean", "mean subtraction in the last layer",
            "mean subtraction multiplies by I - 1 1^T/T: the direction (1, .., 1) is removed",
            Spectrum(None, Group(C * (T - 1), DEGENERATE)), removed=1, source="mean subtraction in the last layer",
        ),
        Output(
            "batch", "batch normalization in the last layer",
            "batch normalization multiplies by (last_gamma/sd_k)(I - 1 1^T/T - z z^T/T): (1, .., 1) and the normalized "
            "output z are removed, Q1 and Q2 are the means of last_gamma^2/sd_k^2 and of its square",
            Spectrum(None, Group(C * (T - 2), DEGENERATE, Q1, Q2, Qmax)), removed=2, fewest_samples=3, scaled=True,
            over="samples", statistics={"m": "Q1", "s": "Q2", "lambda_max": "Qmax", "lambda_perp": "Q1"},
            source="batch normalization in the last layer",
        ),
        Output(
            "layer", "layer normalization over the outputs",
            "layer normalization multiplies by P_t/sd(t), P_t = I - 1 1^T/C - z_t z_t^T/C of rank C - 2, and R1 is the "
            "mean of 1/sd(t)^2",
            jacobian=_layer_jacobian,
            # tr F = sum_t alpha M kappa1/T tr(P_t) last_gamma^2/sd(t)^2, and the projection P_t has rank C - 2.
            mean=kappa1 * (C - 2) / M * last_gamma**2 * R1, fewest_classes=3, scaled=True,
            over="classes", statistics={"m": "R1", "lambda_max": "raw_outputs"},
            source="layer normalization of the outputs",
        ),
        Output(
            "softmax", "the softmax metric of the outputs",
            "the Fisher metric of a softmax puts the root of diag p - p p^T on both sides",
            jacobian=_softmax_root, fewest_classes=2, source="Karakida, Akaho and Amari 2019b (arXiv 1910.05992)",
        ),
    )
}  # fmt: skip
"""Everything that may be done to the outputs, by name."""


def names() -> tuple[str, ...]:
    """Names of all output normalizations and metrics."""
    return tuple(OUTPUTS)


def output(name: str) -> Output:
    """By name; an unknown one is refused.

    >>> theory.output("batch").words
    'batch normalization in the last layer'
    """
    if name not in OUTPUTS:
        raise ValueError(f"last = {name!r} is not known. Choose one of {', '.join(map(repr, OUTPUTS))}.")
    return OUTPUTS[name]


def add_output_normalization(name: str, jacobian: Jacobian) -> None:
    """Add a normalization of the outputs under a new name by its derivative, written by hand; see `Jacobian`.

    >>> centred = lambda outputs, last_gamma: last_gamma * (np.eye(outputs.size) - 1 / outputs.size)
    >>> theory.add_output_normalization("centred", centred)
    >>> theory.output("centred").added
    True
    """
    if not callable(jacobian):
        raise ValueError(f"normalization {name!r}: {jacobian!r} is not a function of (outputs, last_gamma); give one")
    check_new("normalization", name, names())
    rule = f"{name} multiplies by its added Jacobian"
    OUTPUTS[name] = Output(name, f"{name} of the outputs", rule, jacobian=jacobian, scaled=True, added=True)


def output_spectrum(
    name: str, kappa1: float, kappa2: float, alpha: float, M: float, outputs: np.ndarray, last_gamma: float = 1.0
) -> np.ndarray:
    """Eigenvalues of the FIM, largest first, given the raw outputs (C, T), where they depend on these.

    The Jacobian multiplies the dual matrix alpha (M/T) [(kappa1 - kappa2) I + kappa2 1 1^T] of every class from both
    sides.

    >>> outputs = np.array([[1.0, 0.5], [2.0, -1.0], [0.0, 0.0]])
    >>> theory.output_spectrum("layer", 1.5, 0.5, 2.0, 100, outputs).round(2)[:2]
    array([408.26, 202.45])
    """
    samples = np.asarray(outputs).shape[-1]
    block = alpha * M / samples * ((kappa1 - kappa2) * np.eye(samples) + kappa2)
    return output(name).eigenvalues(block, np.asarray(outputs, float), last_gamma)


def layer_output_spectrum(
    kappa1: float, kappa2: float, alpha: float, M: float, outputs: np.ndarray, last_gamma: float = 1.0
) -> np.ndarray:
    """Nonzero eigenvalues of the FIM, largest first, given the outputs (C, T) that are layer-normalized, C >= 3.

    With P_t = I - 1 1^T/C - z_t z_t^T/C acting on the classes and A = stack_t(P_t/sd(t)), the dual matrix is (alpha
    M/T) last_gamma^2 [kappa2 A A^T + (kappa1 - kappa2) blockdiag_t(P_t/sd(t)^2)].

    >>> outputs = np.array([[1.0, 0.5], [2.0, -1.0], [0.0, 0.0]])
    >>> theory.layer_output_spectrum(1.5, 0.5, 2.0, 100, outputs).round(2)
    array([408.26, 202.45])
    """
    outputs = np.asarray(outputs, float)
    if outputs.ndim != 2:
        raise ValueError(f"outputs has shape {outputs.shape}: give finite values of shape (C, T) with C >= 3.")
    classes, samples = outputs.shape
    # Two directions per sample are removed.
    return output_spectrum("layer", kappa1, kappa2, alpha, M, outputs, last_gamma)[: samples * (classes - 2)]
