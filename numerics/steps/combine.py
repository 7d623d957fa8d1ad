"""Steps made of steps: chain, skip, gate; and the mean over positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from numerics.steps.step import NetworkError, Rows, Shape, Step, Trace, Visit, added, register


@dataclass(frozen=True)
class Chain(Step):
    """One step after the other."""

    steps: tuple[Step, ...]

    name: ClassVar[str] = "chain"

    @property
    def branches(self) -> Mapping[str, Step]:
        """The steps by their number, from 1."""
        return {str(i): step for i, step in enumerate(self.steps, 1)}

    def walk(self, path: str = "") -> Iterator[tuple[str, Step]]:
        """All steps; a chain is none itself."""
        for place, inner in self.branches.items():
            yield from inner.walk(f"{path}.{place}" if path else place)

    def located(self, path: str) -> Iterator[tuple[str, Step]]:
        """The steps with their paths."""
        for place, step in self.branches.items():
            yield f"{path}.{place}" if path else place, step

    def shapes(self, shape: Shape, path: str) -> Iterator[tuple[Step, Shape, str]]:
        """Every step with the shape of its signal."""
        for here, step in self.located(path):
            yield step, shape, here
            shape = step.shape(shape, here)

    def shape(self, shape: Shape, path: str) -> Shape:
        """Through all steps."""
        for here, step in self.located(path):
            shape = step.shape(shape, here)
        return shape

    def draws(self, shape: Shape, path: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Those of the steps in order."""
        for step, at, here in self.shapes(shape, path):
            yield from step.draws(at, here)

    def weights(self, shape: Shape) -> int:
        """All weights."""
        return sum(step.weights(at) for step, at, _ in self.shapes(shape, ""))

    def forward_operations(self, shape: Shape) -> int:
        """Of all steps."""
        return sum(step.forward_operations(at) for step, at, _ in self.shapes(shape, ""))

    def gram_operations(self, shape: Shape, rows: int, spread: bool, back: bool = True) -> int:
        """Of all steps, from the last one back; one that couples samples spreads the rows."""
        found, last = 0, len(self.steps) - 1
        for number, (step, at, _) in reversed(list(enumerate(self.shapes(shape, "")))):
            found += step.gram_operations(at, rows, spread, back or 0 < number <= last)
            if not spread and any(inner.couples_samples for _, inner in step.walk("x")):
                rows, spread = rows * shape.samples, True
        return found

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:
        """Values forward, derivatives backward."""
        traces: list[Trace] = []
        for here, step in self.located(path):
            traces.append(step.at(x, drawn, here))
            x = traces[-1].value

        def pull(rows: Rows, visit: Visit) -> Rows:
            for trace in reversed(traces[1:]):
                rows = trace.pull(rows, visit)
            if path == "" and traces[0].report is not None:  # below it are the inputs
                traces[0].report(rows, visit)
                return rows
            return traces[0].pull(rows, visit)

        def push(tangent: Tensor, moved: Mapping[str, Tensor]) -> Tensor:
            for trace in traces:
                tangent = trace.push(tangent, moved)
            return tangent

        return Trace(x, pull, push, {k: v for t, (here, _) in zip(traces, self.located(path), strict=True)
                                     for k, v in {**t.inside, here: t.value}.items()})  # fmt: skip

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:
        """Each on what the one before gives."""
        for here, step in self.located(path):
            x = step.slow(x, given, here)
        return x


