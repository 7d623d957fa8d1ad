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
from fimcheck.theory.network.state import Expectations, Overlaps, State, Value
from fimcheck.theory.network.step import TOTAL
from fimcheck.theory.network.where import Line, Statement, putting, stated
from fimcheck.theory.simplest import simplest
from fimcheck.theory.symbols import Expr, alpha_total, kappa1, kappa2

depth = sp.Symbol("L", integer=True, positive=True)
"""What the number of blocks is counted by."""

COMPONENTS = tuple(sp.Symbol(f"{name}[n]", positive=True) for name in ("K1", "K2", "Km", "Th1", "Th2", "Thm", "Thd"))
K1, K2, KM, T1, T2, TM, APART = COMPONENTS
NAMES = {
    K1: "the variance", K2: "the overlap of two samples", KM: "the overlap of two positions",
    T1: "the tangent overlap", T2: "the tangent overlap of two samples", TM: "the tangent overlap of two positions",
}  # fmt: skip
LONG = 4
"""Operations from which a coefficient gets a name."""

Values = dict[sp.Symbol, Expr]


class NotSolvable(ValueError):
    """A recursion that is not linear with constant coefficients; the message names the component."""


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


Terms = dict[tuple[Expr, int], Expr]
"""A sequence in k: coefficient by (rate, power), the sum of coefficient * k^power * rate^k."""


class Names:
    """Symbols for rates and for coefficients that are long, in the order in which they were needed."""

    def __init__(self) -> None:
        self.lines: dict[sp.Symbol, Expr] = {}

    def rate(self, value: Expr) -> Expr:
        """A rate chi; equal ones have one symbol."""
        value, full = simplest(value), simplest(self.written_out(value))
        value = min(value, full, key=lambda v: v.count_ops())
        if value.is_number or value in self.lines:
            return value
        for symbol, known in self.lines.items():
            if symbol.name.startswith("chi") and sp.simplify(self.written_out(known - value)) == 0:
                return symbol
        return self._new("chi", value)

    def coefficient(self, value: Expr) -> Expr:
        """A coefficient, itself where it is short."""
        value = simplest(value)
        for symbol, known in self.lines.items():
            if known == value:
                return symbol
        return self._new("a", value) if value.count_ops() >= LONG else value

    def written_out(self, value: Expr) -> Expr:
        """Without names."""
        for symbol, known in reversed(self.lines.items()):
            value = value.subs(symbol, known)
        return value

    def _new(self, letter: str, value: Expr) -> sp.Symbol:
        number = 1 + sum(s.name.startswith(letter) for s in self.lines)
        symbol = sp.Symbol(f"{letter}{number}", positive=True)
        self.lines[symbol] = value
        return symbol

    def meetings(self) -> list[tuple[sp.Symbol, Expr]]:
        """Values of one symbol at which two different rates are equal, or one is 1: there the solution is another."""
        rates = [self.written_out(v) for s, v in self.lines.items() if s.name.startswith("chi")] + [sp.S.One]
        found: dict[tuple[sp.Symbol, Expr], None] = {}
        for i, one in enumerate(rates):
            for two in rates[:i]:
                gap = sp.numer(sp.together(one - two))
                symbols: list[Any] = sorted(gap.free_symbols, key=str)
                for symbol in symbols:
                    if gap.is_polynomial(symbol) and sp.degree(gap, symbol) <= 2:
                        roots = [r for r in sp.solve(gap, symbol) if r.is_positive and r.is_number]
                        found |= {(symbol, root): None for root in roots}
        return list(found)


@dataclass(frozen=True)
class Solution:
    """Components after k blocks, for k >= first, by their terms."""

    first: int
    found: Mapping[sp.Symbol, Terms]

    def at(self, name: sp.Symbol, blocks: Expr) -> Expr:
        """A component after so many blocks."""
        if name is T1 and T1 not in self.found and APART in self.found:
            return self.at(APART, blocks) + self.at(T2, blocks)
        if name not in self.found:
            raise NotSolvable(f"{NAMES[name]} is not linear from block to block: it has no closed form in the depth")
        k = blocks - self.first
        return sp.Add(*(c * k**power * rate**k for (rate, power), c in self.found[name].items()))


