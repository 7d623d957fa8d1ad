"""A finite random network made of steps, from its description."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from fimcheck.numerics.activations import FUNCTIONS
from fimcheck.numerics.network import Network, check_outputs
from fimcheck.numerics.steps.attention import Attention
from fimcheck.numerics.steps.combine import Chain
from fimcheck.numerics.steps.elementwise import DEFINED, Elementwise
from fimcheck.numerics.steps.step import STEPS, NetworkError, Shape, Step, parameters_of
from fimcheck.numerics.steps.weights import Dense

Node = tuple[str, Mapping[str, Any], Sequence[Any]]
SHORT = {"sw2": "sigma_w2", "sb2": "sigma_b2", "weights": "weights_"}
INTEGERS = ("taps", "groups")
SHARED = ("sigma_w2", "sigma_b2", "gamma", "beta", "biases", "affine")
"""Parameters that steps take from the network where their description does not give them."""


@dataclass(frozen=True)
class Composition(Network):
    """A network of the steps of a description, at one width.

    description: nested (name, parameters, branches), the last node the dense step of the outputs. width: M; a dense
    step has round(ratio * M) units, ratio its parameter ``width``. inputs: M_0, units of the inputs. outputs: C.
    positions: N, of every sample. last: none, mean, batch, layer, softmax (metric), or an added normalization of the
    outputs. sigma_w2, sigma_b2, gamma, beta: for steps that are described without their own; last_gamma: scale of the
    last normalization. biases, affine: whether biases, and one scale and one shift per normalized unit, are among the
    parameters of the Fisher matrix.

    >>> nodes = (("dense", {}, ()), ("relu", {}, ()), ("dense", {}, ()))
    >>> numerics.Composition(nodes, 16, 8, 1).parameters
    161
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
    affine: bool = False

    def __post_init__(self) -> None:
        for name in ("width", "inputs", "outputs", "positions"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise NetworkError(f"{name} = {value!r}: it must be a whole number of at least 1")
        check_outputs(self.outputs, self.last)
        if self.steps.shape(self.start(4), "").positions != 1:
            raise NetworkError("the outputs still have positions; put pool before the last dense step")

    def _steps(self) -> Chain:
        if not self.description or self.description[-1][0] not in ("dense",):
            raise NetworkError("a network ends in a dense step, whose units are its outputs; add dense at the end")
        *nodes, (name, given, branches) = self.description
        below, at = self._chain(nodes, self.start(4), "")
        own = {**given, "width": None}
        return Chain((*below.steps, self._step((name, own, branches), at, str(len(self.description)))))

    def _chain(self, nodes: Sequence[Node], shape: Shape, path: str) -> tuple[Chain, Shape]:
        """Steps one after the other, and the shape of their value; the signal's shape is followed for its units."""
        steps: list[Step] = []
        for number, node in enumerate(nodes, 1):
            here = f"{path}{number}"
            steps.append(self._step(node, shape, here))
            shape = steps[-1].shape(shape, here)
        return Chain(tuple(steps)), shape

    def _step(self, node: Node, shape: Shape, path: str) -> Step:
        name, given, branches = node
        if name in FUNCTIONS and name not in STEPS:
            if given or branches:
                raise NetworkError(f"step {path}: the activation {name} takes no parameters and no branches")
            return Elementwise(name)
        if name in DEFINED:
            return self._defined(name, given, path)
        if name not in STEPS:
            known = ", ".join((*STEPS, *DEFINED, *FUNCTIONS))
            raise NetworkError(f"step {path}: {name!r} is not a step; known are {known}")
        kind = STEPS[name]
        own = parameters_of(kind)
        places = [n for n in own if own[n].type == "Chain"]
        values: dict[str, Any] = {}
        for key, value in given.items():
            full = SHORT.get(key, key)
            if full == "width" and issubclass(kind, Dense):
                values["units"] = self.outputs if value is None else self._units(value, path)
            elif full in own and full not in ("units", "biases", "affine", *places):
                values[full] = value if isinstance(value, str) else int(value) if full in INTEGERS else float(value)
            else:
                raise NetworkError(f"step {path}: {name} has no parameter {key!r}")
        shared = {n: getattr(self, n) for n in SHARED if n in own}
        if issubclass(kind, Attention):
            shared["units"] = shape.units
        elif issubclass(kind, Dense):
            shared["units"] = self.width
        if name == "rms":
            shared.pop("beta")
        if len(branches) != len(places):
            raise NetworkError(f"step {path}: {name} takes {len(places)} branches, got {len(branches)}")
        inner = {p: self._chain(b, shape, f"{path}.{p}.")[0] for p, b in zip(places, branches, strict=True)}
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
