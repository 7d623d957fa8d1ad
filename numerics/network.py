"""A finite network as the engine sees it: steps one after the other, then a normalization of the outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cached_property
from typing import Any, cast

from torch import Tensor

from fimcheck.numerics.outputs import OUTPUTS, Output
from fimcheck.numerics.steps.combine import Chain
from fimcheck.numerics.steps.normalize import Normalization
from fimcheck.numerics.steps.step import NetworkError, Shape
from fimcheck.numerics.steps.weights import Dense


class Network:
    """What is sampled and measured: a `RandomNetwork` or a `Composition`.

    inputs: M_0. outputs: C. positions: N, of every sample. width: M. last: normalization of the outputs, last_gamma
    its scale.
    affine: whether one scale and one shift per normalized unit are among the parameters of the Fisher matrix.
    """

    inputs: int
    outputs: int
    positions: int
    width: int
    last: str
    last_gamma: float
    affine: bool

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickled by its fields alone: what is cached holds functions that do not travel between processes."""
        return type(self), tuple(getattr(self, field.name) for field in fields(cast(Any, self)))

    def _steps(self) -> Chain:
        raise NotImplementedError

    @cached_property
    def steps(self) -> Chain:
        """The steps."""
        return self._steps()

    def start(self, samples: int) -> Shape:
        """Shape of the inputs."""
        return Shape(samples, self.positions, self.inputs)

    def input_shape(self, samples: int) -> tuple[int, ...]:
        """Shape of the inputs of a draw, the seeds aside."""
        return samples, self.positions, self.inputs

    @cached_property
    def couples_samples(self) -> bool:
        """Whether a derivative of the raw output of one sample reaches other samples."""
        return any(step.couples_samples for _, step, _ in self.steps.leaves(self.start(4), ""))

    @cached_property
    def dense(self) -> dict[str, Dense]:
        """Every step with weights by its path, the matrices of an attention too, in the order of computation."""
        return {path: step for path, step, _ in self.steps.leaves(self.start(4), "") if isinstance(step, Dense)}

    @property
    def ntk(self) -> bool:
        """Whether its dense steps have the NTK parametrization."""
        return any(dense.param == "ntk" for dense in self.dense.values())

    @property
    def scaled_outputs(self) -> bool:
        """Whether scale and shift of the outputs are among the parameters."""
        return self.affine and self.output.scaled

    @cached_property
    def parameters(self) -> int:
        """P, the exact number of parameters of the Fisher matrix: weights, biases and affine ones where they are in
        it.
        """
        return self.steps.weights(self.start(4)) + (2 * self.outputs if self.scaled_outputs else 0)

    @property
    def output(self) -> Output:
        """The normalization of the outputs."""
        return OUTPUTS[self.last]

    def trained(self, numbers: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Parameters by name as the steps' `slow` takes them, from the numbers of a draw."""
        for path, step, at in self.steps.leaves(self.start(4), ""):
            if isinstance(step, Dense):
                yield from step.trained(numbers, path)
            elif isinstance(step, Normalization) and step.affine:
                weight = next(iter(numbers.values()))
                yield f"{path}.gamma", weight.new_full((len(weight), at.units), step.gamma)
                yield f"{path}.beta", weight.new_full((len(weight), at.units), step.beta)
        if self.scaled_outputs:
            weight = next(iter(numbers.values()))
            yield "last.gamma", weight.new_full((len(weight), self.outputs), self.last_gamma)
            yield "last.beta", weight.new_zeros(len(weight), self.outputs)

    def free(self, name: str) -> bool:
        """Whether a parameter of this name is in the Fisher matrix: biases may be left out."""
        return not name.endswith(".b") or self.dense[name.removesuffix(".b")].biases

    def rate(self, name: str) -> float:
        """Factor on the squared gradient of a parameter."""
        dense = self.dense.get(name.rpartition(".")[0])
        return 1.0 if dense is None else dense.rate

    def check_samples(self, samples: int) -> None:
        """Raise ``NetworkError`` if ``samples`` (T) is too small for this network's normalizations."""
        need = self.output.fewest_samples
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < need:
            why = "pairs of samples are needed" if need == 2 else f"last = {self.last!r} leaves no direction for fewer"
            raise NetworkError(
                f"samples = {samples!r}: T must be a whole number of at least {need}, {why}; use T >= {need}"
            )
        self.steps.shape(self.start(samples), "")


def check_outputs(outputs: int, last: str) -> None:
    """Refuse an unknown last normalization, and one that leaves nothing of C outputs."""
    if last not in OUTPUTS:
        raise NetworkError(f"last = {last!r} is unknown: use one of {', '.join(OUTPUTS)}")
    fewest = OUTPUTS[last].fewest_outputs
    if outputs < fewest:
        raise NetworkError(
            f"C = {outputs} outputs with last = {last!r}: nothing is left; the Jacobian is zero. Use C >= {fewest}"
        )
