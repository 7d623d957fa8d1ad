"""The Fisher spectrum of any ``torch.nn.Module`` on given inputs, right in training mode.

Batch statistics are differentiated through, as training does. The module is copied first and its running
statistics are switched off in the copy, so the caller's module is neither touched nor read afterwards.
"""

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from numerics.cost import jacobian_rows
from numerics.eigenvalues import largest
from numerics.estimators import SpectralDensity, second_moment, spectral_density, trace
from numerics.krylov import Operator, default_tolerance, top_eigenvalues
from numerics.memory import MEMORY, out_of_memory

LOSSES = ("squared", "softmax")
METHODS = ("exact", "matrix-free")


@dataclass(frozen=True)
class Spectrum:
    """What was measured of F = (1/T) sum_t J_t^T Lambda_t J_t, Lambda_t = I (squared) or diag p - p p^T
    (softmax).

    m = tr F/P, s = tr F^2/P, top: the largest eigenvalues, descending (count,). Every number comes with
    an error: 0 for the exact method, a standard error for m_error and s_error, a residual norm within
    which an eigenvalue lies for top_errors. A standard error from few probes is itself uncertain.
    eigenvalues: the C T eigenvalues of the dual matrix, descending, for the exact method, else None.
    density: their distribution from stochastic Lanczos quadrature, if it was asked for.
    """

    m: float
    s: float
    top: Tensor
    m_error: float
    s_error: float
    top_errors: Tensor
    eigenvalues: Tensor | None
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
    and Amari 2019b, arXiv 1910.05992). method: exact builds the C T x C T dual matrix, matrix-free needs
    only products: block Lanczos for the ``count`` largest eigenvalues, Hutch++ with ``probes`` probes for
    m and s, and the spectral density from ``density_steps`` Lanczos steps of each probe (0: none).
    memory: bytes that Jacobian rows may take at once; if that many are not to be had, the block
    is halved and a note says so.

    Raises ``ValueError`` for dropout in training mode, outputs that differ between two runs, a buffer
    that the module changes, no parameters, and outputs of another shape.
    """
    _check_choice("loss", loss, LOSSES)
    _check_choice("method", method, METHODS)
    for name, value in (("count", count), ("probes", probes)):
        if not isinstance(value, int) or value < (4 if name == "probes" else 1):
            raise ValueError(f"{name} = {value!r}: must be a whole number of at least {4 if name == 'probes' else 1}")
    if not isinstance(density_steps, int) or density_steps < 0 or (density_steps and method == "exact"):
        raise ValueError(
            f"density_steps = {density_steps!r} with method = {method!r}: a whole number of Lanczos steps, for "
            "method = 'matrix-free'; the exact method gives every eigenvalue"
        )
    jacobian = _linearize(module, inputs, loss == "softmax")
    samples, classes = jacobian.outputs.shape
    rows, size = samples * classes, jacobian.size
    generator = torch.Generator().manual_seed(seed)

    def normal(columns: int) -> Tensor:
        drawn = torch.randn(1, rows, columns, generator=generator, dtype=torch.float64)
        return drawn.to(jacobian.outputs.detach())

    count = min(count, rows)
    if method == "exact":
        g, notes = _exact(jacobian, memory)
        eigenvalues = largest(g.unsqueeze(0), rows)[0]
        s = float(g.square().sum()) / size
        top, zero = eigenvalues[:count], torch.zeros(count, dtype=g.dtype)
        m = float(torch.diagonal(g).sum()) / size
        return Spectrum(m, s, top, 0.0, 0.0, zero, eigenvalues, size, samples, classes, method, notes)

    apply = jacobian.operator()
    first, second = trace(apply, normal(probes)), second_moment(apply, normal(probes))
    found = top_eigenvalues(apply, normal(count), count, default_tolerance(jacobian.outputs.dtype))
    notes = () if found.converged else ("the top eigenvalues did not converge: see top_errors",)
    density = spectral_density(apply, normal(probes), density_steps) if density_steps else None
    return Spectrum(
        float(first.value) / size,
        float(second.value) / size,
        found.values[0],
        float(first.error) / size,
        float(second.error) / size,
        found.bounds[0],
        None,
        size,
        samples,
        classes,
        method,
        notes,
        density,
    )


def _linearize(module: nn.Module, inputs: Tensor, softmax: bool) -> "_Jacobian":
    """Run a pure copy of the module once, with the graph that all derivatives are taken from."""
    module = copy.deepcopy(module)
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.training and part.p > 0:
            raise ValueError(
                f"module {name or type(part).__name__} is dropout with p = {part.p} in training mode: the "
                "network is random and has no one Fisher matrix; set p = 0 or call .eval() on it"
            )
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training:
            # Without them torch uses the batch's statistics and updates nothing: the same function, pure.
            part.running_mean = part.running_var = part.num_batches_tracked = None
    parameters = tuple(p for p in module.parameters() if p.requires_grad)
    if not parameters:
        raise ValueError("the module has no parameter that requires a gradient: there is no Fisher matrix")
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with torch.enable_grad():
        outputs = module(inputs)
    with torch.no_grad():
        again = module(inputs)
    for name, buffer in module.named_buffers():
        if not torch.equal(buffers[name], buffer):
            raise ValueError(
                f"buffer {name} changes when the module runs: its outputs depend on its history; "
                "keep it fixed (for instance by .eval()) while the spectrum is measured"
            )
    if not torch.equal(outputs, again) and bool(outputs.isfinite().all()):
        raise ValueError("two runs of the module give different outputs: remove the randomness")
    if outputs.ndim == 1:
        outputs = outputs.unsqueeze(1)
    if outputs.ndim != 2 or outputs.shape[0] != inputs.shape[0]:
        raise ValueError(
            f"outputs of shape {tuple(outputs.shape)} for {inputs.shape[0]} inputs: the module must return "
            "(T, C) or (T,); flatten the outputs of one sample"
        )
    size = sum(p.numel() for p in parameters)
    gradients = torch.autograd.grad(outputs.sum(), parameters, retain_graph=True, allow_unused=True)
    used = tuple(p for p, g in zip(parameters, gradients, strict=True) if g is not None)
    return _Jacobian(outputs, used, size, _softmax_root(outputs.detach()) if softmax else None)


def _softmax_root(outputs: Tensor) -> Tensor:
    """B_t (T,C,C) with B_t B_t^T = diag p - p p^T."""
    p = outputs.softmax(1)
    root = p.sqrt()
    return torch.diag_embed(root) - p.unsqueeze(2) * root.unsqueeze(1)


@dataclass(frozen=True)
class _Jacobian:
    """J of the outputs (T,C), weighted by B_t^T if ``root`` is given; rows in the order k*T + t.

    parameters: those that the outputs use; size: P, the number of all.
    """

    outputs: Tensor
    parameters: tuple[Tensor, ...]
    size: int
    root: Tensor | None

    def rows(self, v: Tensor) -> Tensor:
        """v J for v (b, C*T): (b, P)."""
        gradients = self._gradients(self._to_outputs(v))
        return torch.cat([g.flatten(1) for g in gradients], 1)

    def operator(self) -> Operator:
        """v -> J J^T v / T for blocks (1, C*T, b).

        J w is the derivative of J^T u in u, taken once more in reverse: it needs no forward-mode formula,
        which some of torch's operations lack.
        """
        samples = self.outputs.shape[0]
        u = torch.zeros_like(self.outputs, requires_grad=True)
        with torch.enable_grad():
            transposed = torch.autograd.grad(self.outputs, self.parameters, u, create_graph=True)

        def apply(v: Tensor) -> Tensor:
            (result,) = torch.autograd.grad(
                transposed,
                u,
                self._gradients(self._to_outputs(v[0].mT)),
                retain_graph=True,
                is_grads_batched=True,
            )
            result = result if self.root is None else torch.einsum("tkj,btk->btj", self.root, result)
            return result.mT.flatten(1).mT.unsqueeze(0) / samples

        return apply

    def _to_outputs(self, v: Tensor) -> Tensor:
        samples, classes = self.outputs.shape
        v = v.reshape(-1, classes, samples).mT
        return v if self.root is None else torch.einsum("tkj,btj->btk", self.root, v)

    def _gradients(self, v: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(self.outputs, self.parameters, v, retain_graph=True, is_grads_batched=True)


def _exact(jacobian: _Jacobian, memory: int) -> tuple[Tensor, tuple[str, ...]]:
    """The dual matrix from blocks of Jacobian rows, two of them in memory at a time, and notes for the
    user.
    """
    samples, rows = jacobian.outputs.shape[0], jacobian.outputs.numel()
    block, notes = jacobian_rows(rows, jacobian.size, jacobian.outputs.element_size(), memory), ()
    while True:
        try:
            return _by_blocks(jacobian, block) / samples, notes
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error) or block == 1:
                raise
            block = max(1, block // 2)
            notes = (f"out of memory: blocks of {block} Jacobian rows were used",)


def _by_blocks(jacobian: _Jacobian, block: int) -> Tensor:
    eye = torch.eye(jacobian.outputs.numel(), dtype=jacobian.outputs.dtype, device=jacobian.outputs.device)
    g = torch.empty_like(eye)
    parts = [slice(start, start + block) for start in range(0, len(eye), block)]
    for number, part in enumerate(parts):
        own = jacobian.rows(eye[part])
        for other in parts[: number + 1]:
            against = own if other == part else jacobian.rows(eye[other])
            product = own @ against.T
            g[part, other], g[other, part] = product, product.T
    return g


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} = {value!r} is unknown: use one of {', '.join(choices)}")
