"""Steps made of steps: chain, skip, gate; and the mean over positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fimcheck.numerics.steps.step import NetworkError, Rows, Shape, Signals, Step, Trace, Visit, added, register, times


@dataclass(frozen=True)
class Chain(Step):
    """One step after the other."""

    steps: tuple[Step, ...]

    name: ClassVar[str] = "chain"

    def located(self, path: str) -> Iterator[tuple[str, Step]]:
        """The steps with their paths: numbers, from 1."""
        for number, step in enumerate(self.steps, 1):
            yield f"{path}.{number}" if path else str(number), step

    def inner(self, shape: Shape, path: str) -> Iterator[tuple[Step, Shape, str]]:
        """Every step."""
        for here, step in self.located(path):
            yield step, shape, here
            shape = step.shape(shape, here)

    def shape(self, shape: Shape, path: str) -> Shape:
        """Through all steps."""
        for here, step in self.located(path):
            shape = step.shape(shape, here)
        return shape

    def gram_operations(self, shape: Shape, above: Signals, back: bool = True) -> tuple[int, Signals]:
        """Of all steps, from the last one back."""
        found = 0
        for number, (step, at, _) in reversed(list(enumerate(self.inner(shape, "")))):
            own, above = step.gram_operations(at, above, back or number > 0)
            found += own
        return found, above

    def product_operations(self, shape: Shape, back: bool = True) -> int:
        """Of all steps; nothing is taken on to the inputs of the network."""
        steps = enumerate(self.inner(shape, ""))
        return sum(step.product_operations(at, back or number > 0) for number, (step, at, _) in steps)

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
            below_are_the_inputs = path == "" and traces[0].report is not None
            tangent = moved["1"] if below_are_the_inputs else traces[0].push(tangent, moved)
            for trace in traces[1:]:
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

    def inner(self, shape: Shape, path: str) -> Iterator[tuple[Step, Shape, str]]:
        """The branch."""
        yield self.branch, shape, f"{path}.branch"

    def shape(self, shape: Shape, path: str) -> Shape:
        """Kept; refuses a branch that ends in another shape."""
        own = self.branch.shape(shape, f"{path}.branch")
        if own != shape:
            raise NetworkError(
                f"step {path}: the stream has {_words(shape)} and the branch ends with {_words(own)}: they "
                "do not meet. Make them equal."
            )
        return shape

    def gram_operations(self, shape: Shape, above: Signals, back: bool = True) -> tuple[int, Signals]:  # noqa: ARG002
        """Of the branch; below, the signals of stream and branch are added."""
        return self.branch.gram_operations(shape, above)

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:
        """Stream and branch add, forward and backward."""
        own = self.branch.at(x, drawn, f"{path}.branch")

        def pull(rows: Rows, visit: Visit) -> Rows:
            back = own.pull(rows.with_values(times(self.a, rows.values)), visit)
            return added(rows.with_values(times(self.b, rows.values)), back)

        def push(tangent: Tensor, moved: Mapping[str, Tensor]) -> Tensor:
            return times(self.b, tangent) + times(self.a, own.push(tangent, moved))

        return Trace(times(self.b, x) + times(self.a, own.value), pull, push, own.inside)

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

    def inner(self, shape: Shape, path: str) -> Iterator[tuple[Step, Shape, str]]:
        """Both branches."""
        return ((branch, shape, f"{path}.{place}") for place, branch in self._both())

    def shape(self, shape: Shape, path: str) -> Shape:
        """That of both branches; refuses unequal ones."""
        one, two = (branch.shape(shape, f"{path}.{place}") for place, branch in self._both())
        if one != two:
            raise NetworkError(f"step {path}: a gate of {_words(one)} and {_words(two)}: make them equal")
        return one

    def _both(self) -> tuple[tuple[str, Chain], tuple[str, Chain]]:
        return ("first", self.first), ("second", self.second)

    def gram_operations(self, shape: Shape, above: Signals, back: bool = True) -> tuple[int, Signals]:  # noqa: ARG002
        """Of both branches."""
        met = Signals(above.rows, above.spread)
        (one, first), (two, second) = (branch.gram_operations(shape, met) for _, branch in self._both())
        return one + two, first if first.spread else second

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

    def gram_operations(self, shape: Shape, above: Signals, back: bool = True) -> tuple[int, Signals]:  # noqa: ARG002
        """No products."""
        return 0, above

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
