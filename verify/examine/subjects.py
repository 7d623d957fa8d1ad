"""What conformance examines: an activation, a step or a normalization as the measurement uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from fimcheck.numerics import outputs as torch_outputs
from fimcheck.numerics.activations import FUNCTIONS, resolve_activation
from fimcheck.numerics.steps.elementwise import DEFINED
from fimcheck.numerics.steps.normalize import Normalization
from fimcheck.numerics.steps.step import STEPS as NUMERIC_STEPS
from fimcheck.numerics.steps.step import Rows, Step

GAMMA, BETA = 1.25, 0.5
HIDDEN_SHAPES = ((3, 6, 16), (2, 9, 48), (4, 64))
OUTPUT_SHAPES = ((3, 6, 6), (2, 5, 12))


@dataclass(frozen=True)
class Subject:
    """What is examined. call: the definition; pull: its v -> v J as the measurement uses it."""

    name: str
    role: str
    shapes: tuple[tuple[int, ...], ...]
    call: Callable[..., Tensor]
    pull: Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]
    signals: int = 1


def subjects(name: str) -> Iterator[Subject]:
    """Everything of this name."""
    if name in FUNCTIONS:
        phi = resolve_activation(name)
        yield Subject(name, "activation", HIDDEN_SHAPES, phi.value, lambda v, at: (v * phi.slope(at[0]),))
    if issubclass(NUMERIC_STEPS.get(name, Step), Normalization):
        yield _normalizing(name)
    if name in DEFINED:
        step = DEFINED[name]

        def call(z: Tensor) -> Tensor:
            return step(z, GAMMA, BETA)

        def pull(v: Tensor, at: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return torch.func.vjp(call, at[0])[1](v)

        yield Subject(name, "step", HIDDEN_SHAPES[:2], call, pull)
    if name in torch_outputs.OUTPUTS and name not in ("none", "softmax"):
        last = torch_outputs.OUTPUTS[name]

        def pull_last(v: Tensor, at: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            _, derivative, jacobian = last.apply(at[0], GAMMA)
            if jacobian is None:
                assert derivative is not None
                return (derivative(v),)
            return ((v.mT.flatten(1).unsqueeze(1) @ jacobian).view(v.mT.shape).mT,)

        def value(f: Tensor) -> Tensor:
            return last(f, GAMMA) if isinstance(last, torch_outputs.Added) else last.apply(f, GAMMA)[0]

        yield Subject(name, "output normalization", OUTPUT_SHAPES, value, pull_last)


def _normalizing(name: str) -> Subject:
    step = cast(Callable[..., Step], NUMERIC_STEPS[name])(gamma=GAMMA, beta=BETA)

    def call(u: Tensor) -> Tensor:
        return step.at(u.unsqueeze(-2), {}, name).value.squeeze(-2)

    def pull(v: Tensor, at: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        rows = Rows(v.unsqueeze(-2).unsqueeze(1), spread=True)
        return (step.at(at[0].unsqueeze(-2), {}, name).pull(rows, lambda _: None).values[:, 0].squeeze(-2),)

    return Subject(name, "hidden normalization", HIDDEN_SHAPES[:2], call, pull)


def signals(subject: Subject, shape: tuple[int, ...], device: str, seed: int = 0) -> tuple[Tensor, ...]:
    """Normal signals that a subject is tried on."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(shape, dtype=torch.float64, generator=generator).to(device) for _ in range(subject.signals)
    )
