"""The second route to the Jacobian of a torch module: its outputs, at parameters moved to either side.

The parameters are moved in place, in the object that was handed in: whatever reads them, also past the module's own
calls, sees them move. In float64 where the module runs in it, so that a difference is good to about nine digits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

WIDE = {torch.float16: torch.float64, torch.bfloat16: torch.float64, torch.float32: torch.float64}
WIDE |= {torch.complex32: torch.complex128, torch.complex64: torch.complex128}

Direction = Mapping[str, Tensor]

# Steps relative to the size of the parameters. The first is so small that of a million units one or none passes a kink,
# while rounding (1e-16/step) is far below TOLERANCE; the others are for what is more curved or rounded more coarsely.
STEP, STEPS = 3e-8, (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
COARSE_STEP, COARSE_STEPS = 1e-2, (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
TOLERANCE, COARSE_TOLERANCE = 1e-6, 1e-2
DIRECTIONS = 3
SETTLED = 0.03
"""A difference whose own error is larger, relative to itself, decides nothing."""
HALVINGS = 40


@contextmanager
def held(module: nn.Module) -> Iterator[None]:
    """Within it the module may be run; afterwards it is what it was: parameters, buffers, gradients, attributes.

    Batch statistics are kept out of their running averages meanwhile, and hooks on parameters out of the gradients.
    """
    values = [(tensor, tensor.detach().clone()) for tensor in (*module.parameters(), *module.buffers())]
    leaves = [(p, p.grad, p._backward_hooks, dict(p._backward_hooks or {})) for p in module.parameters()]
    with attributes_held(module):
        try:
            for p, _, hooks, _ in leaves:
                p.grad = None
                if hooks:
                    hooks.clear()
            for part in module.modules():
                if isinstance(part, nn.modules.batchnorm._NormBase) and part.training:
                    # Without them torch uses the statistics of the inputs and updates nothing: the same function, pure.
                    part.running_mean = part.running_var = part.num_batches_tracked = None
            yield
        finally:
            for tensor, value in values:
                tensor.data.copy_(value)
            for p, gradient, hooks, kept in leaves:
                p.grad = gradient
                if hooks is not None:
                    hooks.update(kept)


@contextmanager
def attributes_held(module: nn.Module) -> Iterator[None]:
    """What its parts are given as attributes within it, they have no longer afterwards."""
    parts = list(module.modules())
    attributes = [dict(part.__dict__) for part in parts]
    tables = [{name: dict(v) for name, v in kept.items() if isinstance(v, dict)} for kept in attributes]
    try:
        yield
    finally:
        for part, kept, inner in zip(parts, attributes, tables, strict=True):
            part.__dict__.clear()
            part.__dict__.update(kept)
            for name, table in inner.items():
                part.__dict__[name].clear()
                part.__dict__[name].update(table)


def outputs_of(module: nn.Module, inputs: Tensor) -> Tensor:
    """The outputs (T, C) with their graph, from a copy of the inputs, which the module may change in place.

    Every run finds the attributes that were handed in: what a module caches in one run is no part of the next one.
    """
    with torch.enable_grad(), attributes_held(module):
        outputs = module(inputs.detach().clone())
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"the module returns {type(outputs).__name__}, not a tensor of outputs: wrap it in one that does"
        )
    shape = tuple(outputs.shape)
    outputs = outputs.unsqueeze(1) if outputs.ndim == 1 else outputs
    if outputs.ndim != 2 or outputs.shape[0] != inputs.shape[0]:
        raise ValueError(
            f"outputs of shape {shape} for {inputs.shape[0]} inputs: the module must return "
            "(T, C) or (T,); flatten the outputs of one sample"
        )
    return outputs


@dataclass
class Padding(TorchFunctionMode):
    """Records, while a module runs under it, which rows of a table it looks up as padding: these are never learnt.

    rows: by the id of the table.
    """

    rows: dict[int, set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.embedding:
            given = dict(zip(("input", "weight", "padding_idx"), args, strict=False)) | kwargs
            if given.get("padding_idx") is not None:
                rows = self.rows.setdefault(id(given["weight"]), set())
                rows.add(given["padding_idx"] % len(given["weight"]))
        return func(*args, **kwargs)


def contracted(gradients: Direction, direction: Direction) -> float:
    """The scalar product, in float64; parameters without a gradient have none."""
    pairs = ((gradients[name], v) for name, v in direction.items() if name in gradients)
    return sum(float((g.to(v.dtype).conj() * v).real.sum()) for g, v in pairs)


def gradients_of(outputs: Tensor, parameters: Mapping[str, Tensor], cotangent: Tensor) -> dict[str, Tensor]:
    """The derivative of <cotangent, outputs> by every parameter that autograd finds in the graph."""
    if not outputs.requires_grad:
        return {}
    found = torch.autograd.grad(
        outputs, [*parameters.values()], cotangent.to(outputs.dtype), retain_graph=True, allow_unused=True
    )
    dense = (g.to_dense() if g is not None and g.is_sparse else g for g in found)
    return {name: g for name, g in zip(parameters, dense, strict=True) if g is not None}


@dataclass
class Moving:
    """A module as a function of its parameters.

    parameters: those that are moved; fixed: rows of them, by name, that are not; wide: in float64. base: where they are
    moved from, if not from where they are.
    """

    module: nn.Module
    inputs: Tensor
    parameters: Mapping[str, Tensor]
    fixed: Mapping[str, Sequence[int]]
    wide: bool
    base: Direction = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start = {name: p.detach().clone() for name, p in self.parameters.items()}
        squares = sum(float(p.abs().double().square().sum()) for p in self.start.values())
        count = sum(p.numel() for p in self.start.values())
        self.size = (squares / count) ** 0.5 or 1.0
        """Of the parameters: the root of their mean square."""

    def direction(self, seed: int) -> dict[str, Tensor]:
        """Standard normal numbers for every parameter, in float64, in units of their size."""
        generator, found = torch.Generator().manual_seed(seed), {}
        for name, p in self.start.items():
            drawn = torch.randn(p.shape, generator=generator, dtype=_wide(p.dtype))
            for row in self.fixed.get(name, ()):
                drawn[row] = 0
            found[name] = self.size * drawn.to(p.device)
        return found

    @contextmanager
    def at(self, moved: Direction) -> Iterator[Tensor]:
        """Within it the parameters have the values ``moved``; gives the inputs to run the module on.

        In float64 a parameter has them as its data and its storage has them rounded: what reads the storage past the
        parameter sees them too.
        """
        ids = {id(p) for p in self.parameters.values()}
        others = [
            t for t in (*self.module.buffers(), *self.module.parameters()) if t.dtype in WIDE and id(t) not in ids
        ]
        data = [(tensor, tensor.data) for tensor in (*self.parameters.values(), *(others if self.wide else ()))]
        try:
            for name, p in self.parameters.items():
                p.data.copy_(moved[name])
                if self.wide:
                    p.data = moved[name]
            if self.wide:
                for tensor in others:
                    tensor.data = tensor.data.to(_wide(tensor.dtype))
            yield self.inputs.to(_wide(self.inputs.dtype)) if self.wide else self.inputs
        finally:
            for tensor, kept in data:
                tensor.data = kept
            for name, p in self.parameters.items():
                p.data.copy_(self.start[name])

    def moved(self, step: float, direction: Direction) -> dict[str, Tensor]:
        """Values of the parameters, step times direction from the base."""
        found = {}
        for name, p in self.start.items():
            value = self.base.get(name, p).to(_wide(p.dtype))
            value = value + step * direction[name] if name in direction else value
            found[name] = value if self.wide else value.to(p.dtype)
        return found

    def outputs(self, step: float, direction: Direction) -> Tensor:
        """The outputs (T, C) there, in float64."""
        with self.at(self.moved(step, direction)) as inputs:
            found = outputs_of(self.module, inputs).detach()
        if self.wide and found.dtype not in WIDE.values():
            raise TypeError(f"outputs of type {found.dtype} from parameters in float64")
        return found.to(_wide(found.dtype))

    def difference(self, step: float, direction: Direction) -> "Difference":
        """The central difference of the outputs, and the direction that the rounded parameters moved along."""
        plus, minus = (self.moved(sign * step, direction) for sign in (1, -1))
        along = {
            n: (plus[n].to(_wide(v.dtype)) - minus[n].to(_wide(v.dtype))) / (2 * step) for n, v in direction.items()
        }
        above, below = self.outputs(step, direction), self.outputs(-step, direction)
        return Difference(step, (above - below) / (2 * step), (above + below) / 2, along)

    def gradients(self, cotangent: Tensor) -> dict[str, Tensor]:
        """The derivative of <cotangent, outputs> by every parameter, by autograd at the base."""
        with self.at(self.moved(0.0, {})) as inputs:
            return gradients_of(outputs_of(self.module, inputs), self.parameters, cotangent)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return WIDE.get(dtype, dtype)


@dataclass(frozen=True)
class Difference:
    """Values (T, C) of [f(p + step v) - f(p - step v)] / (2 step) for the direction v, ``along``.

    middle: [f(p + step v) + f(p - step v)] / 2. error: of every value, from another step.
    """

    step: float
    values: Tensor
    middle: Tensor
    along: Direction
    error: Tensor | None = None

    def relative(self, change: Tensor) -> float:
        """A change of the outputs relative to them, and to what they move by where they are small."""
        size = float(self.middle.norm() + self.values.norm())
        return float(change.norm()) / size if size else 0.0


@dataclass(frozen=True)
class Metric:
    """Square roots B_t (T, C, C) of the metric of the outputs, or None for the unit metric."""

    root: Tensor | None

    def weighted(self, values: Tensor) -> Tensor:
        """B_t^T times the values (T, C), or what else stands for outputs: (..., T, C)."""
        return values if self.root is None else torch.einsum("tkj,...tk->...tj", self.root.to(values.dtype), values)

    def cotangent(self, v: Tensor) -> Tensor:
        """B_t v for v (..., T, C)."""
        return v if self.root is None else torch.einsum("tkj,...tj->...tk", self.root.to(v.dtype), v)


@dataclass(frozen=True)
class Comparison:
    """A Jacobian beside a difference of the outputs, along one direction and for one cotangent.

    The cotangent weights every output and every sample by their own scale: a small block counts like a large one.
    unit: the size to expect of <cotangent, difference>; gap: how far <cotangent, J v> is from it, and error: what may
    be the difference's own, both in this unit.
    """

    probe: Tensor
    gradients: Direction
    unit: float
    gap: float
    error: float


def compare(
    difference: Difference, noise: Tensor, metric: Metric, by: Callable[[Tensor], Direction]
) -> Comparison | None:
    """``by`` gives the gradients for a cotangent (T, C); None where the difference's own error leaves nothing to say.

    noise (T, C): rounding of the outputs. Entries that a kink spoils are left out, as their own error tells.
    """
    values, rough = metric.weighted(difference.values), metric.weighted(noise / difference.step).abs()
    error = rough if difference.error is None else metric.weighted(difference.error).abs()
    scale = _scale(values).maximum(rough / SETTLED).clamp(min=1e-290)
    good = error <= SETTLED * scale
    if float(values[good].square().sum()) < 0.5 * float(values.square().sum()):
        return None
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(values.shape, generator=generator, dtype=torch.float64).to(values.device)
    probe = torch.where(good, drawn / scale, 0.0)
    probe = probe / probe.abs().max()
    gradients = by(metric.cotangent(probe))
    unit = float((probe * scale).norm())
    gap = abs(contracted(gradients, difference.along) - float((probe * values).sum())) / unit
    return Comparison(probe, gradients, unit, gap, float((probe * error).norm()) / unit)


def _scale(values: Tensor) -> Tensor:
    """The size of every output times that of every sample relative to it: (T, C)."""
    outputs = values.square().mean(0, keepdim=True).sqrt()
    outputs = outputs.where(outputs > 0, outputs[outputs > 0].min() if bool((outputs > 0).any()) else 1.0)
    return outputs * (values / outputs).square().mean(1, keepdim=True).sqrt()


@dataclass(frozen=True)
class Verdict:
    """What a closer look at a Jacobian found: its distance from a difference of the outputs, the cotangents (T, C) by
    which it was compared, the rounding that was seen in the outputs, relative to them, and notes for the user."""

    distance: float
    probe: Tensor
    noise: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Look:
    """A closer look at a Jacobian that a first difference of the outputs does not confirm.

    moving: the module's parameters, in every precision that it runs in, the finest first; metric: of the outputs.
    """

    ways: Sequence[Moving]
    metric: Metric

    def verdict(self) -> Verdict:
        """Raises ``ValueError`` where autograd's Jacobian is not that of the outputs, and names the parameters."""
        for moving in self.ways:
            decided = None
            for seed in range(1, DIRECTIONS + 1):
                found = self._at(moving, seed)
                if found is not None and self._agree(moving, found[1]):
                    return Verdict(found[1].gap, found[1].probe, rounding_seen(moving, found[0]))
                decided = decided or found
            if decided is not None:
                return self._kink(moving, *decided) or self._refused(moving, *decided)
        raise ValueError(
            "the outputs change too roughly with the parameters for a difference of them to confirm the Jacobian: "
            "keep the module in float64, without rounding or randomness inside"
        )

    def _at(self, moving: Moving, seed: int) -> tuple[Difference, Comparison] | None:
        """The best difference along one direction, and the Jacobian beside it."""
        difference = ladder(moving, moving.direction(seed))
        compared = compare(difference, noise_of(moving), self.metric, moving.gradients)
        return None if compared is None else (difference, compared)

    def _room(self, moving: Moving, compared: Comparison) -> float:
        return max(steps_of(moving)[2], 4 * compared.error)

    def _agree(self, moving: Moving, compared: Comparison) -> bool:
        return compared.gap <= self._room(moving, compared)

    def _kink(self, moving: Moving, difference: Difference, compared: Comparison) -> Verdict | None:
        """Where the outputs have a kink exactly at these parameters, and the Jacobian is right beside it."""
        here, step = moving.outputs(0.0, {}), difference.step
        sides = (moving.outputs(step, difference.along) + moving.outputs(-step, difference.along) - 2 * here) / (
            2 * step
        )
        bend = (compared.probe * self.metric.weighted(sides)).norm() / compared.unit
        if float(bend) < 0.1 * compared.gap:
            return None
        beside = replace(moving, base=moving.moved(1e-3, moving.direction(0)))
        for seed in range(1, DIRECTIONS + 1):
            found = self._at(beside, seed)
            if found is not None and self._agree(beside, found[1]):
                note = "the outputs have a kink exactly at these parameters: autograd takes one of the slopes there"
                return Verdict(found[1].gap, found[1].probe, rounding_seen(beside, found[0]), (note,))
        return None

    def _refused(self, moving: Moving, difference: Difference, compared: Comparison) -> Verdict:
        """Along one parameter at a time: which of them are wrong, and whether outputs jump there."""
        apart: dict[str, tuple[float, float]] = {}
        for name, v in moving.direction(1).items():
            own = moving.difference(difference.step, {name: v})
            value = float((compared.probe * self.metric.weighted(own.values)).sum())
            apart[name] = contracted(compared.gradients, own.along), value
        gaps = {name: abs(one - two) for name, (one, two) in apart.items()}
        room = min(self._room(moving, compared) * compared.unit, max(gaps.values()))
        wrong = sorted((name for name, gap in gaps.items() if gap >= room), key=lambda name: -gaps[name])
        names = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        if all(abs(apart[name][1]) < room for name in wrong) and self._jumps(moving, wrong):
            note = (
                f"the outputs are step functions of {names}, with derivative 0 where they have one: the Jacobian by "
                "these is that of the module's own backward functions (straight-through), and no difference of outputs "
                "confirms it"
            )
            return self._without(moving, wrong, compared.probe, note)
        one, two = apart[wrong[0]]
        raise ValueError(
            f"the derivative of the outputs by {names} is not what autograd says: along {wrong[0]} autograd gives "
            f"{one:.4g} and a difference of the module's outputs {two:.4g}. A backward function, a hook or detach() "
            "may change or stop the gradient, or a checkpoint or the state of the module may hide it: make the "
            "backward pass that of the forward pass (checkpoints with use_reentrant=False), or freeze what is no "
            "parameter by requires_grad_(False)"
        )

    def _without(self, moving: Moving, wrong: Sequence[str], probe: Tensor, note: str) -> Verdict:
        """Whether the other parameters are right."""
        direction = {name: v for name, v in moving.direction(2).items() if name not in wrong}
        if not direction:
            return Verdict(0.0, probe, 0.0, (note,))
        difference = ladder(moving, direction)
        compared = compare(difference, noise_of(moving), self.metric, moving.gradients)
        if compared is None or not self._agree(moving, compared):
            raise ValueError(f"{note}. By the other parameters autograd's Jacobian is not that of the outputs either")
        return Verdict(compared.gap, compared.probe, rounding_seen(moving, difference), (note,))

    def _jumps(self, moving: Moving, names: Sequence[str]) -> bool:
        """Whether the outputs jump along these parameters: halving an interval leaves the change across it as it is."""
        direction = {name: v for name, v in moving.direction(1).items() if name in names}
        low, high = -1.0, 1.0
        below, above = (moving.outputs(end, direction) for end in (low, high))
        first = 0.0
        for _ in range(HALVINGS if moving.wide or _double(moving) else HALVINGS // 2):
            change = float((above - below).norm())
            first = first or change
            middle = (low + high) / 2
            between = moving.outputs(middle, direction)
            if float((between - below).norm()) >= float((above - between).norm()):
                high, above = middle, between
            else:
                low, below = middle, between
        return first > 0 and float((above - below).norm()) > 1e-3 * first


def _double(moving: Moving) -> bool:
    return all(p.dtype not in WIDE for p in moving.parameters.values())


def steps_of(moving: Moving) -> tuple[float, tuple[float, ...], float]:
    """The first step, the steps of a closer look and the tolerance, in the precision that the module runs in."""
    if moving.wide or _double(moving):
        return STEP, STEPS, TOLERANCE
    return COARSE_STEP, COARSE_STEPS, COARSE_TOLERANCE


def noise_of(moving: Moving, values: Tensor | None = None) -> Tensor:
    """Rounding to expect in every output (T, C); values: the outputs, if they are at hand."""
    values = moving.outputs(0.0, {}) if values is None else values.detach().to(_wide(values.dtype))
    eps = torch.finfo(values.dtype).eps
    eps = eps if moving.wide else max(eps, *(torch.finfo(p.dtype).eps for p in moving.parameters.values()))
    return (4 * eps * values.square().mean(0, keepdim=True).sqrt()).expand_as(values)


def rounding_seen(moving: Moving, difference: Difference) -> float:
    """Rounding of the outputs relative to them: what a step that is too small adds to a difference known better."""
    step, *_ = steps_of(moving)[1]
    least = moving.difference(step, difference.along).values
    return difference.relative(step * (least - difference.values))


def ladder(moving: Moving, direction: Direction) -> Difference:
    """The difference of the step whose neighbour differs least from it, with that distance as its error."""
    found = [moving.difference(step, direction) for step in steps_of(moving)[1]]
    best, least = found[0], float("inf")
    for one, two in pairwise(found):
        error = (one.values - two.values).abs()
        share = float((error / _scale(one.values).clamp(min=1e-290)).clamp(max=1.0).sum())
        if share < least:
            best, least = replace(one, error=error), share
    return best
