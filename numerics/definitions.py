"""Normalizations that are added by name: any differentiable torch function of the signals, differentiated by autograd.

A hidden step maps z = W h + b, layout (..., samples, units), to what phi sees: ``f(z, gamma, beta)``. With a
fourth parameter named ``before`` it is also given what phi saw one layer below (None in the first layer), so that
a residual branch z + gamma * before can be written. A step at the output maps the raw outputs, layout
(..., samples, outputs): ``f(outputs, gamma)``.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

Step = Callable[..., Tensor]

PROBE = (2, 6, 16)
"""Seeds, samples and units of the signals that a definition is tried on."""


class Pullback:
    """The value of a step at one point, and v -> v J there."""

    def __init__(self, step: Step, *points: Tensor) -> None:
        self.value, self._pull = cast(tuple[Tensor, Step], torch.func.vjp(step, *points))

    def __call__(self, signal: Tensor) -> tuple[Tensor, Tensor | None]:
        """v J for a signal (S,R,...) of R rows at a point (S,...): with respect to z, and to ``before`` if given."""
        found = torch.func.vmap(self._pull, in_dims=1, out_dims=1)(signal.contiguous())
        return found[0], found[1] if len(found) > 1 else None


@dataclass(frozen=True)
class Definition:
    """A hidden step under its name. before: whether it takes the layer below. couples: whether a sample's result
    depends on other samples, found by trying it.
    """

    name: str
    function: Step
    before: bool
    couples: bool

    def __call__(self, z: Tensor, gamma: float, beta: float, before: Tensor | None) -> Tensor:
        """What phi sees."""
        if self.before:
            return self.function(z, gamma, beta, before=before)
        return self.function(z, gamma, beta)

    def at(self, z: Tensor, gamma: float, beta: float, before: Tensor | None) -> Pullback:
        """The step at one point, with its derivative; ``before`` None in the first layer."""
        if self.before and before is not None:
            return Pullback(lambda own, below: self(own, gamma, beta, below), z, before)
        return Pullback(lambda own: self(own, gamma, beta, None), z)


@dataclass(frozen=True)
class OutputDefinition:
    """A step at the output under its name."""

    name: str
    function: Step

    def __call__(self, outputs: Tensor, gamma: float) -> Tensor:
        """The normalized outputs."""
        return self.function(outputs, gamma)

    def jacobian(self, outputs: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
        """The normalized outputs and their derivative by the raw ones, (S, C*T, C*T), rows and columns k*T + t."""
        seeds, samples, count = outputs.shape
        step = Pullback(lambda raw: self(raw, gamma), outputs)
        rows = torch.eye(count * samples, dtype=outputs.dtype, device=outputs.device)
        signal = rows.view(-1, count, samples).mT.expand(seeds, -1, -1, -1)
        return step.value, step(signal)[0].mT.flatten(2)


HIDDEN: dict[str, Definition] = {}
OUTPUT: dict[str, OutputDefinition] = {}


def add_normalization(name: str, function: Step) -> None:
    """Add a normalization (or any other step before phi) of the hidden layers under a new name.

    function: see the head of this module; it is tried on signals of 2 seeds, 6 samples and 16 units.
    """
    _check(name, function, ("none", "layer", "batch", *HIDDEN), 3)
    before = "before" in inspect.signature(function).parameters
    HIDDEN[name] = Definition(name, function, before, _couples(Definition(name, function, before, False)))


def add_output_normalization(name: str, function: Step) -> None:
    """Add a normalization of the outputs under a new name; function: see the head of this module."""
    _check(name, function, ("none", "mean", "batch", "layer", *OUTPUT), 2)
    OUTPUT[name] = OutputDefinition(name, function)


def _check(name: str, function: Step, taken: tuple[str, ...], arguments: int) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"normalization name {name!r}: it must be one word, since settings name it; use letters")
    if name in taken:
        raise ValueError(f"normalization {name!r} exists already; choose another name than {', '.join(taken)}")
    try:
        parameters = [p for p in inspect.signature(function).parameters if p != "before"]
    except TypeError:
        raise ValueError(f"normalization {name!r}: its definition {function!r} is no function; give one") from None
    if len(parameters) != arguments:
        what = "(z, gamma, beta), with `before` or without" if arguments == 3 else "(outputs, gamma)"
        raise ValueError(f"normalization {name!r}: its definition takes {parameters}; it must take {what}")


def _couples(definition: Definition) -> bool:
    """Whether changing one sample changes what becomes of the others."""
    generator = torch.Generator().manual_seed(0)
    z, before, other = (torch.randn(PROBE, dtype=torch.float64, generator=generator) for _ in range(3))
    changed = z.clone()
    changed[:, 0] = other[:, 0]
    one, two = (definition(point.clone(), 1.25, 0.5, before.clone()) for point in (z, changed))
    if not isinstance(one, Tensor) or one.shape != z.shape:
        got = tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__
        raise ValueError(f"normalization {definition.name!r} turns signals of shape {PROBE} into {got}; keep the shape")
    return not torch.allclose(one[:, 1:], two[:, 1:], rtol=1e-9, atol=1e-9, equal_nan=True)
