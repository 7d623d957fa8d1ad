"""Names in the place of values: averages and overlaps as fresh symbols, zeros kept.

What is left is the structure of a network: whether its steps fit together, how many parameters it has, which overlaps
vanish.
"""

from dataclasses import replace
from typing import Any

import sympy as sp

from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.network.expectations import ClosedForms
from fimcheck.theory.network.state import Overlaps, Spherical, State, Value, mapped


class Placeholders:
    """Every average a fresh symbol."""

    one: Value = sp.S.One

    def same(self, f: Function, p: Value, mean: Value) -> sp.Symbol:  # noqa: ARG002
        """A positive number."""
        return sp.Dummy("E", positive=True)

    def pair(self, f: Function, p: Value, c: Value, mean: Value) -> sp.Symbol:  # noqa: ARG002
        """A real number."""
        return sp.Dummy("E", real=True)

    def mean(self, f: Function, p: Value, mean: Value) -> sp.Symbol:  # noqa: ARG002
        """A real number."""
        return sp.Dummy("E", real=True)

    def sphere(self, f: Function, power: int, count: int, samples: Value, gamma: Value, beta: Value) -> Any:  # noqa: ARG002
        """A positive number."""
        return sp.Dummy("E", positive=True)

    def root(self, value: Value) -> Any:
        """The positive square root."""
        return sp.sqrt(value)


class ZerosOnly(Placeholders):
    """Fresh symbols, but 0 where an average is known to vanish: odd functions, and numbers that say so."""

    def pair(self, f: Function, p: Value, c: Value, mean: Value) -> Any:
        """Independent values have the product of their means."""
        return sp.S.Zero if c == 0 and self.mean(f, p, mean) == 0 else super().pair(f, p, c, mean)

    def mean(self, f: Function, p: Value, mean: Value) -> Any:
        """0 for an odd function of a centered variable."""
        if mean == 0 and f.is_odd:
            return sp.S.Zero
        known = p.is_number and sp.sympify(mean).is_number
        return ClosedForms().mean(f, p, mean) if known else super().mean(f, p, mean)


def placeholder_settle(path: str, state: State) -> State:  # noqa: ARG001
    """The state with fresh symbols for its values: equal ones get the same, and 0 stays 0."""
    known: dict[Any, Any] = {}

    def name(value: Value) -> Value:
        if not isinstance(value, sp.Expr):
            return value
        if value.is_number:
            return value
        return known.setdefault(value, sp.Dummy("v", positive=True))

    def overlaps(t: Overlaps) -> Overlaps:
        return t.map(name)

    law = state.law
    if isinstance(law, Spherical):
        law = replace(law, spread={source: name(value) for source, value in law.spread.items()})
    return replace(state, K=overlaps(state.K), mean=name(state.mean), tangent=mapped(state.tangent, overlaps), law=law)
