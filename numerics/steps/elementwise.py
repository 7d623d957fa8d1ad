"""Steps that act on every unit alone: activations, dropout, scale, shift; and steps given by a torch function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from fimcheck.numerics.activations import Activation, Function, resolve_activation
from fimcheck.numerics.difference import check_derivative
from fimcheck.numerics.steps.step import NetworkError, Rows, Shape, Signals, Step, Trace, Visit, linear, register


@dataclass(frozen=True)
class Elementwise(Step):
    """An activation, by name or as a torch function."""

    activation: str | Function

    @cached_property
    def phi(self) -> Activation:
        """The function with its derivative."""
        return resolve_activation(self.activation)

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:  # noqa: ARG002
        """The slope multiplies in both directions."""
        slope = self.phi.slope(x).unsqueeze(1)
        return linear(self.phi.value(x), lambda v: v * slope, lambda v: v * slope)

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:  # noqa: ARG002
        """The function."""
        return self.phi.value(x)


@register
@dataclass(frozen=True)
class Dropout(Step):
    """Units kept with probability ``keep`` by given masks, which are drawn with the weights, and divided by it."""

    name: ClassVar[str] = "dropout"

    keep: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise NetworkError(f"dropout: keep = {self.keep} is not a probability; take one above 0 and at most 1")

    def draws(self, shape: Shape, path: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """One number for every unit at every place."""
        yield f"{path}.mask", (shape.samples, shape.positions, shape.units)

    def mask(self, drawn: Mapping[str, Tensor], path: str) -> Tensor:
        """0 or 1/keep."""
        raw = drawn[f"{path}.mask"]
        return (torch.special.ndtr(raw) < self.keep).to(raw.dtype) / self.keep

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:
        """Multiplied by the mask in both directions."""
        mask = self.mask(drawn, path)
        factor = mask.unsqueeze(1)
        return linear(x * mask, lambda v: v * factor, lambda v: v * factor)

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:
        """The mask once more."""
        return torch.where(torch.special.ndtr(given[f"{path}.mask"]) < self.keep, x / self.keep, torch.zeros_like(x))


@register
@dataclass(frozen=True)
class Scale(Step):
    """x -> by x."""

    name: ClassVar[str] = "scale"

    by: float = 1.0

    def gram_operations(self, shape: Shape, above: Signals, back: bool = True) -> tuple[int, Signals]:  # noqa: ARG002
        """No products; signals that are alike stay so."""
        return 0, above

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:  # noqa: ARG002
        """A factor in both directions."""
        return linear(self.by * x, lambda v: self.by * v, lambda v: self.by * v)

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:  # noqa: ARG002
        """The factor."""
        return torch.mul(x, self.by)


@register
@dataclass(frozen=True)
class Shift(Step):
    """x -> x + by."""

    name: ClassVar[str] = "shift"

    by: float = 0.0

    def gram_operations(self, shape: Shape, above: Signals, back: bool = True) -> tuple[int, Signals]:  # noqa: ARG002
        """No products; signals that are alike stay so."""
        return 0, above

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:  # noqa: ARG002
        """Derivatives pass."""
        return linear(x + self.by, lambda v: v, lambda v: v)

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:  # noqa: ARG002
        """The sum."""
        return torch.add(x, self.by)


@dataclass(frozen=True)
class Defined(Step):
    """A step that a torch function defines, (x, *parameters) -> value, x of layout (..., samples, units).

    It is differentiated by autograd. values: its parameters. Positions of a sample stand beside each other on the axis
    of the samples.
    """

    called: str
    function: Callable[..., Tensor]
    values: tuple[float, ...]
    couples: bool

    @property
    def couples_samples(self) -> bool:  # type: ignore[override]
        """Found by trying it."""
        return self.couples

    def value(self, x: Tensor) -> Tensor:
        """The function at a signal of layout (..., T, N, M)."""
        return self.function(x.flatten(-3, -2), *self.values).view(x.shape)

    def shape(self, shape: Shape, path: str) -> Shape:
        """Found by trying it on zeros and ones; units may change in number."""
        tried = torch.ones(2, shape.samples * shape.positions, shape.units, dtype=torch.float64).cumsum(-1).cumsum(-2)
        found = self.function(tried, *self.values)
        if not isinstance(found, Tensor) or found.shape[:-1] != tried.shape[:-1]:
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise NetworkError(f"step {path}: {self.called} turns signals of shape {tuple(tried.shape)} into {got}")
        return Shape(shape.samples, shape.positions, found.shape[-1])

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:  # noqa: ARG002
        """Derivatives by torch.func."""

        def value(flat: Tensor) -> Tensor:
            return self.function(flat.flatten(1, 2), *self.values).view(*flat.shape[:3], -1)

        out, back, *_ = torch.func.vjp(value, x)

        def pull(rows: Rows, visit: Visit) -> Rows:  # noqa: ARG001
            rows = rows.over_samples(x.shape[1]) if self.couples else rows
            values = rows.values.expand(-1, -1, x.shape[1], -1, -1).contiguous()
            (found,) = torch.func.vmap(back, in_dims=1, out_dims=1)(values)
            return rows.with_values(found)

        def push(tangent: Tensor, moved: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG001
            return torch.func.vmap(lambda v: torch.func.jvp(value, (x,), (v,))[1], in_dims=1, out_dims=1)(tangent)

        return Trace(out, pull, push)

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:  # noqa: ARG002
        """The function, one network at a time."""
        return self.function(x.flatten(-3, -2), *self.values).view(*x.shape[:-1], -1)


@dataclass(frozen=True)
class Definition:
    """What a user adds: a function, the names and defaults of its parameters, whether it couples samples."""

    name: str
    function: Callable[..., Tensor]
    defaults: Mapping[str, float]
    couples: bool

    def __call__(self, x: Tensor, gamma: float, beta: float) -> Tensor:
        """The value with a scale and a shift for those of its parameters that have these names."""
        return self.function(x, **self.with_shared(gamma, beta))

    def with_shared(self, gamma: float, beta: float, **given: float) -> dict[str, float]:
        """Values of its parameters: given ones, the network's scale and shift, its own defaults."""
        shared = {n: v for n, v in (("gamma", gamma), ("beta", beta)) if n in self.defaults}
        return {**self.defaults, **shared, **given}

    def step(self, values: Mapping[str, Any]) -> Defined:
        """The step with numbers for its parameters."""
        return Defined(self.name, self.function, tuple(values[n] for n in self.defaults), self.couples)


