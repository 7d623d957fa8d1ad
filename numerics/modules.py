"""The Fisher spectrum of any ``torch.nn.Module`` on given inputs, right in training mode.

Batch statistics are differentiated through, as training does. The module is copied first and its running
statistics are switched off in the copy, so the caller's module is neither touched nor read afterwards.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fimcheck.numerics.estimators import SpectralDensity, second_moment, spectral_density, trace
from fimcheck.numerics.krylov import default_tolerance, top_eigenvalues
from fimcheck.numerics.memory import MEMORY
from fimcheck.numerics.module_gram import gram_by_layers
from fimcheck.numerics.module_jacobian import Jacobian, gram_by_rows, linearize

LOSSES = ("squared", "softmax")
METHODS = ("exact", "rows", "matrix-free")


@dataclass(frozen=True)
class Spectrum:
    """What was measured of F = (1/T) sum_t J_t^T Lambda_t J_t, Lambda_t = I (squared) or diag p - p p^T
    (softmax).

    m = tr F/P, s = tr F^2/P, top: the largest eigenvalues, descending (count,). Every number comes with
    an error: 0 for the exact method, a standard error for m_error and s_error, a residual norm within
    which an eigenvalue lies for top_errors. A standard error from few probes is itself uncertain.
    eigenvalues: the C T eigenvalues of the dual matrix, descending, for the exact methods, else None.
    shares: the share of each parameter, by name, in the square of the leading eigenvector of F; none for the
    matrix-free method.
    density: their distribution from stochastic Lanczos quadrature, if it was asked for.
    """

    m: float
    s: float
    top: Tensor
    m_error: float
    s_error: float
    top_errors: Tensor
    eigenvalues: Tensor | None
    shares: dict[str, float]
    parameters: int
    samples: int
    outputs: int
    method: str
    notes: tuple[str, ...] = field(default=())
    density: SpectralDensity | None = None

    @property
    def lambda_max(self) -> float:
        """The largest eigenvalue."""
        return float(self.top[0])


def spectrum(
    module: nn.Module,
    inputs: Tensor,
    *,
    loss: str = "squared",
    method: str = "exact",
    count: int = 1,
    probes: int = 32,
    density_steps: int = 0,
    memory: int = MEMORY,
    seed: int = 0,
) -> Spectrum:
    """Measure the Fisher matrix of ``module`` over its parameters that require a gradient.

    inputs: (T, ...), one batch; the module must map it to (T, C) or (T,) without randomness. It is run in
    the mode it is in: in training mode batch normalization uses, and is differentiated through, the
    statistics of this batch.
    loss: squared (Gaussian output model) or softmax (cross-entropy of softmax outputs, Karakida, Akaho
    and Amari 2019b, arXiv 1910.05992). method: exact builds the C T x C T dual matrix from the signals and
    inputs of the layers where it can, rows from rows of the Jacobian, slower and plain; matrix-free needs
    only products: block Lanczos for the ``count`` largest eigenvalues, Hutch++ with ``probes`` probes for
    m and s, and the spectral density from ``density_steps`` Lanczos steps of each probe (0: none).
    memory: bytes that Jacobian rows may take at once; if that many are not to be had, the block
    is halved and a note says so.

    Raises ``ValueError`` for dropout in training mode, outputs that differ between two runs, a buffer
    that the module changes, no parameters, and outputs of another shape.

    >>> module = torch.nn.Linear(3, 2).double()
    >>> found = numerics.spectrum(module, torch.ones(4, 3, dtype=torch.float64))
    >>> round(found.lambda_max, 6)
    4.0
    """
    _check(loss, method, count, probes, density_steps)
    jacobian = linearize(module, inputs, loss == "softmax")
    count = min(count, jacobian.outputs.numel())
    if method == "matrix-free":
        return _by_products(jacobian, count, probes, density_steps, seed)
    return _of_matrix(jacobian, method, count, memory)


def _check(loss: str, method: str, count: int, probes: int, density_steps: int) -> None:
    _check_choice("loss", loss, LOSSES)
    _check_choice("method", method, METHODS)
    for name, value, least in (("count", count, 1), ("probes", probes, 4)):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name} = {value!r}: must be a whole number of at least {least}")
    if not isinstance(density_steps, int) or density_steps < 0 or (density_steps and method != "matrix-free"):
        raise ValueError(
            f"density_steps = {density_steps!r} with method = {method!r}: a whole number of Lanczos steps, for "
            "method = 'matrix-free'; the others give every eigenvalue"
        )


def _of_matrix(jacobian: Jacobian, method: str, count: int, memory: int) -> Spectrum:
    """Every number from the dual matrix."""
    (samples, classes), size = jacobian.outputs.shape, jacobian.size
    g, notes = _exact(jacobian, method, memory)
    eigenvalues, leading = _eigen(g)
    s = float(g.square().sum()) / size
    top, zero = eigenvalues[:count], torch.zeros(count, dtype=g.dtype)
    m = float(torch.diagonal(g).sum()) / size
    shares = _shares(jacobian, leading)
    return Spectrum(m, s, top, 0.0, 0.0, zero, eigenvalues, shares, size, samples, classes, method, notes)


def _by_products(jacobian: Jacobian, count: int, probes: int, density_steps: int, seed: int) -> Spectrum:
    """Every number from products with the dual matrix, which is never made."""
    (samples, classes), size = jacobian.outputs.shape, jacobian.size
    generator = torch.Generator().manual_seed(seed)

    def normal(columns: int) -> Tensor:
        drawn = torch.randn(1, samples * classes, columns, generator=generator, dtype=torch.float64)
        return drawn.to(jacobian.outputs.detach())

    apply = jacobian.operator()
    first, second = trace(apply, normal(probes)), second_moment(apply, normal(probes))
    found = top_eigenvalues(apply, normal(count), count, default_tolerance(jacobian.outputs.dtype))
    notes = () if found.converged else ("the top eigenvalues did not converge: see top_errors",)
    density = spectral_density(apply, normal(probes), density_steps) if density_steps else None
    (m, m_error), (s, s_error) = ((float(e.value) / size, float(e.error) / size) for e in (first, second))
    top, errors = found.values[0], found.bounds[0]
    return Spectrum(
        m, s, top, m_error, s_error, errors, None, {}, size, samples, classes, "matrix-free", notes, density
    )


def _exact(jacobian: Jacobian, method: str, memory: int) -> tuple[Tensor, tuple[str, ...]]:
    """The dual matrix, and notes for the user."""
    if method == "exact":
        g = gram_by_layers(jacobian, memory)
        if g is not None:
            return g, ()
    g, notes = gram_by_rows(jacobian, memory)
    return g, notes if method == "rows" else (*notes, "its layers do not give it: made from rows of the Jacobian")


def _eigen(g: Tensor) -> tuple[Tensor, Tensor]:
    """All eigenvalues of G, descending, and the vector of the first; nan where G is not finite."""
    if not bool(g.isfinite().all()):
        return torch.full_like(g[0], float("nan")), torch.full_like(g[0], float("nan"))
    values, vectors = torch.linalg.eigh(g)
    return values.flip(0), vectors[:, -1]


def _shares(jacobian: Jacobian, leading: Tensor) -> dict[str, float]:
    """With G v = lambda v the eigenvector of F is J^T v up to its length."""
    squares = {name: float(part.square().sum()) for name, part in jacobian.gradients(leading).items()}
    total = sum(squares.values())
    return {name: square / total if total else 0.0 for name, square in squares.items()}


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} = {value!r} is unknown: use one of {', '.join(choices)}")
