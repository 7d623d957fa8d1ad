"""Steps made of steps: chain, skip, gate; and the mean over positions."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import sympy as sp

from fimcheck.theory.network.dense import pooled
from fimcheck.theory.network.state import Gaussian, Overlaps, State, Unmixed, Value, added, mapped
from fimcheck.theory.network.step import CompositionError, Run, Step, register
from fimcheck.theory.symbols import Expr


@dataclass(frozen=True)
class Chain(Step):
    """One step after the other."""

    name: ClassVar[str] = "chain"

    steps: tuple[Step, ...]

    @property
    def branches(self) -> Mapping[str, Step]:
        """The steps by their number, from 1."""
        return {str(i): step for i, step in enumerate(self.steps, 1)}

    def walk(self, path: str = "") -> Iterator[tuple[str, Step]]:
        """All steps; a chain is none itself."""
        for place, inner in self.branches.items():
            yield from inner.walk(f"{path}.{place}" if path else place)

    def bound(self, number: Callable[[Expr], Value]) -> "Chain":
        """Every step with numbers for its parameters."""
        return Chain(tuple(step.bound(number) for step in self.steps))

    def changed(self, change: Callable[[Step], Step]) -> Step:
        """Every step changed."""
        return Chain(tuple(step.changed(change) for step in self.steps))

    def apply(self, state: State, run: Run, path: str) -> State:
        """Each on what the one before gives."""
        for place, step in self.branches.items():
            here = f"{path}.{place}" if path else place
            state = run.settle(here, step.apply(state, run, here))
            run.states[here] = state
        return state


@register
@dataclass(frozen=True)
class Skip(Step):
    """x -> b x + a B(x), B a branch with weights of its own. lost, crossed: slips in the tangent and in the means."""

    name: ClassVar[str] = "skip"
    rule: ClassVar[str] = "K <- b^2 K + a^2 K_B + 2 a b m m_B, mean b m + a m_B, Th <- b^2 Th + a^2 Th_B"

    branch: Chain
    a: Value = sp.S.One
    b: Value = sp.S.One
    lost: bool = False

    @property
    def branches(self) -> Mapping[str, Step]:
        """The branch."""
        return {"branch": self.branch}

    @property
    def words(self) -> str:
        return "skip connection"

    def bound(self, number: Callable[[Expr], Value]) -> "Skip":
        """The step with numbers for its parameters and those of its branch."""
        return replace(self, branch=self.branch.bound(number), a=number(self.a), b=number(self.b))

    def changed(self, change: Callable[[Step], Step]) -> Step:
        """The branch changed, then the step."""
        branch = self.branch.changed(change)
        assert isinstance(branch, Chain)
        return change(replace(self, branch=branch))

    def apply(self, state: State, run: Run, path: str) -> State:
        """Weights that begin in the branch leave it independent of the stream, but for the means."""
        if not any(step.mixes for _, step in self.branch.walk()):
            raise CompositionError(
                f"step {path}: a branch without dense weights: its units follow those of the stream, and the sum "
                "has no law that is known. Put a dense step into the branch."
            )
        own = self.branch.apply(replace(state, fresh=False), run, f"{path}.branch")
        meet(state, own, path, "the stream", "the branch")
        a, b = self.a, self.b
        cross = 2 * a * b * state.mean * own.mean
        gaussian = isinstance(state.law, Gaussian) and isinstance(own.law, Gaussian)
        stream = {} if self.lost else mapped(state.tangent, lambda t: t * b**2)
        return replace(
            state,
            K=state.K.with_(own.K, lambda x, y: b**2 * x + a**2 * y + cross),
            mean=b * state.mean + a * own.mean,
            tangent=added(stream, mapped(own.tangent, lambda t: t * a**2)),
            law=Gaussian() if gaussian else Unmixed(f"the sum of step {path}"),
        )

    def wrong(self) -> Iterator[tuple[str, str, Step]]:
        """The stream's own gradient, the branch or the weight of the branch forgotten."""
        yield "no stream", "the gradient that passes along the stream is forgotten", replace(self, lost=True)
        yield "no branch", "the branch is forgotten", replace(self, a=0 * self.a)
        yield "a=1", "the weight of the branch is forgotten", replace(self, a=sp.S.One)