DEFINED: dict[str, Definition] = {}

PROBE = (2, 6, 16)
"""Networks, samples and units of the signals that a definition is tried on."""


def add_step(name: str, function: Callable[..., Tensor]) -> None:
    """Add a step under a new name by its torch function of the signal (..., samples, units) and of its parameters.

    Parameters are numbers; those named gamma and beta get the network's where a description does not give them, others
    need a default. The function is tried on random signals: whether it couples samples is found so.

    >>> numerics.add_step("halved", lambda z, gamma, beta: z)
    """
    from fimcheck.numerics.activations import FUNCTIONS
    from fimcheck.numerics.steps.step import STEPS

    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"step name {name!r}: it must be one word, since descriptions name it; use letters")
    if name in (*STEPS, *DEFINED, *FUNCTIONS):
        raise ValueError(f"step {name!r} exists already; choose another name")
    try:
        _, *rest = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise ValueError(
            f"step {name!r}: its definition {function!r} is not a function of a signal; give one"
        ) from None
    plain = {"gamma": 1.0, "beta": 0.0}
    defaults = {p.name: plain.get(p.name, 0.0) if p.default is p.empty else p.default for p in rest}
    missing = [p.name for p in rest if p.default is p.empty and p.name not in plain]
    if missing:
        raise ValueError(f"step {name!r}: its parameter {missing[0]} needs a default; write {missing[0]}=1.0")
    DEFINED[name] = Definition(name, function, defaults, _couples(name, function, defaults))


def _couples(name: str, function: Callable[..., Tensor], defaults: Mapping[str, float]) -> bool:
    """Whether changing one sample changes what becomes of the others."""
    generator = torch.Generator().manual_seed(0)
    x, other = (torch.randn(PROBE, dtype=torch.float64, generator=generator) for _ in range(2))
    changed = x.clone()
    changed[:, 0] = other[:, 0]
    one, two = (function(point.clone(), **defaults) for point in (x, changed))
    if not isinstance(one, Tensor) or one.shape[:-1] != x.shape[:-1]:
        got = tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__
        raise ValueError(f"step {name!r} turns signals of shape {PROBE} into {got}; keep networks and samples")
    check_derivative(f"step {name!r}", lambda x: function(x, **defaults), x)
    return not torch.allclose(one[:, 1:], two[:, 1:], rtol=1e-9, atol=1e-9, equal_nan=True)