@register
@dataclass(frozen=True)
class Skip(Step):
    """x -> b x + a B(x)."""

    name: ClassVar[str] = "skip"

    branch: Chain
    a: float = 1.0
    b: float = 1.0

    @property
    def branches(self) -> Mapping[str, Step]:
        """The branch."""
        return {"branch": self.branch}

    def shape(self, shape: Shape, path: str) -> Shape:
        """Kept; refuses a branch that ends in another shape."""
        own = self.branch.shape(shape, f"{path}.branch")
        if own != shape:
            raise NetworkError(
                f"step {path}: the stream has {_words(shape)} and the branch ends with {_words(own)}: they "
                "do not meet. Make them equal."
            )
        return shape

    def draws(self, shape: Shape, path: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Those of the branch."""
        return self.branch.draws(shape, f"{path}.branch")

    def weights(self, shape: Shape) -> int:
        """Those of the branch."""
        return self.branch.weights(shape)

    def forward_operations(self, shape: Shape) -> int:
        """Those of the branch."""
        return self.branch.forward_operations(shape)

    def gram_operations(self, shape: Shape, rows: int, spread: bool, back: bool = True) -> int:  # noqa: ARG002
        """Those of the branch."""
        return self.branch.gram_operations(shape, rows, spread)

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:
        """Stream and branch add, forward and backward."""
        own = self.branch.at(x, drawn, f"{path}.branch")

        def pull(rows: Rows, visit: Visit) -> Rows:
            back = own.pull(rows.with_values(self.a * rows.values), visit)
            return added(rows.with_values(self.b * rows.values), back)

        def push(tangent: Tensor, moved: Mapping[str, Tensor]) -> Tensor:
            return self.b * tangent + self.a * own.push(tangent, moved)

        return Trace(self.b * x + self.a * own.value, pull, push, own.inside)

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:
        """The sum."""
        return self.a * self.branch.slow(x, given, f"{path}.branch") + self.b * x


@register
@dataclass(frozen=True)
class Gate(Step):
    """A(x) * B(x), unit by unit."""

    name: ClassVar[str] = "gate"

    first: Chain
    second: Chain

    @property
    def branches(self) -> Mapping[str, Step]:
        """Both branches."""
        return {"first": self.first, "second": self.second}

    def shape(self, shape: Shape, path: str) -> Shape:
        """That of both branches; refuses unequal ones."""
        one, two = (branch.shape(shape, f"{path}.{place}") for place, branch in self._both())
        if one != two:
            raise NetworkError(f"step {path}: a gate of {_words(one)} and {_words(two)}: make them equal")
        return one

    def _both(self) -> tuple[tuple[str, Chain], tuple[str, Chain]]:
        return ("first", self.first), ("second", self.second)

    def draws(self, shape: Shape, path: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Those of both branches."""
        for place, branch in self._both():
            yield from branch.draws(shape, f"{path}.{place}")

    def weights(self, shape: Shape) -> int:
        """Those of both branches."""
        return self.first.weights(shape) + self.second.weights(shape)

    def forward_operations(self, shape: Shape) -> int:
        """Those of both branches."""
        return self.first.forward_operations(shape) + self.second.forward_operations(shape)

    def gram_operations(self, shape: Shape, rows: int, spread: bool, back: bool = True) -> int:  # noqa: ARG002
        """Those of both branches."""
        return sum(branch.gram_operations(shape, rows, spread) for _, branch in self._both())

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:
        """The product rule."""
        one, two = (branch.at(x, drawn, f"{path}.{place}") for place, branch in self._both())
        A, B = one.value.unsqueeze(1), two.value.unsqueeze(1)

        def pull(rows: Rows, visit: Visit) -> Rows:
            first = one.pull(rows.with_values(rows.values * B), visit)
            return added(first, two.pull(rows.with_values(rows.values * A), visit))

        def push(tangent: Tensor, moved: Mapping[str, Tensor]) -> Tensor:
            return one.push(tangent, moved) * B + A * two.push(tangent, moved)

        return Trace(one.value * two.value, pull, push, {**one.inside, **two.inside})

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:
        """The product."""
        one, two = (branch.slow(x, given, f"{path}.{place}") for place, branch in self._both())
        return one * two


@register
@dataclass(frozen=True)
class Pool(Step):
    """The mean over the positions of every sample; one position is left."""

    name: ClassVar[str] = "pool"

    def shape(self, shape: Shape, path: str) -> Shape:
        """One position."""
        if shape.positions < 2:
            raise NetworkError(f"step {path}: pool over one position; give the network positions, or leave pool out")
        return Shape(shape.samples, 1, shape.units)

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:  # noqa: ARG002
        """The mean, and its transpose."""
        N = x.shape[-2]

        def pull(rows: Rows, visit: Visit) -> Rows:  # noqa: ARG001
            return rows.with_values((rows.values / N).expand(*rows.values.shape[:3], N, -1))

        def push(tangent: Tensor, moved: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG001
            return tangent.mean(-2, keepdim=True)

        return Trace(x.mean(-2, keepdim=True), pull, push)

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:  # noqa: ARG002
        """The mean."""
        return torch.mean(x, dim=-2, keepdim=True)


def _words(shape: Shape) -> str:
    return f"{shape.units} units at {shape.positions} positions"