def solve(start: Values, block: Values, names: Names) -> Solution:
    """Every component that a linear recursion with constant coefficients determines.

    The first blocks are applied as they are until what does not remember its start is what it stays. Where the tangent
    overlaps of one and of two samples hang on each other, as under batch normalization, so may not their difference.
    """
    start, first = dict(start), 0
    while first <= len(block) and any(
        not value.has(*COMPONENTS) and sp.simplify(start[name] - value) != 0 for name, value in block.items()
    ):
        start = {name: sp.sympify(value.subs(start, simultaneous=True)) for name, value in block.items()}
        first += 1
    found: dict[sp.Symbol, Terms] = {}
    _solve_more(start, block, found, names)
    if not found.keys() & {T1, T2}:
        apart = {name: sp.expand(value.subs(T1, APART + T2)) for name, value in block.items()}
        apart[APART] = sp.expand(apart.pop(T1) - apart[T2])
        _solve_more({**start, APART: start[T1] - start[T2]}, apart, found, names)
    return Solution(first, found)


def _solve_more(start: Values, block: Values, found: dict[sp.Symbol, Terms], names: Names) -> None:
    while (ready := _next(start, block, found, names)) is not None:
        found[ready[0]] = ready[1]


def _next(
    start: Values, block: Values, found: Mapping[sp.Symbol, Terms], names: Names
) -> tuple[sp.Symbol, Terms] | None:
    """A component that is linear in itself and in those already solved, with its sequence."""
    one = (sp.S.One, 0)
    constants = {name: terms.get(one, sp.S.Zero) for name, terms in found.items() if set(terms) <= {one}}
    for name, value in block.items():
        if name in found:
            continue
        value = sp.expand(value.subs(constants))
        linear = [name, *(n for n in found if n not in constants and value.has(n))]
        unknown = value.free_symbols & set(COMPONENTS) - set(linear)
        if unknown or not all(sp.diff(value, a, b) == 0 for a in linear for b in linear):
            continue
        forcing: Terms = {}
        for other in linear[1:]:
            for key, c in found[other].items():
                forcing[key] = forcing.get(key, sp.S.Zero) + sp.diff(value, other) * c
        own = value.subs(dict.fromkeys(linear, 0))
        if own != 0:
            forcing[one] = forcing.get(one, sp.S.Zero) + own
        return name, _sequence(names.rate(sp.diff(value, name)), forcing, start[name], names)
    return None


def _sequence(rate: Expr, forcing: Terms, start: Expr, names: Names) -> Terms:
    """y_0 = start, y_{k+1} = rate y_k + forcing_k.

    A term k^p r^k with r != rate is answered by q(k) r^k, q(k + 1) r - rate q(k) = k^p; with r = rate one power more.
    """
    found: Terms = {}
    k = sp.Symbol("k", integer=True, nonnegative=True)
    for (r, power), c in forcing.items():
        degree = power + (r == rate)
        unknowns = sp.symbols(f"c:{degree + 1}")
        q = sp.Add(*(n * k**i for i, n in enumerate(unknowns)))
        gap = sp.expand((q.subs(k, k + 1) - q) * r + (r - rate) * q - k**power)
        solved = sp.solve(sp.Poly(gap, k).coeffs(), unknowns, dict=True)[0]
        for i, n in enumerate(unknowns):
            value = solved.get(n, sp.S.Zero)
            if value != 0:
                found[r, i] = found.get((r, i), sp.S.Zero) + c * value
    at_zero = sp.Add(*(c for (_, power), c in found.items() if power == 0))
    found[rate, 0] = found.get((rate, 0), sp.S.Zero) + start - at_zero
    named = {key: names.coefficient(sp.together(c)) for key, c in found.items()}
    return {key: c for key, c in named.items() if c != 0}


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
