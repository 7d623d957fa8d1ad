"""A finite random network made of steps, from its description."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, cast

from torch import Tensor

from numerics import definitions
from numerics.activations import FUNCTIONS
from numerics.normalizations import LAST_NORMALIZATIONS
from numerics.steps.combine import Chain
from numerics.steps.elementwise import DEFINED, Elementwise
from numerics.steps.step import STEPS, NetworkError, Shape, Step, parameters_of
from numerics.steps.weights import Attention, Dense

Node = tuple[str, Mapping[str, Any], Sequence[Any]]
SHORT = {"sw2": "sigma_w2", "sb2": "sigma_b2", "weights": "weights_"}
INTEGERS = ("taps", "groups")


@dataclass(frozen=True)
class Composition:
    """A network of the steps of a description, at one width.

    description: nested (name, parameters, branches), the last node the dense step of the outputs. width: M; a dense
    step has round(ratio * M) units, ratio its parameter ``width``. inputs: M_0, units of the inputs. outputs: C.
    positions: N, of every sample. last: none, mean, batch, layer, softmax (metric), or an added normalization of the
    outputs. sigma_w2, sigma_b2, gamma, beta: for steps that are described without their own; last_gamma: scale of the
    last normalization. biases: whether these are among the parameters of the Fisher matrix.
    """

    description: tuple[Node, ...]
    width: int
    inputs: int
    outputs: int
    positions: int = 1
    last: str = "none"
    sigma_w2: float = 2.0
    sigma_b2: float = 0.0
    gamma: float = 1.0
    beta: float = 0.0
    last_gamma: float = 1.0
    biases: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "inputs", "outputs", "positions"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise NetworkError(f"{name} = {value!r}: it must be a whole number of at least 1")
        if self.last not in (*LAST_NORMALIZATIONS, "softmax", *definitions.OUTPUT):
            known = ", ".join((*LAST_NORMALIZATIONS, "softmax", *definitions.OUTPUT))
            raise NetworkError(f"last = {self.last!r} is unknown: use one of {known}")
        fewest = {"layer": 3, "softmax": 2}.get(self.last, 1)
        if self.outputs < fewest:
            raise NetworkError(
                f"C = {self.outputs} outputs with last = {self.last!r}: nothing is left; use C >= {fewest}"
            )
        self.shape(4)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickled by its fields alone: steps that a user defined hold functions, which do not travel."""
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    @cached_property
    def steps(self) -> Chain:
        """The steps."""
        if not self.description or self.description[-1][0] not in ("dense",):
            raise NetworkError("a network ends in a dense step, whose units are its outputs; add dense at the end")
        *nodes, (name, given, branches) = self.description
        below = self._chain(nodes, self.inputs, "").steps
        own = {**given, "width": None}
        at = Chain(below).shape(Shape(4, self.positions, self.inputs), "")
        return Chain((*below, self._step((name, own, branches), at.units, str(len(self.description)))))

    def shape(self, samples: int) -> Shape:
        """Shape of the outputs; refuses steps that do not fit."""
        found = self.steps.shape(Shape(samples, self.positions, self.inputs), "")
        if found.positions != 1:
            raise NetworkError("the outputs still have positions; put pool before the last dense step")
        return found

    def start(self, samples: int) -> Shape:
        """Shape of the inputs."""
        return Shape(samples, self.positions, self.inputs)

    def _chain(self, nodes: Sequence[Node], units: int, path: str) -> Chain:
        """Steps one after the other; units of the signal are followed for those that keep them."""
        steps: list[Step] = []
        for number, node in enumerate(nodes, 1):
            here = f"{path}{number}"
            step = self._step(node, units, here)
            units = step.shape(Shape(4, max(self.positions, 64), units), here).units
            steps.append(step)
        return Chain(tuple(steps))

    def _step(self, node: Node, units: int, path: str) -> Step:
        name, given, branches = node
        if name in FUNCTIONS and name not in STEPS:
            if given or branches:
                raise NetworkError(f"step {path}: the activation {name} takes no parameters and no branches")
            return Elementwise(name)
        if name in DEFINED:
            return self._defined(name, given, path)
        if name not in STEPS:
            known = ", ".join((*STEPS, *DEFINED, *FUNCTIONS))
            raise NetworkError(f"step {path}: {name!r} is no step; known are {known}")
        kind = STEPS[name]
        own = parameters_of(kind)
        places = [n for n in own if own[n].type == "Chain"]
        values: dict[str, Any] = {}
        for key, value in given.items():
            full = SHORT.get(key, key)
            if full == "width" and issubclass(kind, Dense):
                values["units"] = self.outputs if value is None else self._units(value, path)
            elif full in own and full not in ("units", "biases", *places):
                values[full] = value if isinstance(value, str) else int(value) if full in INTEGERS else float(value)
            else:
                raise NetworkError(f"step {path}: {name} has no parameter {key!r}")
        shared = {n: getattr(self, n) for n in ("sigma_w2", "sigma_b2", "gamma", "beta", "biases") if n in own}
        if issubclass(kind, Attention):
            shared["units"] = units
        elif issubclass(kind, Dense):
            shared["units"] = self.width
        if name == "rms":
            shared.pop("beta")
        if len(branches) != len(places):
            raise NetworkError(f"step {path}: {name} takes {len(places)} branches, got {len(branches)}")
        inner = {p: self._chain(b, units, f"{path}.{p}.") for p, b in zip(places, branches, strict=True)}
        make = cast(Callable[..., Step], STEPS[name])
        return make(**(shared | values | inner))

    def _units(self, ratio: float, path: str) -> int:
        units = round(ratio * self.width)
        if units < 1 or abs(units - ratio * self.width) > 1e-9:
            raise NetworkError(f"step {path}: width = {ratio} at M = {self.width} is not a whole number of units")
        return units

    def _defined(self, name: str, given: Mapping[str, Any], path: str) -> Step:
        definition = DEFINED[name]
        for key in given:
            if key not in definition.defaults:
                raise NetworkError(f"step {path}: {name} has no parameter {key!r}")
        return definition.step(definition.with_shared(self.gamma, self.beta, **given))

    @property
    def couples_samples(self) -> bool:
        """Whether a derivative of the raw output of one sample reaches other samples."""
        return any(step.couples_samples for _, step in self.steps.walk())

    @property
    def ntk(self) -> bool:
        """Whether its dense steps have the NTK parametrization."""
        return any(dense.param == "ntk" for dense in self.dense.values())

    @cached_property
    def parameters(self) -> int:
        """P, the exact number of parameters of the Fisher matrix."""
        return self.steps.weights(self.start(4))

    def trained(self, numbers: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Weights and biases by name as the steps' `slow` takes them, from normal numbers; masks as they are."""
        for path, dense in self.dense.items():
            weight, bias = dense.scaled(numbers, path)
            if dense.param == "ntk":
                weight, bias = weight / dense.scale(numbers, path), numbers[f"{path}.b"]
            yield f"{path}.W", weight
            yield f"{path}.b", bias
        yield from ((name, value) for name, value in numbers.items() if name.endswith(".mask"))

    @cached_property
    def dense(self) -> dict[str, Dense]:
        """Every dense step by its path, those inside an attention too."""
        found: dict[str, Dense] = {}
        for path, step in self.steps.walk():
            if isinstance(step, Dense):
                found[path] = step
            elif isinstance(step, Attention):
                found |= {f"{path}.{name}": part for name, part in step.parts.items()}
        return found

    def rate(self, name: str) -> float:
        """Factor on the squared gradient of a parameter."""
        return self.dense[name.rpartition(".")[0]].rate

    @property
    def output_definition(self) -> definitions.OutputDefinition | None:
        """The added normalization of the outputs, None under a built-in one."""
        return definitions.OUTPUT.get(self.last)

    def check_samples(self, samples: int) -> None:
        """Raise NetworkError if T is too small."""
        need = 3 if self.last == "batch" else 2
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < need:
            raise NetworkError(f"samples = {samples!r}: T must be a whole number of at least {need}; use T >= {need}")
        self.shape(samples)
