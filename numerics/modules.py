"""The Fisher spectrum of any ``torch.nn.Module`` on given inputs, right in training mode.

Batch statistics are differentiated through, as training does. The module itself is run, not a copy, so that what
reaches its parameters in any way is seen; afterwards it is what it was before.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fimcheck.numerics.estimators import SpectralDensity, second_moment, spectral_density, trace
from fimcheck.numerics.krylov import default_tolerance, top_eigenvalues
from fimcheck.numerics.memory import MEMORY
from fimcheck.numerics.module_difference import held
from fimcheck.numerics.module_gram import gram_by_layers
from fimcheck.numerics.module_jacobian import Jacobian, Root, gram_by_rows, linearize

LOSSES = ("squared", "softmax", "logistic")
METHODS = ("exact", "rows", "matrix-free")


@dataclass(frozen=True)
class Spectrum:
    """What was measured of F = (1/T) sum_t J_t^T Lambda_t J_t, Lambda_t = I (squared), diag p - p p^T (softmax) or
    diag p(1 - p) (logistic).

    m = tr F/P, s = tr F^2/P, top: the largest eigenvalues, descending (count,). Every number comes with an error:
    rounding, and for the matrix-free method a standard error in m_error and s_error, a residual norm within which an
    eigenvalue lies in top_errors. A standard error from few probes is itself uncertain.
    eigenvalues: the C T eigenvalues of the dual matrix, descending, for the exact methods, else None; errors: of each.
    Negative ones within their error are 0.
    distance: how far the Jacobian along a random direction is from a difference of the outputs, relative to it.
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
    distance: float
    errors: Tensor | None = None
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
    loss: squared (Gaussian output model), softmax (cross-entropy of softmax outputs, Karakida, Akaho and Amari 2019b,
    arXiv 1910.05992) or logistic (binary cross-entropy of the sigmoid of every output).
    method: exact builds the C T x C T dual matrix from the signals and inputs of the layers where it can, rows from
    rows of the Jacobian, slower and plain; matrix-free needs only products: block Lanczos for the ``count`` largest
    eigenvalues, Hutch++ with ``probes`` probes for m and s, and the spectral density from ``density_steps`` Lanczos
    steps of each probe (0: none).
    memory: bytes that Jacobian rows may take at once; if that many are not to be had, the block
    is halved and a note says so.

    Before a number is given, the Jacobian along a random direction of all parameters is compared with a difference of
    the outputs. Raises ``ValueError`` where they part, naming the parameters; for dropout in training mode, outputs
    that differ between two runs, a buffer that the module changes, no parameters, outputs of another shape, and a loss
    whose metric vanishes.

    >>> module = torch.nn.Linear(3, 2).double()
    >>> found = numerics.spectrum(module, torch.ones(4, 3, dtype=torch.float64))
    >>> round(found.lambda_max, 6)
    4.0
    """
    _check(loss, method, count, probes, density_steps)
    with held(module):
        jacobian = linearize(module, inputs, _root(loss))
        count = min(count, jacobian.outputs.numel())
        if method == "matrix-free":
            return _by_products(jacobian, count, probes, density_steps, seed)
        return _of_matrix(jacobian, method, count, memory)


def _root(loss: str) -> Root | None:
    """Square roots (T, C, C) of the metric of the outputs (T, C)."""
    if loss == "squared":
        return None

    def root(outputs: Tensor) -> Tensor:
        if loss == "softmax" and outputs.shape[1] == 1:
            raise ValueError(
                "loss = 'softmax' with one output: the softmax of a single logit is 1 whatever the parameters, so its "
                "metric is 0; put a second logit of 0 beside it, or take loss = 'logistic'"
            )
        found = softmax_root(outputs) if loss == "softmax" else logistic_root(outputs)
        if not bool(found.any()):
            raise ValueError(
                f"loss = {loss!r}: every probability is 0 or 1 up to rounding, so the metric is 0; take float64, "
                "smaller outputs, or loss = 'squared'"
            )
        return found

    return root


def softmax_root(outputs: Tensor) -> Tensor:
    """B_t (T,C,C) with B_t B_t^T = diag p - p p^T for the softmax p of the outputs (T,C)."""
    p = outputs.softmax(1)
    root = p.sqrt()
    return torch.diag_embed(root) - p.unsqueeze(2) * root.unsqueeze(1)


def logistic_root(outputs: Tensor) -> Tensor:
    """B_t (T,C,C) with B_t B_t^T = diag p(1 - p) for the sigmoids p of the outputs (T,C)."""
    return torch.diag_embed((outputs.sigmoid() * (-outputs).sigmoid()).sqrt())


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
    for g, notes in _matrices(jacobian, method, memory):  # noqa: B007
        eigenvalues, leading = _eigen(g)
        rounding = Rounding(jacobian, len(g), float(torch.diagonal(g).sum()), float(eigenvalues[0]))
        errors = rounding.of(eigenvalues)
        if not bool((eigenvalues < -errors).any()):
            break
    else:
        raise ValueError(
            f"the dual matrix has the eigenvalue {float(eigenvalues[-1]):.3g}, though it is a Gram matrix and the "
            f"error is {float(errors[-1]):.1g}: run the module in float64"
        )
    samples, classes = jacobian.outputs.shape
    shown = eigenvalues.where(~(eigenvalues < 0), 0.0)  # nan stays nan
    return Spectrum(
        rounding.trace / jacobian.size,
        float(g.square().sum()) / jacobian.size,
        shown[:count],
        rounding.of_trace / jacobian.size,
        rounding.of_squares(float(g.norm())) / jacobian.size,
        errors[:count],
        shown,
        _shares(jacobian, leading),
        jacobian.size,
        samples,
        classes,
        method,
        jacobian.distance,
        errors,
        (*jacobian.notes, *notes),
    )


@dataclass(frozen=True)
class Rounding:
    """What rounding does to the eigenvalues of G = J J^T/T, n of them, with this trace and this largest one.

    That of J moves a singular value by no more than its norm (Weyl); that of the scalar products and of the
    eigenvalue problem is of the size of the trace and of the largest eigenvalue, whatever the eigenvalue.
    """

    jacobian: Jacobian
    n: int
    trace: float
    largest: float

    @property
    def norm(self) -> float:
        """Of the rounding of J, over the root of T."""
        return self.jacobian.rounding * max(self.trace, 0.0) ** 0.5

    @property
    def least(self) -> float:
        """What no eigenvalue is free of."""
        numbers = torch.finfo(self.jacobian.dtype)
        return numbers.eps * (2 * self.trace + self.n**0.5 * self.largest) + numbers.tiny

    def of(self, eigenvalues: Tensor) -> Tensor:
        """The error of each."""
        return 2 * eigenvalues.clamp(min=0).sqrt() * self.norm + self.norm**2 + self.least

    @property
    def of_trace(self) -> float:
        """Of the trace of G."""
        return 2 * self.jacobian.rounding * self.trace + self.least

    def of_squares(self, norm: float) -> float:
        """Of the trace of G^2, for G of this Frobenius norm."""
        return 2 * norm * (2 * self.norm * self.largest**0.5 + self.least)


def _by_products(jacobian: Jacobian, count: int, probes: int, density_steps: int, seed: int) -> Spectrum:
    """Every number from products with the dual matrix, which is never made."""
    (samples, classes), size = jacobian.outputs.shape, jacobian.size
    generator = torch.Generator().manual_seed(seed)

    def normal(columns: int) -> Tensor:
        drawn = torch.randn(1, samples * classes, columns, generator=generator, dtype=torch.float64)
        return drawn.to(device=jacobian.outputs.device, dtype=jacobian.dtype)

    apply = jacobian.operator()
    first, second = trace(apply, normal(probes)), second_moment(apply, normal(probes))
    tolerance = max(default_tolerance(jacobian.dtype), torch.finfo(jacobian.outputs.dtype).eps)
    found = top_eigenvalues(apply, normal(count), count, tolerance)
    notes = () if found.converged else ("the top eigenvalues did not converge: see top_errors",)
    density = spectral_density(apply, normal(probes), density_steps) if density_steps else None
    values = [float(v) for v in (first.value, first.error, second.value, second.error)]
    top = found.values[0]
    rounding = Rounding(jacobian, samples * classes, values[0], float(top[0]))
    return Spectrum(
        values[0] / size,
        values[2] / size,
        top.clamp(min=0),
        (values[1] + rounding.of_trace) / size,
        (values[3] + rounding.of_squares(max(values[2], 0.0) ** 0.5)) / size,
        found.bounds[0] + rounding.of(top),
        None,
        {},
        size,
        samples,
        classes,
        "matrix-free",
        jacobian.distance,
        None,
        (*jacobian.notes, *notes),
        density,
    )


def _matrices(jacobian: Jacobian, method: str, memory: int) -> Iterator[tuple[Tensor, tuple[str, ...]]]:
    """The dual matrix by the faster route, then by the slower one, with notes for the user."""
    why = ()
    if method == "exact":
        g, because = gram_by_layers(jacobian, memory)
        why = (f"{because or 'its layers give a matrix that is not positive'}: made from rows of the Jacobian",)
        if g is not None:
            yield g, ()
    g, notes = gram_by_rows(jacobian, memory)
    yield g, (*notes, *why)


def _eigen(g: Tensor) -> tuple[Tensor, Tensor]:
    """All eigenvalues of G, descending, and the vector of the first; nan where G is not finite."""
    if not bool(g.isfinite().all()):
        return torch.full_like(g[0], float("nan")), torch.full_like(g[0], float("nan"))
    values, vectors = torch.linalg.eigh(g)
    return values.flip(0), vectors[:, -1]


def _shares(jacobian: Jacobian, leading: Tensor) -> dict[str, float]:
    """With G v = lambda v the eigenvector of F is J^T v up to its length."""
    squares = {name: float(part.abs().double().square().sum()) for name, part in jacobian.gradients(leading).items()}
    total = sum(squares.values())
    return {name: square / total if total else 0.0 for name, square in squares.items()}


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} = {value!r} is unknown: use one of {', '.join(choices)}")
