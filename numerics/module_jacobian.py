"""The Jacobian of a torch module's outputs by plain autograd: rows, products, the dual matrix; and what is refused."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fimcheck.numerics.cost import jacobian_rows
from fimcheck.numerics.krylov import Operator
from fimcheck.numerics.memory import out_of_memory

# Relative difference of two routes to v G v that rounding may cause.
AGREEMENT = {torch.float64: 1e-9, torch.float32: 1e-3}


def linearize(module: nn.Module, inputs: Tensor, softmax: bool) -> "Jacobian":
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
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
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
    if not outputs.requires_grad:
        raise ValueError("the outputs depend on no parameter that requires a gradient: there is no Fisher matrix")
    size = sum(p.numel() for p in parameters.values())
    root = _softmax_root(outputs.detach()) if softmax else None
    found = Jacobian(module, inputs, outputs, parameters, size, root, 0.0)
    cotangent = found.to_outputs(found.probe().unsqueeze(0))[0]
    gradients = torch.autograd.grad(outputs, [*parameters.values()], cotangent, retain_graph=True, allow_unused=True)
    used = {name: g for name, g in zip(parameters, gradients, strict=True) if g is not None}
    square = sum(float(g.square().sum()) for g in used.values())
    return replace(found, parameters={name: parameters[name] for name in used}, square=square)


def _softmax_root(outputs: Tensor) -> Tensor:
    """B_t (T,C,C) with B_t B_t^T = diag p - p p^T."""
    p = outputs.softmax(1)
    root = p.sqrt()
    return torch.diag_embed(root) - p.unsqueeze(2) * root.unsqueeze(1)


@dataclass(frozen=True)
class Jacobian:
    """J of the outputs (T,C), weighted by B_t^T if ``root`` is given; rows in the order k*T + t.

    module: the copy that was run on ``inputs``; parameters: those that the outputs use; size: P, the number of all;
    square: |v J|^2 of the vector v of ``probe``, by which a dual matrix is checked.
    """

    module: nn.Module
    inputs: Tensor
    outputs: Tensor
    parameters: Mapping[str, Tensor]
    size: int
    root: Tensor | None
    square: float

    def rows(self, v: Tensor) -> Tensor:
        """v J for v (b, C*T): (b, P)."""
        gradients = self._gradients(self.to_outputs(v))
        return torch.cat([g.flatten(1) for g in gradients], 1)

    def operator(self) -> Operator:
        """v -> J J^T v / T for blocks (1, C*T, b).

        J w is the derivative of J^T u in u, taken once more in reverse: it needs no forward-mode formula,
        which some of torch's operations lack.
        """
        samples = self.outputs.shape[0]
        u = torch.zeros_like(self.outputs, requires_grad=True)
        with torch.enable_grad():
            transposed = torch.autograd.grad(self.outputs, [*self.parameters.values()], u, create_graph=True)

        def apply(v: Tensor) -> Tensor:
            (result,) = torch.autograd.grad(
                transposed,
                u,
                self._gradients(self.to_outputs(v[0].mT)),
                retain_graph=True,
                is_grads_batched=True,
            )
            result = result if self.root is None else torch.einsum("tkj,btk->btj", self.root, result)
            return result.mT.flatten(1).mT.unsqueeze(0) / samples

        return apply

    def to_outputs(self, v: Tensor) -> Tensor:
        """Vectors (b, C*T) as cotangents of the outputs: (b, T, C)."""
        samples, classes = self.outputs.shape
        v = v.reshape(-1, classes, samples).mT
        return v if self.root is None else torch.einsum("tkj,btj->btk", self.root, v)

    def gradients(self, v: Tensor) -> dict[str, Tensor]:
        """v J for one vector (C*T,), by parameter."""
        found = torch.autograd.grad(
            self.outputs, [*self.parameters.values()], self.to_outputs(v.unsqueeze(0))[0], retain_graph=True
        )
        return dict(zip(self.parameters, found, strict=True))

    def probe(self) -> Tensor:
        """A random v (C*T,), the same at every call."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(self.outputs.numel(), generator=generator, dtype=torch.float64).to(self.outputs.detach())

    def agrees(self, g: Tensor) -> bool:
        """Whether v G v = |v J|^2 / T for a random v, up to rounding: as good as certain to fail for a wrong G."""
        v, expected = self.probe(), self.square / len(self.outputs)
        return abs(float(v @ g @ v) - expected) <= AGREEMENT.get(g.dtype, 0.05) * expected

    def _gradients(self, v: Tensor) -> tuple[Tensor, ...]:
        leaves = [*self.parameters.values()]
        return torch.autograd.grad(self.outputs, leaves, v, retain_graph=True, is_grads_batched=True)


def gram_by_rows(jacobian: Jacobian, memory: int) -> tuple[Tensor, tuple[str, ...]]:
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


def _by_blocks(jacobian: Jacobian, block: int) -> Tensor:
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
