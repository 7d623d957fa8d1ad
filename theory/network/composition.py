"""A network as a composition of steps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import sympy as sp

from fimcheck.theory import symbols
from fimcheck.theory.network import outputs
from fimcheck.theory.network.combine import Chain
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.elementwise import Phi
from fimcheck.theory.network.inputs import GivenInputs
from fimcheck.theory.network.names import Placeholders, placeholder_settle
from fimcheck.theory.network.state import Expectations, State, input_state
from fimcheck.theory.network.step import CompositionError, Run, Step
from fimcheck.theory.symbols import Expr, free_symbols


class Composed:
    """What every network can do, from its steps alone; see `Network` for what it consists of."""

    steps: Chain
    last: str
    last_gamma: Expr
    input_width: Expr
    positions: Expr
    inputs: GivenInputs | None

    def check(self) -> None:
        """Refuse steps that do not fit together."""
        outputs.output(self.last)  # refuses an unknown name
        top = self.steps.steps[-1] if self.steps.steps else None
        if not isinstance(top, Dense) or top.width != 0:
            raise CompositionError(
                "a network ends in a dense step, whose units are the C outputs: Dense(width=0). Add one at the end."
            )
        run, end = self._structure
        if end.K.mate is not None:
            raise CompositionError(
                "the outputs still have positions: the theory states one output per sample and class. Put pool before "
                "the last dense step."
            )
        if len(run.scales) > 1:
            raise CompositionError(
                "param: some dense steps are standard and some ntk, whose gradients differ by a factor M. Use one "
                "for all."
            )
        if self.inputs is not None and self.positions != 1:
            raise CompositionError("inputs: given inputs have no positions here. Draw them at random, or use none.")

    @cached_property
    def _structure(self) -> tuple[Run, State]:
        """A run with placeholders for every average, which refuses steps that do not fit together."""
        return self.run(Placeholders(), symbols.T, apart=False, settle=placeholder_settle)

    @property
    def output(self) -> outputs.Output:
        """What is done to the outputs."""
        return outputs.output(self.last)

    def run(
        self,
        expect: Expectations,
        samples: Any,
        apart: bool = True,
        settle: Callable[[str, State], State] = lambda _, state: state,
        number: Callable[[Expr], Any] = lambda value: value,
    ) -> tuple[Run, State]:
        """Through all steps: the run with what it kept, and the state of the outputs.

        expect, samples: where averages come from, and T. apart, settle: see `Run`. number: the value of a parameter.
        """
        if self.inputs is not None and self.couples_samples:
            raise CompositionError(
                "batch normalization mixes the samples of given inputs, which differ: no order parameter describes "
                "their statistics. Use inputs drawn at random, or another normalization."
            )
        run = Run(expect, samples, apart=apart, settle=settle)
        given = None if self.inputs is None else self.inputs.kernel
        start = run.states[""] = input_state(number(self.input_width), number(self.positions), given, expect.one)
        return run, self.steps.bound(number).apply(start, run, "")

    @cached_property
    def all_steps(self) -> dict[str, Step]:
        """Every step by its path, in the order of computation."""
        return dict(self.steps.walk())

    @property
    def couples_samples(self) -> bool:
        """Whether a step mixes samples."""
        return any(step.couples_samples for _, step in self.steps.walk())

    def depends_on_samples(self, samples: str) -> bool:
        """Whether the order parameters depend on T: for T fixed, where a step mixes samples."""
        return samples == "fixed" and self.couples_samples

    @property
    def fewest_samples(self) -> int:
        """The smallest T that the steps are stated for, T fixed."""
        places = max((step.fewest_places for _, step in self.steps.walk()), default=2)
        return max(2, -(-places // int(self.positions)) if self.positions.is_number else places)

    @property
    def alpha(self) -> Expr:
        """The network has P ~ alpha M^2 parameters."""
        return sp.sympify(self._structure[0].count)

    @property
    def power(self) -> int:
        """How many powers of M the eigenvalues carry: 1, or 0 in the NTK parametrization."""
        return 0 if self._structure[0].scales == {"ntk"} else 1

    @property
    def parameters(self) -> dict[str, Expr]:
        """Every parameter of its steps, by the path of the step and its name, and those of the inputs."""
        found = {f"{path}.{name}": v for path, step in self.steps.walk() for name, v in step.parameters.items()}
        return found | {"input_width": self.input_width, "positions": self.positions}

    @property
    def open_symbols(self) -> set[sp.Symbol]:
        """Symbols among the parameters."""
        return free_symbols(self.parameters.values())

    def with_steps(self, steps: Chain) -> "Network":
        """A network of other steps on the same inputs."""
        return Network(steps, self.last, self.last_gamma, self.input_width, self.positions, self.inputs)

    def altered(self, slip: str) -> "Network | None":
        """The network with the same slip in every step that can make it, None where none can; see `Step.wrong`."""

        def change(step: Step) -> Step:
            return next((wrong for name, _, wrong in step.wrong() if name == slip), step)

        steps = self.steps.changed(change)
        assert isinstance(steps, Chain)
        return None if steps == self.steps else self.with_steps(steps)

    def normalized_after(self) -> "Network | None":
        """The network with every normalization right before an activation after it instead, if there is one."""
        steps = list(self.steps.steps)
        for i, (one, two) in enumerate(pairwise(self.steps.steps)):
            if one.normalizes and isinstance(two, Phi):
                steps[i], steps[i + 1] = two, one
        return None if tuple(steps) == self.steps.steps else self.with_steps(Chain(tuple(steps)))

    @property
    def slips(self) -> dict[str, str]:
        """Short name and words of every slip that a step of this network can make."""
        return {name: words for _, step in self.steps.walk() for name, words, _ in step.wrong()}


@dataclass(frozen=True)
class Network(Composed):
    """A wide network: steps from the inputs to C outputs, and what is done to these.

    steps: the last one a dense step of width 0 (C units, C/M -> 0). last: normalization or metric of the outputs, a
    name of `outputs.names()`. last_gamma: its scale. input_width: alpha_0 = M_0/M. positions: number N of positions of
    a sample. inputs: given inputs, independent N(0, 1) ones if None. text: how it was described, for people.
    """

    steps: Chain
    last: str = "none"
    last_gamma: Expr = symbols.last_gamma
    input_width: Any = sp.S.One
    positions: Any = sp.S.One
    inputs: GivenInputs | None = None
    text: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        self.check()
