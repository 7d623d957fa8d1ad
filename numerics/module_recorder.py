"""Finds where a torch module uses its parameters while it runs.

Calls of linear maps, convolutions, embeddings and normalizations with a parameter are recorded, and the parameter is
cut off from the graph there. A parameter that the graph still reaches has other uses, by which autograd takes
the derivative: nothing is assumed about the module.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fimcheck.numerics.module_uses import Lookup, Scale, Shift, Use, Weight

Found = tuple[Tensor, list[Use]]


@dataclass
class Recorder(TorchFunctionMode):
    """Records the uses of parameters while a module runs under it.

    numbers: the number of each parameter under its id. copy: hand copies of results to the module, which may then
    change them in place. uses: what was found. tensors: all that the uses read, with the version that they read.
    """

    numbers: dict[int, int]
    copy: bool
    uses: list[Use] = field(default_factory=list)
    tensors: list[tuple[Tensor, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    @property
    def changed(self) -> bool:
        """Whether a tensor that is to be read was changed in place."""
        return any(tensor._version != version for tensor, version in self.tensors)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        rule = RULES.get(func)
        found = rule(self.number, *args, **kwargs) if rule else None
        if found is None:
            return func(*args, **kwargs)
        result, uses = found
        self.uses += uses
        self.tensors += [(tensor, tensor._version) for tensor in (result, *(t for use in uses for t in use.reads))]
        return result.clone() if self.copy else result

    def number(self, tensor: Tensor | None) -> int | None:
        """Which parameter a tensor is, if any."""
        return None if tensor is None else self.numbers.get(id(tensor))


Number = Callable[[Tensor | None], int | None]
Rule = Callable[..., Found | None]


def _free(result: Tensor) -> Tensor:
    """A result at which signals can be taken, also where nothing below it has a gradient."""
    return result if result.requires_grad else result.requires_grad_()


def _cut(number: Number, tensor: Tensor | None) -> Tensor | None:
    return tensor if tensor is None or number(tensor) is None else tensor.detach()


def _uses(
    number: Number, result: Tensor, bias: Tensor | None, axis: int, weight: Callable[[], Use] | None
) -> Found | None:
    """A call's uses: its weight and the bias along ``axis`` of the result, as far as they are parameters."""
    uses = [] if weight is None else [weight()]
    shift = number(bias)
    if shift is not None:
        shape = [1] * result.ndim
        shape[axis] = result.shape[axis]
        uses.append(Shift(shift, result, tuple(shape)))
    return result, uses


def _linear(number: Number, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Found | None:
    found = number(weight)
    if (found is None and number(bias) is None) or input.ndim < 2:
        return None
    result = _free(functional.linear(input, _cut(number, weight), _cut(number, bias)))  # type: ignore[arg-type]

    def read(x: Tensor) -> Tensor:
        return x.reshape(len(x), -1, 1, x.shape[-1])

    use = None if found is None else lambda: Weight(found, result, input.detach(), read, -1, 1)
    return _uses(number, result, bias, -1, use)


def _convolution(dimensions: int, call: Callable[..., Tensor]) -> Rule:
    def rule(
        number: Number,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Found | None:
        found = number(weight)
        if (found is None and number(bias) is None) or input.ndim != dimensions + 2:
            return None
        geometry = stride, padding, dilation
        result = _free(call(input, _cut(number, weight), _cut(number, bias), *geometry, groups))
        steps, pads, gaps = _geometry(weight, *geometry)

        def read(x: Tensor) -> Tensor:
            x = functional.pad(x, pads)
            x = x if dimensions == 2 else x.unsqueeze(2)
            kernel = (1,) * (2 - dimensions) + tuple(weight.shape[2:])
            columns = functional.unfold(x, kernel, gaps, 0, steps)  # (T, channels * taps, positions)
            return columns.unflatten(1, (groups, -1)).permute(0, 3, 1, 2)

        use = None if found is None else lambda: Weight(found, result, input.detach(), read, 1, groups)
        return _uses(number, result, bias, 1, use)

    return rule


def _geometry(
    weight: Tensor, stride: Any, padding: Any, dilation: Any
) -> tuple[tuple[int, ...], list[int], tuple[int, ...]]:
    """Steps and gaps in two dimensions, and the zeros before and after every axis, the last axis first."""
    axes = weight.ndim - 2
    steps, gaps = (tuple(v) if isinstance(v, (tuple, list)) else (v,) * axes for v in (stride, dilation))
    steps, gaps = (v if len(v) == axes else v * axes for v in (steps, gaps))
    if padding == "valid":
        padding = 0
    if padding == "same":
        around = [gap * (taps - 1) for gap, taps in zip(gaps, weight.shape[2:], strict=True)]
        both = [(total // 2, total - total // 2) for total in around]
    else:
        sides = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,)
        both = [(side, side) for side in (sides if len(sides) == axes else sides * axes)]
    pads = [side for pair in reversed(both) for side in pair]
    return (1,) * (2 - axes) + steps, pads, (1,) * (2 - axes) + gaps


def _embedding(
    number: Number,
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,  # noqa: ARG001
    scale_grad_by_freq: bool = False,
    sparse: bool = False,  # noqa: ARG001
) -> Found | None:
    found = number(weight)
    if found is None or max_norm is not None or scale_grad_by_freq:
        return None
    result = _free(functional.embedding(input, weight.detach()))
    if padding_idx is not None:  # its row is never learnt
        input = input.masked_fill(input == padding_idx % len(weight), -1)
    return result, [Lookup(found, result, input, len(weight))]


def _normalization(call: Callable[..., Tensor], names: tuple[str, ...]) -> Rule:
    """names: of the arguments after the first. Scale and shift belong to the last axes where the call is told a shape,
    to axis 1 elsewhere."""

    def rule(number: Number, input: Tensor, *others: Any, **named: Any) -> Found | None:
        arguments = dict(zip(names, others, strict=False)) | named
        weight, bias = arguments.pop("weight", None), arguments.pop("bias", None)
        scale, shift = number(weight), number(bias)
        if scale is None and shift is None:
            return None
        z = call(input, **arguments)
        own = tuple((bias if weight is None else weight).shape)  # type: ignore[union-attr]
        trailing = "normalized_shape" in names
        shape = (1,) * (z.ndim - len(own)) + own if trailing else (1, *own) + (1,) * (z.ndim - 2)
        if shape[0] != 1:
            return None
        result = z if weight is None else z * _cut(number, weight).view(shape)  # type: ignore[union-attr]
        result = _free(result if bias is None else result + _cut(number, bias).view(shape))  # type: ignore[union-attr]
        uses: list[Use] = [] if scale is None else [Scale(scale, result, shape, z.detach())]
        return result, uses if shift is None else [*uses, Shift(shift, result, shape)]

    return rule


RULES: dict[Any, Rule] = {
    functional.linear: _linear,
    functional.conv1d: _convolution(1, functional.conv1d),
    functional.conv2d: _convolution(2, functional.conv2d),
    functional.embedding: _embedding,
    **{
        call: _normalization(call, names)
        for call, names in (
            (functional.layer_norm, ("normalized_shape", "weight", "bias", "eps")),
            (functional.rms_norm, ("normalized_shape", "weight", "eps")),
            (functional.group_norm, ("num_groups", "weight", "bias", "eps")),
            (
                functional.batch_norm,
                ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
            ),
        )
    },
}