@register
@dataclass(frozen=True)
class Gate(Step):
    """A(x) * B(x), unit by unit, of two branches with weights of their own. half: the slip of one tangent for two."""

    name: ClassVar[str] = "gate"
    rule: ClassVar[str] = "K <- K_A K_B, mean m_A m_B, Th <- Th_A K_B + K_A Th_B"

    first: Chain
    second: Chain
    half: bool = False

    @property
    def branches(self) -> Mapping[str, Step]:
        """Both branches."""
        return {"first": self.first, "second": self.second}

    def bound(self, number: Callable[[Expr], Value]) -> "Gate":
        """The step with numbers for the parameters of its branches."""
        return replace(self, first=self.first.bound(number), second=self.second.bound(number))

    def changed(self, change: Callable[[Step], Step]) -> Step:
        """The branches changed, then the step."""
        first, second = (branch.changed(change) for branch in (self.first, self.second))
        assert isinstance(first, Chain)
        assert isinstance(second, Chain)
        return change(replace(self, first=first, second=second))

    def apply(self, state: State, run: Run, path: str) -> State:
        """Branches with weights of their own have independent units."""
        found = []
        for place, branch in (("first", self.first), ("second", self.second)):
            own = branch.apply(replace(state, fresh=False), run, f"{path}.{place}")
            if not own.fresh:
                raise CompositionError(
                    f"step {path}: the {place} branch of a gate has no dense weights, so its units are not independent "
                    "of the other's. Put a dense step into it."
                )
            found.append(own)
        one, two = found
        meet(one, two, path, "the first branch", "the second")
        tangent = added(
            {} if self.half else mapped(one.tangent, lambda t: t * two.K), mapped(two.tangent, lambda t: t * one.K)
        )
        law = Unmixed(f"the gate of step {path}")
        return replace(one, K=one.K * two.K, mean=one.mean * two.mean, tangent=tangent, law=law)

    def wrong(self) -> Iterator[tuple[str, str, Step]]:
        """One branch's gradient forgotten."""
        yield "half gate", "the gradient of one branch of a gate is forgotten", replace(self, half=True)


def meet(one: State, two: State, path: str, first: str, second: str) -> None:
    """Refuse signals of unequal widths or positions."""
    for what, a, b in (("width", one.width, two.width), ("number of positions", one.positions, two.positions)):
        if not np.all(a == b):
            raise CompositionError(
                f"step {path}: {first} has {what} {a} and {second} {b}: they do not meet. Make them equal."
            )


@register
@dataclass(frozen=True)
class Pool(Step):
    """The mean over the N positions of every sample. each: the slip of positions taken for one."""

    name: ClassVar[str] = "pool"
    rule: ClassVar[str] = "K[same] <- (K[same] + (N - 1) K[mate])/N, Th alike; K[other] and the mean kept"
    needs_positions: ClassVar[bool] = True

    each: bool = False

    @property
    def words(self) -> str:
        return "pooling"

    def apply(self, state: State, run: Run, path: str) -> State:  # noqa: ARG002
        """One position is left."""
        if state.K.mate is None:
            raise CompositionError(
                f"step {path}: pool over the positions of a signal that has none. Give the network positions, or leave "
                "pool out."
            )
        mean = state if self.each else pooled(state)

        def one(t: Overlaps) -> Overlaps:
            return Overlaps(t.same, t.other)

        law = Gaussian() if isinstance(state.law, Gaussian) else Unmixed(f"pooling (step {path})")
        return replace(
            state, K=one(mean.K), tangent=mapped(mean.tangent, one), law=law, positions=0 * state.positions + 1
        )

    def wrong(self) -> Iterator[tuple[str, str, Step]]:
        """The mean over positions forgotten."""
        yield "no mates", "positions of a sample are taken for equal in the mean over them", replace(self, each=True)
