"""The Jacobian of a torch module's outputs by plain autograd: rows, products, the dual matrix; and what is refused.

It is confirmed by a difference of the outputs before anything is computed from it.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fimcheck.numerics.cost import jacobian_rows
from fimcheck.numerics.krylov import Operator
from fimcheck.numerics.memory import out_of_memory
from fimcheck.numerics.module_difference import (
    SETTLED,
    WIDE,
    Difference,
    Look,
    Metric,
    Moving,
    Padding,
    compare,
    gradients_of,
    noise_of,
    outputs_of,
    steps_of,
)

# Relative difference of two routes to v G v that rounding may cause.
AGREEMENT = {torch.float64: 1e-9, torch.float32: 3e-4}
# Rounding of the Jacobian, relative to its Frobenius norm, in units of that of one number, over a dozen layers.
ROUNDING = 4
HALF = (torch.float16, torch.bfloat16)
Root = Callable[[Tensor], Tensor]


def linearize(module: nn.Module, inputs: Tensor, root: Root | None = None) -> "Jacobian":
    """The module's Jacobian on ``inputs``, after a difference of the outputs along all parameters has confirmed it.

    root: from the outputs (T, C) to square roots (T, C, C) of their metric. The module must be ``held`` as long as the
    Jacobian is used. Raises ``ValueError`` for a module without one Jacobian, and where autograd does not give it.
    """
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.training and part.p > 0:
            raise ValueError(
                f"module {name or type(part).__name__} is dropout with p = {part.p} in training mode: the "
                "network is random and has no one Fisher matrix; set p = 0 or call .eval() on it"
            )
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not parameters:
        raise ValueError("the module has no parameter that requires a gradient: there is no Fisher matrix")
    first, fixed = _first(module, inputs, parameters)
    metric = Metric(None if root is None else root(first))
    ways, difference = _differences(module, inputs, parameters, fixed)
    outputs = _again(module, inputs, first)
    plain = torch.randn(first.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(first.device)
    probe, distance, rounding, notes = plain, 0.0, ROUNDING * torch.finfo(first.dtype).eps, ()
    if ways[0].wide:
        rounding = max(rounding, ROUNDING * difference.relative(first.to(difference.middle.dtype) - difference.middle))
    compared, limit = None, max(steps_of(ways[0])[2], torch.finfo(first.dtype).eps ** 0.5 if ways[0].wide else 0.0)
    if bool(outputs.isfinite().all()):
        compared = compare(difference, noise_of(ways[0], first), metric, lambda w: gradients_of(outputs, parameters, w))
    if compared is not None and compared.gap <= limit:
        probe, distance, gradients = compared.probe, compared.gap, compared.gradients
        rounding = max(rounding, 2 * distance) if ways[0].wide else rounding
    else:
        gradients = gradients_of(outputs, parameters, metric.cotangent(plain))
        if all(bool(values.isfinite().all()) for values in (outputs, *gradients.values())):
            verdict = Look(ways, metric).verdict()
            probe, distance, notes = verdict.probe, verdict.distance, verdict.notes
            fine = ways[0].gradients(metric.cotangent(plain))
            outputs = _again(module, inputs, first)  # parameters that had other data have left the graph of before
            apart = _apart(gradients_of(outputs, parameters, metric.cotangent(plain)), fine)
            if apart > max(SETTLED, 16 * torch.finfo(first.dtype).eps):
                raise ValueError(
                    f"two backward passes through the module give gradients that are {apart:.2g} of their size apart: "
                    "run it in float64, without a state that its runs change"
                )
            rounding = max(rounding, ROUNDING * verdict.noise, apart)
            gradients = gradients_of(outputs, parameters, metric.cotangent(probe))
    size = sum(p.numel() * (2 if p.is_complex() else 1) for p in parameters.values())
    square = sum(float(g.to(WIDE.get(g.dtype, g.dtype)).abs().square().sum()) for g in gradients.values())
    used = {name: parameters[name] for name in gradients}
    flat = probe.mT.flatten()
    return Jacobian(module, inputs, outputs, used, size, metric, flat, square, distance, rounding, notes)


def _first(
    module: nn.Module, inputs: Tensor, parameters: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Sequence[int]]]:
    """The outputs of one run, which must leave buffers and parameters as they were; rows of these that are padding."""
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    versions = {name: p._version for name, p in parameters.items()}
    with Padding() as padding:
        outputs = outputs_of(module, inputs).detach()
    for name, buffer in module.named_buffers():
        if name in buffers and not torch.equal(buffers[name], buffer):
            raise ValueError(
                f"buffer {name} changes when the module runs: its outputs depend on its history; "
                "keep it fixed (for instance by .eval()) while the spectrum is measured"
            )
    for name, version in versions.items():
        if parameters[name]._version != version:
            raise ValueError(
                f"parameter {name} changes when the module runs, so its derivative is not that of one network: "
                "keep it fixed (an embedding without max_norm) while the spectrum is measured"
            )
    return outputs, {name: sorted(padding.rows.get(id(p), ())) for name, p in parameters.items()}


def _again(module: nn.Module, inputs: Tensor, first: Tensor) -> Tensor:
    """The outputs once more, with their graph; they must be the first ones up to rounding."""
    outputs = outputs_of(module, inputs)
    room = 1e3 * torch.finfo(first.dtype).eps * float(first.abs().max())
    if bool(first.isfinite().all()) and not float((outputs.detach() - first).abs().max()) <= room:
        raise ValueError("two runs of the module give different outputs: remove the randomness")
    if not outputs.requires_grad:
        raise ValueError("the outputs depend on no parameter that requires a gradient: there is no Fisher matrix")
    return outputs


def _differences(
    module: nn.Module, inputs: Tensor, parameters: Mapping[str, Tensor], fixed: Mapping[str, Sequence[int]]
) -> tuple[list[Moving], Difference]:
    """The parameters to move, in float64 first where the module runs in it, and the first difference of the outputs."""
    ways = [Moving(module, inputs, parameters, fixed, wide=False)]
    if any(p.dtype in WIDE for p in parameters.values()):
        wide = Moving(module, inputs, parameters, fixed, wide=True)
        try:
            return [wide, *ways], wide.difference(steps_of(wide)[0], wide.direction(0))
        except Exception as error:  # whatever a module may raise of a type that it does not expect
            if out_of_memory(error):
                raise
    return ways, ways[0].difference(steps_of(ways[0])[0], ways[0].direction(0))


def _apart(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> float:
    """The distance of two gradients relative to the second."""
    pairs = [(one[name].to(g.dtype), g) for name, g in two.items() if name in one]
    square = sum(float(g.abs().square().sum()) for _, g in pairs)
    return (sum(float((a - g).abs().square().sum()) for a, g in pairs) / square) ** 0.5 if square else 0.0


@dataclass(frozen=True)
class Jacobian:
    """J of the outputs (T,C), weighted by B_t^T of the metric; rows in the order k*T + t.

    module: what was run on ``inputs``; parameters: those that the outputs use; size: P, the number of all;
    square: |v J|^2 of ``probe`` v (C*T,), by which a dual matrix is checked: every output and sample on its own scale.
    distance: of J along a direction from a difference of the outputs, relative to it; rounding: of J, relative to its
    Frobenius norm.
    """

    module: nn.Module
    inputs: Tensor
    outputs: Tensor
    parameters: Mapping[str, Tensor]
    size: int
    metric: Metric
    probe: Tensor
    square: float
    distance: float
    rounding: float
    notes: tuple[str, ...] = ()

    @property
    def dtype(self) -> torch.dtype:
        """Of what is computed from J: that of the outputs, or float64 where that is a half precision."""
        return torch.float64 if self.outputs.dtype in HALF else self.outputs.dtype

    def rows(self, v: Tensor) -> Tensor:
        """v J for v (b, C*T): (b, P)."""

        def back(cotangents: tuple[Tensor, ...], together: bool) -> tuple[Tensor, ...]:
            found = torch.autograd.grad(
                self.outputs, [*self.parameters.values()], cotangents, retain_graph=True, is_grads_batched=together
            )
            return tuple(g.to_dense() if g.is_sparse else g for g in found)

        gradients = batched(back, (self.to_outputs(v).to(self.outputs.dtype),))
        parts = (torch.view_as_real(g) if g.is_complex() else g for g in gradients)
        return torch.cat([g.flatten(1).to(self.dtype) for g in parts], 1)

    def operator(self) -> Operator:
        """v -> J J^T v / T for blocks (1, C*T, b).

        J w is the derivative of J^T u in u, taken once more in reverse: it needs no forward-mode formula,
        which some of torch's operations lack. Attention is computed step by step where it has to be.
        """
        probe = self.probe.to(self.dtype)[None, :, None]
        try:
            apply = self._operator(self.outputs)
            apply(probe)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            try:
                with sdpa_kernel(SDPBackend.MATH):
                    apply = self._operator(outputs_of(self.module, self.inputs))
                apply(probe)
            except RuntimeError:
                raise ValueError(
                    "products with the Jacobian need a backward pass through the backward pass, and here there is none "
                    f"({error}): take method = 'exact' or 'rows'"
                ) from error
        return apply

    def _operator(self, outputs: Tensor) -> Operator:
        leaves, samples = [*self.parameters.values()], len(outputs)
        u = torch.zeros_like(outputs, requires_grad=True)
        with torch.enable_grad():
            transposed = torch.autograd.grad(outputs, leaves, u, create_graph=True)

        def back(cotangents: tuple[Tensor, ...], together: bool) -> tuple[Tensor, ...]:
            return torch.autograd.grad(outputs, leaves, cotangents, retain_graph=True, is_grads_batched=together)

        def forth(tangents: tuple[Tensor, ...], together: bool) -> tuple[Tensor, ...]:
            return torch.autograd.grad(transposed, u, tangents, retain_graph=True, is_grads_batched=together)

        def apply(v: Tensor) -> Tensor:
            cotangents = self.to_outputs(v[0].mT).to(outputs.dtype)
            (result,) = batched(forth, batched(back, (cotangents,)))
            return self.metric.weighted(result.to(v.dtype)).mT.flatten(1).mT.unsqueeze(0) / samples

        return apply

    def to_outputs(self, v: Tensor) -> Tensor:
        """Vectors (b, C*T) as cotangents of the outputs: (b, T, C)."""
        samples, classes = self.outputs.shape
        return self.metric.cotangent(v.reshape(-1, classes, samples).mT)

    def gradients(self, v: Tensor) -> dict[str, Tensor]:
        """v J for one vector (C*T,), by parameter."""
        return gradients_of(self.outputs, self.parameters, self.to_outputs(v.unsqueeze(0))[0])

    def agrees(self, g: Tensor) -> bool:
        """Whether v G v = |v J|^2 / T for the probe v, up to rounding: as good as certain to fail for a wrong G."""
        v, expected = self.probe.to(g), self.square / len(self.outputs)
        return abs(float(v @ g @ v) - expected) <= AGREEMENT.get(g.dtype, 0.05) * expected


def batched(
    derivative: Callable[[tuple[Tensor, ...], bool], tuple[Tensor, ...]], v: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Derivatives for all vectors at once, or one by one where a backward function does not allow that."""
    try:
        with warnings.catch_warnings():  # of operations that torch takes one by one
            warnings.simplefilter("ignore", UserWarning)
            return derivative(v, True)
    except RuntimeError as error:
        if out_of_memory(error):
            raise
    each = [derivative(tuple(part[number] for part in v), False) for number in range(len(v[0]))]
    return tuple(torch.stack(parts) for parts in zip(*each, strict=True))


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
    eye = torch.eye(jacobian.outputs.numel(), dtype=jacobian.dtype, device=jacobian.outputs.device)
    g = torch.empty_like(eye)
    parts = [slice(start, start + block) for start in range(0, len(eye), block)]
    for number, part in enumerate(parts):
        own = jacobian.rows(eye[part])
        for other in parts[: number + 1]:
            against = own if other == part else jacobian.rows(eye[other])
            product = own @ against.T
            g[part, other], g[other, part] = product, product.T
    return g
