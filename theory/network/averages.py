"""Averages over Gaussian variables by name, as formulas are written with them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp

from fimcheck.theory import symbols
from fimcheck.theory.gaussian.activations import Activation
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.gaussian.kernel import GaussianPair
from fimcheck.theory.gaussian.sphere import SpherePair
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.elementwise import Phi, slope_of
from fimcheck.theory.network.expectations import ClosedForms
from fimcheck.theory.network.state import Value
from fimcheck.theory.simplest import simplest
from fimcheck.theory.symbols import Expr

SHORT = 8
"""Operations up to which a closed form stands in the line that uses it."""


@dataclass(frozen=True)
class Average:
    """A named average of z^power f at ``count`` places, 0 for the mean: call(*arguments) = value.

    value: a closed form, or the average left as it is; meaning: the average in words.
    """

    call: Expr
    value: Expr
    meaning: str
    f: Function
    count: int
    power: int = 0

    @property
    def on_sphere(self) -> bool:
        """Whether it is an average over a normalized batch, not a Gaussian one."""
        return self.meaning.startswith("E_S")

    @property
    def is_closed(self) -> bool:
        """Whether the value is a closed form."""
        return not self.value.has(GaussianPair, SpherePair)


class Averages(ClosedForms):
    """Closed forms where they are short, else functions with a name, written out once.

    labels: the letter of the average of a function with itself, and the word for the function.
    """

    def __init__(self, labels: Mapping[Function, tuple[str, str]]) -> None:
        self._labels = labels
        self._definitions: dict[str, Callable[[], Average]] = {}

    def same(self, f: Function, p: Value, mean: Value) -> Expr:
        """E f(u)^2."""
        return self._named(1, f, (p,), mean, super().same)

    def pair(self, f: Function, p: Value, c: Value, mean: Value) -> Expr:
        """E f(u) f(v)."""
        return self.same(f, p, mean) if p == c else self._named(2, f, (p, c), mean, super().pair)

    def mean(self, f: Function, p: Value, mean: Value) -> Expr:
        """E f(u)."""
        return self._named(0, f, (p,), mean, super().mean)

    def _named(self, count: int, f: Function, at: tuple[Value, ...], mean: Value, value: Callable[..., Expr]) -> Expr:
        """The average of f at ``count`` places, as it is where it is short."""
        found = value(f, *at, mean)
        if _is_short(found):
            return found
        letter, word = self._label(f)
        free = (symbols.p, symbols.c)[: len(at)]
        if mean == 0:
            call, own, shift = sp.Function(f"{letter}{count}"), free, sp.S.Zero
        else:
            call, own, shift = sp.Function(f"{letter}{count}m"), (*free, symbols.mu), symbols.mu
        inside = (f"{word}(u)", f"{word}(u)^2", f"{word}(u) {word}(v)")[count]
        self._definitions[str(call)] = lambda: Average(
            call(*own), simplest(value(f, *free, shift)), f"E[{inside}]", f, count
        )
        return call(*at) if mean == 0 else call(*at, mean)

    def sphere(self, f: Function, power: int, count: int, samples: Value, gamma: Value, beta: Value) -> Expr:
        """E h(z_1), E h(z_1)^2 or E h(z_1) h(z_2)."""
        found = super().sphere(f, power, count, samples, gamma, beta)
        if _is_short(found):
            return found
        letter, word = self._label(f)
        call = sp.Function(f"S{letter}{'z' * power}{count}")
        free = sp.Symbol("n", positive=True), symbols.gamma, symbols.beta
        h = "z " * power + f"{word}(gamma z + beta)"
        inside = ("h(z1)", "h(z1)^2", "h(z1) h(z2)")[count]

        whole = super().sphere
        self._definitions[str(call)] = lambda: Average(
            call(*free), whole(f, power, count, *free), f"E_S[{inside}], h(z) = {h}", f, count, power
        )
        return call(samples, gamma, beta)

    def defined(self, used: set[Any]) -> Iterator[Average]:
        """Definitions of the averages that were used."""
        names = {str(u.func) for u in used}
        return (define() for name, define in self._definitions.items() if name in names)

    def _label(self, f: Function) -> tuple[str, str]:
        return self._labels.get(f) or ("H", f"({f.expr})")


def _is_short(expr: Expr) -> bool:
    """Whether it is a closed form, and short."""
    return not expr.has(GaussianPair, SpherePair) and expr.count_ops() <= SHORT


def activation_names(net: Composed) -> dict[str, Activation]:
    """The activations of a network by the names that averages give them."""
    acts = dict.fromkeys(step.activation for step in net.all_steps.values() if isinstance(step, Phi))
    return {f"phi{i}" if len(acts) > 1 else "phi": act for i, act in enumerate(acts, 1)}


def average_labels(activations: Mapping[str, Activation]) -> dict[Function, tuple[str, str]]:
    """Letter and word for each activation and its slope; see `Averages`."""
    labels: dict[Function, tuple[str, str]] = {}
    for word, act in activations.items():
        labels.setdefault(act.phi, (f"F{word[3:]}", word))
        labels.setdefault(slope_of(act), (f"G{word[3:]}", f"{word}'"))
    return labels
