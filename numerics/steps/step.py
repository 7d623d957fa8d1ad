"""A step of a finite network: its value at a signal, and the derivative there in both directions.

Signals have the layout (S, T, N, M): networks, samples, positions (N = 1 without), units. Backward signals carry one
axis more, the rows, (S, R, T, N, M). Where nothing couples samples the derivative of an output of sample t stays at
sample t, so R = C rows serve all samples at once: entry (k, t) is the derivative of f_k(t) at its own sample. A step
that couples samples spreads them to R = C T rows, k-major, each at all samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor


class NetworkError(ValueError):
    """A network that cannot be sampled; the message names the step, the value, the rule it breaks and the remedy."""


@dataclass(frozen=True)
class Shape:
    """Positions N and units M of a signal of T samples."""

    samples: int
    positions: int
    units: int


@dataclass(frozen=True)
class Rows:
    """Backward signals: values (S, R, T, N, M), spread over all samples or each at its own."""

    values: Tensor
    spread: bool = False

    def over_samples(self) -> Rows:
        """The same, every row at all samples."""
        if self.spread:
            return self
        seeds, classes, samples, positions, units = self.values.shape
        full = self.values.new_zeros(seeds, classes, samples, samples, positions, units)
        t = torch.arange(samples, device=full.device)
        full[:, :, t, t] = self.values
        return Rows(full.flatten(1, 2), True)

    @property
    def alike(self) -> bool:
        """Whether they are the same at every sample, one stored for all: those of the outputs themselves."""
        return self.values.stride(2) == 0

    def with_values(self, values: Tensor) -> Rows:
        """Other values in the same layout."""
        return Rows(values, self.spread)


def added(one: Rows, two: Rows) -> Rows:
    """The sum; spread if one of them is."""
    if one.spread != two.spread:
        one, two = one.over_samples(), two.over_samples()
    return one.with_values(one.values + two.values)


@dataclass(frozen=True)
class Meeting:
    """A dense step met on the way back: its path, its inputs (S, T, N, fan-in) and the backward signals at its outputs.

    weight, bias: factors on the shares of its weights and biases in the dual matrix.
    """

    path: str
    inputs: Tensor
    rows: Rows
    weight: float
    bias: float


Visit = Callable[[Meeting], None]


@dataclass
class Trace:
    """A step after its value was taken at a signal: the value and what its derivative needs."""

    value: Tensor
    pull: Callable[[Rows, Visit], Rows]
    """Backward signals at the value taken to the signal; every dense step inside is reported."""
    push: Callable[[Tensor, Mapping[str, Tensor]], Tensor]
    """Tangents (S, R, T, N, M) of the signal taken forward; to these every dense step adds what its own weights moved,
    given by path: (S, R, T, N, M) at its outputs."""
    inside: Mapping[str, Tensor] = field(default_factory=dict)
    """Values of the steps inside it by path, in the order of computation."""
    report: Callable[[Rows, Visit], None] | None = None
    """Only the reports of `pull`, for a step right after the inputs, which nothing is taken back to."""


@dataclass(frozen=True)
class Step:
    """One step. Fields are its parameters, branches aside.

    name: the word for it in a description. couples_samples: whether a sample's value depends on the other samples.
    """

    name: ClassVar[str] = ""
    couples_samples: ClassVar[bool] = False

    def shape(self, shape: Shape, path: str) -> Shape:  # noqa: ARG002
        """Shape of its value; a NetworkError where the signal does not fit."""
        return shape

    def draws(self, shape: Shape, path: str) -> Iterator[tuple[str, tuple[int, ...]]]:  # noqa: ARG002
        """Standard normal numbers it needs: a name and a shape each."""
        return iter(())

    def weights(self, shape: Shape) -> int:  # noqa: ARG002
        """How many weights it has, and biases."""
        return 0

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:
        """Its value at a signal, with the derivative."""
        raise NotImplementedError

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:
        """The value once more, from torch's own functions; ``given`` holds trainable parameters and the rest."""
        raise NotImplementedError

    def forward_operations(self, shape: Shape) -> int:  # noqa: ARG002
        """Multiplications and additions of the matrix products of its value."""
        return 0

    def gram_operations(self, shape: Shape, rows: int, spread: bool, back: bool = True) -> int:  # noqa: ARG002
        """The same of its share of the dual matrix, for ``rows`` backward signals, each at its own sample or
        ``spread`` over all; back: whether they are taken on to the signal.
        """
        return 0

    @property
    def branches(self) -> Mapping[str, Step]:
        """Steps inside it by their place in a path."""
        return {}

    def walk(self, path: str = "") -> Iterator[tuple[str, Step]]:
        """This step and all inside it, in the order of computation."""
        for place, inner in self.branches.items():
            yield from inner.walk(f"{path}.{place}" if path else place)
        if path:
            yield path, self


STEPS: dict[str, type[Step]] = {}


Kind = TypeVar("Kind", bound=type[Step])


def register(kind: Kind) -> Kind:
    """Class decorator for the built-in steps."""
    STEPS[kind.name] = kind
    return kind


def linear(value: Tensor, pull: Callable[[Tensor], Tensor], push: Callable[[Tensor], Tensor]) -> Trace:
    """The trace of a step without weights whose derivative acts on every row alike, samples uncoupled."""
    return Trace(value, lambda rows, _: rows.with_values(pull(rows.values)), lambda tangent, _: push(tangent))


def parameters_of(kind: type[Step]) -> dict[str, Any]:
    """Names of its parameters with their fields."""
    return {f.name: f for f in fields(kind)}
