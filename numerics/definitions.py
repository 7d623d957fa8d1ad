"""Normalizations of the outputs that are added by name: any differentiable torch function, differentiated by autograd.

It maps the raw outputs, layout (..., samples, outputs), to what is taken for the network's: ``f(outputs, gamma)``.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Function = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class OutputDefinition:
    """A normalization of the outputs under its name."""

    name: str
    function: Function

    def __call__(self, outputs: Tensor, gamma: float) -> Tensor:
        """The normalized outputs."""
        return self.function(outputs, gamma)

    def jacobian(self, outputs: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
        """The normalized outputs and their derivative by the raw ones, (S, C*T, C*T), rows and columns k*T + t."""
        seeds, samples, count = outputs.shape
        value, pull, *_ = torch.func.vjp(lambda raw: self(raw, gamma), outputs)
        rows = torch.eye(count * samples, dtype=outputs.dtype, device=outputs.device)
        signal = rows.view(-1, count, samples).mT.unsqueeze(1).expand(-1, seeds, -1, -1)
        (found,) = torch.func.vmap(pull)(signal.contiguous())
        return value, found.transpose(0, 1).mT.flatten(2)


OUTPUT: dict[str, OutputDefinition] = {}


def add_output_normalization(name: str, function: Function) -> None:
    """Add a normalization of the outputs under a new name; function: see the head of this module."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"normalization name {name!r}: it must be one word, since settings name it; use letters")
    if name in ("none", "mean", "batch", "layer", "softmax", *OUTPUT):
        raise ValueError(f"normalization {name!r} exists already; choose another name")
    try:
        parameters = list(inspect.signature(function).parameters)
    except TypeError:
        raise ValueError(f"normalization {name!r}: its definition {function!r} is no function; give one") from None
    if len(parameters) != 2:
        raise ValueError(f"normalization {name!r}: its definition takes {parameters}; it must take (outputs, gamma)")
    OUTPUT[name] = OutputDefinition(name, function)
