"""A step of a network: what it does to a wide signal. And one run through the steps of a network."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, TypeVar

import sympy as sp

from fimcheck.theory.gaussian.activations import BUILTIN
from fimcheck.theory.naming import check_new
from fimcheck.theory.network.state import Expectations, Overlaps, Source, State, Value
from fimcheck.theory.symbols import Expr


class CompositionError(ValueError):
    """Steps that do not fit together; the message names the step, the rule it breaks and the remedy."""


@dataclass(frozen=True)
class Step:
    """One step. Its fields that hold expressions are its parameters; ``branches`` are networks inside it.

    A new kind of step subclasses this with `apply`. name: the word for it in a description. added: whether a user added
    it. words: the same in a sentence. rule: what it does to K, the mean and the tangent overlap Th, as a line of text.
    mixes: whether it mixes units by weights of its own. normalizes: whether it sets the scale of the units.
    couples_samples: whether it mixes samples, so that what it does may depend on their number. fewest_places: the
    smallest batch (samples times positions) it is stated for. needs_positions: whether it acts between the positions of
    a sample.
    """

    name: ClassVar[str] = ""
    added: ClassVar[bool] = False
    rule: ClassVar[str] = ""
    mixes: ClassVar[bool] = False
    normalizes: ClassVar[bool] = False
    couples_samples: ClassVar[bool] = False
    fewest_places: ClassVar[int] = 2
    needs_positions: ClassVar[bool] = False

    def apply(self, state: State, run: "Run", path: str) -> State:
        """The signal after the step; path says where in the network it stands."""
        raise NotImplementedError

    @property
    def words(self) -> str:
        """What the step is called in a sentence."""
        return self.name

    @property
    def branches(self) -> Mapping[str, "Step"]:
        """The steps inside it by their place in a path."""
        return {}

    @property
    def parameters(self) -> dict[str, Expr]:
        """Its own parameters by name."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: value for name, value in values if isinstance(value, sp.Expr)}

    def bound(self, number: Callable[[Expr], Value]) -> "Step":
        """The step with numbers for its parameters."""
        return replace(self, **{name: number(value) for name, value in self.parameters.items()})

    def wrong(self) -> Iterator[tuple[str, str, "Step"]]:
        """Slips in the theory of this step: a short name, what is wrong in words, and the step that makes it."""
        return iter(())

    def walk(self, path: str = "") -> Iterator[tuple[str, "Step"]]:
        """This step and all inside it with their paths, in the order of computation."""
        for place, inner in self.branches.items():
            yield from inner.walk(f"{path}.{place}" if path else place)
        if path:
            yield path, self

    def changed(self, change: Callable[["Step"], "Step"]) -> "Step":
        """The step with every step inside it, and then itself, changed."""
        return change(self)


@dataclass
class Run:
    """One run through a network: where averages come from, the number of samples, and what is kept on the way.

    samples: T, or infinity. apart: whether the tangent overlap is kept by source, which gives the backward overlaps of
    every dense step; else in one sum. states: after each step by path, the inputs under "". injected: what each source
    added. count: P/M^2 to leading order. scales: the parametrizations met, "standard" or "ntk". settle: called with the
    state after each step, it may put names in the place of its values.
    """

    expect: Expectations
    samples: Value
    apart: bool = True
    states: dict[str, State] = field(default_factory=dict)
    injected: dict[Source, Value] = field(default_factory=dict)
    count: Value = 0
    scales: set[str] = field(default_factory=set)
    settle: Callable[[str, State], State] = lambda _, state: state

    @property
    def infinite(self) -> bool:
        """Whether T grows without bound."""
        return bool(self.samples == sp.oo)

    def inject(self, path: str, tangent: Mapping[Source, Overlaps], overlap: Overlaps) -> dict[Source, Overlaps]:
        """A tangent overlap with what the weights of the step at ``path`` add to it."""
        if not self.apart:
            found = tangent.get(TOTAL)
            return {TOTAL: overlap if found is None else found + overlap}
        total = dict(tangent)
        for relation, value in overlap.items():
            self.injected[path, relation] = value
            total[path, relation] = overlap.map(lambda _: 0)
            total[path, relation] = replace(total[path, relation], **{relation: 1})
        return total

    def total(self, state: State) -> Overlaps:
        """The tangent overlap of a state, everything added."""
        if not self.apart:
            return state.tangent[TOTAL]
        parts = [t.map(lambda c, w=self.injected[s]: c * w) for s, t in state.tangent.items()]  # type: ignore[misc]
        plain = [Overlaps(t.same, t.other) for t in parts]  # outputs have no positions
        total = plain[0]
        for part in plain[1:]:
            total = total + part
        return total


TOTAL: Source = ("", "")
"""The source that all are added to where they are not kept apart."""

STEPS: dict[str, type[Step]] = {}
"""Every kind of step by the word for it."""


def add_step(name: str, kind: type[Step]) -> None:
    """Add a kind of step under a new name; descriptions and ``hidden=`` then know it.

    >>> class Halved(theory.Step):
    ...     def apply(self, state, run, path):
    ...         return state
    ...
    >>> theory.add_step("halved", Halved)
    """
    if not (isinstance(kind, type) and issubclass(kind, Step)):
        raise ValueError(f"step {name!r}: {kind!r} is not a kind of step. Give a class made of theory.Step.")
    check_new("step", name, (*STEPS, *BUILTIN))
    kind.name, kind.added = name, True
    STEPS[name] = kind


Kind = TypeVar("Kind", bound=type[Step])


def register(kind: Kind) -> Kind:
    """Class decorator for the built-in steps."""
    STEPS[kind.name] = kind
    return kind
