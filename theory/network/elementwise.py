"""Steps that act on every unit alone: activations, dropout, scale and shift."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

import sympy as sp

from fimcheck.theory.gaussian.activations import Activation
from fimcheck.theory.gaussian.functions import ActivationError, Function, QuadratureError
from fimcheck.theory.network.state import Overlaps, State, Unmixed, Value, mapped
from fimcheck.theory.network.step import CompositionError, Run, Step, register
from fimcheck.theory.symbols import Expr


@dataclass(frozen=True)
class Phi(Step):
    """An activation, elementwise. forward: what stands for phi in the forward overlaps of a wrong theory."""

    rule: ClassVar[str] = "K <- E phi(u) phi(v), mean E phi(u), Th <- Th E phi'(u) phi'(v)"

    activation: Activation
    forward: Function | None = None

    @property
    def words(self) -> str:
        """The activation's own name."""
        return self.activation.name

    @property
    def parameters(self) -> dict[str, Expr]:
        """Symbols of the activation, such as a slope."""
        return {s.name: s for s in sorted(self.activation.parameters, key=str)}

    def bound(self, number: Callable[[Expr], Value]) -> "Phi":
        """The activation with numbers for its symbols."""
        given = {s: number(s) for s in self.activation.parameters}
        given = {s: value if isinstance(value, sp.Expr) else sp.Float(value) for s, value in given.items()}
        if all(s == value for s, value in given.items()):
            return self
        return replace(self, activation=Activation(self.activation.name, self.activation.expr.xreplace(given)))

    def apply(self, state: State, run: Run, path: str) -> State:
        """As the law of the units tells; after it they are mixed no more."""
        phi, slope = self.forward or self.activation.phi, slope_of(self.activation)
        try:
            after = state.law.through(phi, slope, state, run.expect)
        except ActivationError as error:
            raise CompositionError(f"step {path}: {error}") from error
        except (QuadratureError, OverflowError) as error:
            raise type(error)(f"activation {self.words}, step {path}: {error}") from error
        return replace(after, law=Unmixed(f"{self.words} (step {path})"))

    def wrong(self) -> Iterator[tuple[str, str, Step]]:
        """phi' for phi."""
        yield "phi'", "phi' for phi in the forward overlaps", replace(self, forward=self.activation.phi.derivative())


@cache
def slope_of(act: Activation) -> Function:
    """phi', made once; refused where phi jumps."""
    slope = act.phi.derivative()
    if slope.deltas:
        places = ", ".join(str(t) for t, _ in slope.deltas)
        raise ActivationError(
            f"The activation {act.name} jumps at x = {places}: E phi'^2 is infinite there, so the "
            "network has no Fisher information of finite order. Use a continuous activation."
        )
    return slope


@register
@dataclass(frozen=True)
class Dropout(Step):
    """Units kept with probability ``keep`` by given masks and divided by it."""

    name: ClassVar[str] = "dropout"
    rule: ClassVar[str] = "K[same] <- K[same]/keep, Th alike; other relations and the mean kept"

    keep: Value = sp.S.Half

    def apply(self, state: State, run: Run, path: str) -> State:  # noqa: ARG002
        """Masks of different places are independent."""

        def masked(t: Overlaps) -> Overlaps:
            return replace(t, same=t.same / self.keep)

        law = Unmixed(f"dropout (step {path})")
        return replace(state, K=masked(state.K), tangent=mapped(state.tangent, masked), law=law)

    def wrong(self) -> Iterator[tuple[str, str, Step]]:
        """Masks forgotten."""
        yield "no masks", "dropout is forgotten", replace(self, keep=self.keep / self.keep)


@register
@dataclass(frozen=True)
class Scale(Step):
    """x -> by x."""

    name: ClassVar[str] = "scale"
    rule: ClassVar[str] = "K <- by^2 K, mean by m, Th <- by^2 Th"

    by: Value = sp.S.One

    def apply(self, state: State, run: Run, path: str) -> State:  # noqa: ARG002
        """A factor on every unit."""
        return state.affine(self.by**2, self.by * state.mean, run.expect)


@register
@dataclass(frozen=True)
class Shift(Step):
    """x -> x + by."""

    name: ClassVar[str] = "shift"
    rule: ClassVar[str] = "K <- K + 2 by m + by^2, mean m + by, Th kept"

    by: Value = sp.S.Zero

    def apply(self, state: State, run: Run, path: str) -> State:  # noqa: ARG002
        """A constant on every unit."""
        return state.affine(0 * self.by + 1, state.mean + self.by, run.expect)
