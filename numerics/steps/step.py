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
    alike: bool = False
    """Whether they are the same at every sample, stored once: (S, R, 1, N, M), as next to the outputs."""

    def over_samples(self, samples: int) -> Rows:
        """The same, every row at all samples."""
        if self.spread:
            return self
        seeds, classes, _, positions, units = self.values.shape
        full = self.values.new_zeros(seeds, classes, samples, samples, positions, units)
        t = torch.arange(samples, device=full.device)
        full[:, :, t, t] = self.values.expand(-1, -1, samples, -1, -1)
        return Rows(full.flatten(1, 2), True)

    def with_values(self, values: Tensor) -> Rows:
        """Other values in the same layout; they may differ between samples."""
        return Rows(values, self.spread, self.alike and values.shape[2] == 1)


@dataclass(frozen=True)
class Signals:
    """How many backward signals there are and their layout, as in `Rows`: what their cost depends on."""

    rows: int
    spread: bool = False
    alike: bool = False


def added(one: Rows, two: Rows) -> Rows:
    """The sum; spread if one of them is."""
    if one.spread != two.spread:
        samples = max(one.values.shape[2], two.values.shape[2])
        one, two = one.over_samples(samples), two.over_samples(samples)
    return one.with_values(one.values + two.values)


@dataclass(frozen=True)
class Meeting:
    """Parameters met on the way back: the path of their step, its inputs (S, T, N, fan-in) and the backward signals at
    its outputs.

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
    What it draws, holds and costs is that of the steps inside it, unless it says otherwise.
    """

    name: ClassVar[str] = ""
    couples_samples: ClassVar[bool] = False

    def inner(self, shape: Shape, path: str) -> Iterator[tuple[Step, Shape, str]]:  # noqa: ARG002
        """The steps inside it, each with the shape of its signal and its path."""
        return iter(())

    def shape(self, shape: Shape, path: str) -> Shape:  # noqa: ARG002
        """Shape of its value; a NetworkError where the signal does not fit."""
        return shape

    def draws(self, shape: Shape, path: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Standard normal numbers it needs: a name and a shape each."""
        for step, at, here in self.inner(shape, path):
            yield from step.draws(at, here)

    def weights(self, shape: Shape) -> int:
        """How many parameters it has."""
        return sum(step.weights(at) for step, at, _ in self.inner(shape, ""))

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:
        """Its value at a signal, with the derivative."""
        raise NotImplementedError

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:
        """The value once more, from torch's own functions; ``given`` holds trainable parameters and the rest."""
        raise NotImplementedError

    def forward_operations(self, shape: Shape) -> int:
        """Multiplications and additions of the matrix products of its value."""
        return sum(step.forward_operations(at) for step, at, _ in self.inner(shape, ""))

    def gram_operations(self, shape: Shape, above: Signals, back: bool = True) -> tuple[int, Signals]:  # noqa: ARG002
        """The same of its share of the dual matrix, for backward signals ``above`` it, and the signals below it.

        back: whether they are taken there.
        """
        if self.couples_samples and not above.spread:
            return 0, Signals(above.rows * shape.samples, True)
        return 0, Signals(above.rows, above.spread)

    def product_operations(self, shape: Shape, back: bool = True) -> int:  # noqa: ARG002
        """The same of one product of the dual matrix with a vector, without the matrix."""
        return sum(step.product_operations(at) for step, at, _ in self.inner(shape, ""))

    def leaves(self, shape: Shape, path: str) -> Iterator[tuple[str, Step, Shape]]:
        """The steps inside it that hold no others, in the order of computation; itself if it is one."""
        inner = list(self.inner(shape, path))
        for step, at, here in inner:
            yield from step.leaves(at, here)
        if not inner:
            yield path, self, shape


def times(factor: float, signal: Tensor) -> Tensor:
    """The product, without a pass over the signal where the factor is 1."""
    return signal if factor == 1 else factor * signal


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
