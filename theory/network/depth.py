"""Order parameters of a network of n equal blocks as functions of n.

A block maps the overlaps at its start to those at its end. Where the map of a component is linear with constant
coefficients (homogeneous activations of degree 1; anything behind a normalization, which makes the variance a constant)
the recursion is solved: the component is a sum of terms coefficient * k^power * rate^k. `growth` says what is known
where it is not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sympy as sp

from fimcheck.theory.gaussian.activations import Activation
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.network.averages import Averages, activation_names, average_labels
from fimcheck.theory.network.chain import WideNetwork, hidden_step
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.expectations import ClosedForms
from fimcheck.theory.network.prediction import Prediction
from fimcheck.theory.network.recursion import COMPONENTS, K1, K2, KM, T1, T2, TM, Names, NotSolvable, Values, solve
from fimcheck.theory.network.state import Expectations, Overlaps, State, Value
from fimcheck.theory.network.step import TOTAL
from fimcheck.theory.network.where import Line, Statement, putting, stated
from fimcheck.theory.simplest import simplest
from fimcheck.theory.symbols import Expr, alpha_total, kappa1, kappa2

depth = sp.Symbol("L", integer=True, positive=True)
"""What the number of blocks is counted by."""


@dataclass(frozen=True)
class Blocks:
    """A network with a block that repeats.

    make: the network with n of them. ends: for n, the path after which the first block starts and the paths at which
    the blocks end. count: their number in terms of `depth`.
    """

    make: Callable[[int], Composed]
    ends: Callable[[int], list[str]]
    count: Expr

    def maps(self, samples: str, expect: Expectations, number: Callable[[Expr], Any]) -> tuple[Values, Values, Values]:
        """Overlaps at the start of the first block; those after a block, and at the outputs, in the overlaps before."""
        net, met = self.make(1), {}
        ends = self.ends(1)
        count = sp.Symbol("T", positive=True) if net.depends_on_samples(samples) else sp.oo

        def settle(path: str, state: State) -> State:
            if path not in ends:
                return state
            met[path] = values_of(state)
            if state.mean != 0:
                raise NotSolvable(f"step {path}: units with a mean at the start of a block: end it with a dense step")
            several = state.K.mate is not None
            tangent = Overlaps(T1, T2, TM if several else None)
            return replace(state, K=Overlaps(K1, K2, KM if several else None), tangent={TOTAL: tangent})

        run, end = net.run(expect, number(count), apart=False, settle=settle, number=number)
        total = run.total(end)
        return met[ends[0]], met[ends[1]], {T1: sp.sympify(total.same), T2: sp.sympify(total.other)}

    @property
    def alpha(self) -> Expr:
        """P/M^2, linear in the number of blocks."""
        one, two = self.make(1).alpha, self.make(2).alpha
        return simplest(sp.expand(one + (self.count - 1) * (two - one)))


def chain_blocks(activation: "str | Expr | Activation", hidden: str, last: str) -> Blocks:
    """The paper's chain of L weight layers of equal width: from dense to dense, L - 2 times."""
    size = 2 if hidden_step(hidden) is None else 3
    return Blocks(
        lambda n: WideNetwork(n + 2, activation, hidden, last, ratios=[1] * (n + 2)),
        lambda n: [str(1 + size * i) for i in range(n + 1)],
        depth - 2,
    )


def values_of(state: State) -> Values:
    """The overlaps of a state by the symbols that stand for them."""
    K, t = state.K, state.tangent[TOTAL]
    found = {K1: K.same, K2: K.other, T1: t.same, T2: t.other}
    if K.mate is not None:
        found |= {KM: K.mate, TM: t.mate}
    return {name: sp.sympify(value) for name, value in found.items()}


def in_depth(
    prediction: Prediction, blocks: Blocks, at: Mapping[str, Expr] | None = None
) -> list[tuple[tuple[sp.Symbol, Expr] | None, Statement]]:
    """The statement of a prediction for a symbolic number of blocks; at: numbers in the place of symbols, by name.

    The generic case first, under None, then every (symbol, value) at which two rates meet (ReLU: sigma_w2 = 2).
    NotSolvable where what the statement needs has no closed form.
    """
    given = dict(at or {})
    generic, names = _statement(prediction, blocks, given)
    special = [(s, v) for s, v in names.meetings() if s.name not in given]
    return [(None, generic), *((case, _statement(prediction, blocks, {**given, case[0].name: case[1]})[0])
                               for case in special)]  # fmt: skip


def _statement(prediction: Prediction, blocks: Blocks, at: Mapping[str, Expr]) -> tuple[Statement, Names]:
    acts, put, names = activation_names(blocks.make(1)), putting(at), Names()
    averages = _OfBlocks(average_labels(acts))
    start, block, outputs = blocks.maps(prediction.samples, averages, put)
    solution, formula = solve(start, block, names), put(prediction.formula)
    own: dict[sp.Symbol, Expr] = {}
    for name, kappa in ((T1, kappa1), (T2, kappa2)):
        if kappa in formula.free_symbols:
            met = sorted(outputs[name].free_symbols & set(COMPONENTS), key=str)
            at_end = {c: simplest(solution.at(c, blocks.count)) for c in met}
            numbers = {c: value for c, value in at_end.items() if value.is_number}
            own |= {c: value for c, value in at_end.items() if c not in numbers}
            own[kappa] = outputs[name].subs(numbers) / alpha_total
            if formula == kappa:
                formula = own.pop(kappa)
    if not own:
        raise NotSolvable(f"{prediction.quantity} does not depend on kappa_1 or kappa_2 alone: give a depth")
    values = [*names.lines.items(), (alpha_total, put(blocks.alpha)), *own.items()]
    lines = [Line(name, value, i) for i, (name, value) in enumerate(values)]
    return stated(prediction, formula, lines, averages, acts, put), names


class _OfBlocks(Averages):
    """Averages with a name, but for those at an overlap that changes from block to block."""

    def _named(self, count: int, f: Function, at: tuple[Value, ...], mean: Value, value: Callable[..., Expr]) -> Expr:
        if any(sp.sympify(v).has(*COMPONENTS) for v in (*at, mean)):
            return getattr(ClosedForms, ("mean", "same", "pair")[count])(self, f, *at, mean)
        return super()._named(count, f, at, mean, value)
