"""Order parameters of a network of n equal blocks as functions of n.

A block maps the overlaps at its start to those at its end. Where the map of a component is linear with constant
coefficients (homogeneous activations of degree 1; anything behind a normalization, which makes the variance a constant)
the recursion is solved: the component is a sum of terms coefficient * k^power * rate^k. Where it is not, the fixed
point and the linearization there say how fast signals forget and gradients grow.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import sympy as sp

from theory.network.composition import Composed
from theory.network.expectations import ClosedForms
from theory.network.state import Overlaps, State
from theory.network.step import TOTAL
from theory.simplest import simplest
from theory.symbols import Expr

depth = sp.Symbol("L", integer=True, positive=True)
"""What the number of blocks is counted by."""

COMPONENTS = tuple(sp.Symbol(name, positive=True) for name in ("K1", "K2", "Km", "t1", "t2", "tm"))
K1, K2, KM, T1, T2, TM = COMPONENTS
NAMES = {
    K1: "the variance K1", K2: "the overlap K2 of two samples", KM: "the overlap Km of two positions",
    T1: "the tangent overlap Th1", T2: "the tangent overlap Th2 of two samples",
    TM: "the tangent overlap Thm of two positions",
}  # fmt: skip

Values = dict[sp.Symbol, Expr]


class NotSolvable(ValueError):
    """A recursion that is not linear with constant coefficients; the message names the component and the remedy."""


@dataclass(frozen=True)
class Blocks:
    """A network with a block that repeats. make: the network with n of them. ends: for n, the path after which the first
    block starts and the paths at which the blocks end. blocks: their number in terms of `depth`.
    """

    make: Callable[[int], Composed]
    ends: Callable[[int], list[str]]
    blocks: Expr

    def maps(self, samples: str) -> tuple[Values, Values, Values]:
        """Overlaps at the start of the first block; those after a block, and at the outputs, in the overlaps before."""
        if samples == "fixed" and self.make(1).couples_samples:
            count: Expr = sp.Symbol("T", positive=True)
        else:
            count = sp.oo
        ends, met = self.ends(1), {}

        def settle(path: str, state: State) -> State:
            if path not in ends:
                return state
            met[path] = values_of(state)
            if state.mean != 0:
                raise NotSolvable(f"step {path}: units with a mean at the start of a block; end it with a dense step")
            names = Overlaps(K1, K2, None if state.K.mate is None else KM)
            tangent = Overlaps(T1, T2, None if state.K.mate is None else TM)
            return replace(state, K=names, tangent={TOTAL: tangent})

        run, end = self.make(1).run(ClosedForms(), count, apart=False, settle=settle)
        total = run.total(end)
        return met[ends[0]], met[ends[1]], {T1: sp.sympify(total.same), T2: sp.sympify(total.other)}

    @cached_property
    def alpha(self) -> Expr:
        """P/M^2, linear in the number of blocks."""
        one, two = self.make(1).alpha, self.make(2).alpha
        return sp.expand(one + (self.blocks - 1) * (two - one))


def values_of(state: State) -> Values:
    """The overlaps of a state by the symbols that stand for them."""
    K, t = state.K, state.tangent[TOTAL]
    found = {K1: K.same, K2: K.other, T1: t.same, T2: t.other}
    if K.mate is not None:
        found |= {KM: K.mate, TM: t.mate}
    return {name: sp.sympify(value) for name, value in found.items()}


Terms = dict[tuple[Expr, int], Expr]
"""A sequence in k: coefficient by (rate, power), the sum of coefficient * k^power * rate^k."""


@dataclass(frozen=True)
class Solution:
    """Components after k blocks, for k >= first; rest: those that are not linear, with what they depend on."""

    first: int
    found: Mapping[sp.Symbol, Terms]
    rest: frozenset[sp.Symbol]

    def at(self, name: sp.Symbol, blocks: Expr) -> Expr:
        """A component after so many blocks."""
        if name not in self.found:
            raise NotSolvable(
                f"{NAMES[name]} is not linear in itself from block to block: it has no closed form in the depth; give "
                "numbers with --at for its growth, or a depth"
            )
        shifted = blocks - self.first
        terms = (c * shifted**power * rate**shifted for (rate, power), c in self.found[name].items())
        return sp.Add(*terms)


def solve(start: Values, block: Values) -> Solution:
    """Every component that a linear recursion with constant coefficients determines.

    The first blocks are applied as they are until what does not remember its start is what it stays.
    """
    start, first = dict(start), 0
    while first <= len(block) and any(
        not value.has(*COMPONENTS) and sp.simplify(start[name] - value) != 0 for name, value in block.items()
    ):
        start = {name: sp.sympify(value.subs(start, simultaneous=True)) for name, value in block.items()}
        first += 1
    found: dict[sp.Symbol, Terms] = {}
    constants: Values = {}
    while True:
        ready = _next(block, found, constants, start)
        if ready is None:
            return Solution(first, found, frozenset(block) - found.keys())
        name, terms = ready
        found[name] = terms
        if set(terms) <= {(sp.S.One, 0)}:
            constants[name] = terms.get((sp.S.One, 0), sp.S.Zero)


def _next(
    block: Values, found: Mapping[sp.Symbol, Terms], constants: Values, start: Values
) -> tuple[sp.Symbol, Terms] | None:
    """A component that is linear in itself and in those already solved, with its sequence."""
    for name, value in block.items():
        if name in found:
            continue
        value = sp.expand(value.subs(constants))
        unknown = value.free_symbols & set(COMPONENTS) - {name} - found.keys()
        linear = [name, *(n for n in found if n not in constants and value.has(n))]
        if unknown or not all(sp.diff(value, one, two) == 0 for one in linear for two in linear):
            continue
        rate = simplest(sp.diff(value, name))
        if rate == 1 and sp.expand(value - name).is_zero:
            return name, {(sp.S.One, 0): start[name]}
        forcing: Terms = {}
        for other in linear[1:]:
            factor = sp.diff(value, other)
            for key, c in found[other].items():
                forcing[key] = forcing.get(key, sp.S.Zero) + factor * c
        own = value.subs(dict.fromkeys(linear, 0))
        if own != 0:
            forcing[sp.S.One, 0] = forcing.get((sp.S.One, 0), sp.S.Zero) + own
        return name, _sequence(rate, forcing, start[name])
    return None


def _sequence(rate: Expr, forcing: Terms, start: Expr) -> Terms:
    """y_0 = start, y_{k+1} = rate y_k + forcing_k.

    A term k^p r^k with r != rate is answered by q(k) r^k, q(k + 1) r - rate q(k) = k^p; with r = rate one power more.
    """
    found: Terms = {}

    def add(key: tuple[Expr, int], value: Expr) -> None:
        found[key] = found.get(key, sp.S.Zero) + value

    k = sp.Symbol("k", integer=True, nonnegative=True)
    for (r, power), c in forcing.items():
        alike = sp.simplify(r - rate) == 0
        degree = power + 1 if alike else power
        names = sp.symbols(f"c:{degree + 1}")
        q = sum(n * k**i for i, n in enumerate(names))
        equation = sp.Poly(sp.expand(q.subs(k, k + 1) * r - (r if alike else rate) * q - k**power), k)
        solved = sp.solve(equation.coeffs(), names, dict=True)[0]
        for i, n in enumerate(names):
            value = solved.get(n, sp.S.Zero if alike and i == 0 else n)
            value = value.subs(names[0], 0) if alike else value
            if value != 0:
                add((rate if alike else r, i), simplest(sp.together(c * value)))
    at_zero = sum((c for (_, power), c in found.items() if power == 0), sp.S.Zero)
    add((rate, 0), simplest(sp.together(start - at_zero)))
    return {key: c for key, c in found.items() if c != 0}


def kappas(blocks: Blocks, samples: str = "fixed", at: Mapping[sp.Symbol, Expr] | None = None) -> tuple[Any, Any]:
    """kappa_1 and kappa_2 in the depth; None for one that has no closed form, NotSolvable if neither has.

    at: numbers in the place of symbols. Where two rates meet (ReLU: sigma_w2 = 2) the case is solved apart.
    """
    put = dict(at or {})
    start, block, outputs = (
        {name: sp.sympify(v.subs(put)) for name, v in values.items()} for values in blocks.maps(samples)
    )
    generic = _kappas(blocks, start, block, outputs, put)
    if isinstance(generic, NotSolvable):
        raise generic
    cases: list[list[tuple[Expr, Any]]] = [[], []]
    for symbol, value in _meetings(start, block):
        there = _kappas(blocks, *({n: sp.sympify(v.subs(symbol, value)) for n, v in values.items()}
                                  for values in (start, block, outputs)), put)  # fmt: skip
        if not isinstance(there, NotSolvable):
            for own, special in zip(cases, there, strict=True):
                if special is not None:
                    own.append((special, sp.Eq(symbol, value)))
    return tuple(
        None if value is None else sp.Piecewise(*own, (value, True)) if own else value
        for own, value in zip(cases, generic, strict=True)
    )


def _kappas(blocks: Blocks, start: Values, block: Values, outputs: Values, put: Any) -> "tuple[Any, ...] | NotSolvable":
    solution, values = solve(start, block), []
    trouble = NotSolvable("")
    for name in (T1, T2):
        try:
            met = {c: solution.at(c, blocks.blocks) for c in outputs[name].free_symbols & set(COMPONENTS)}
            values.append(simplest(_powers(outputs[name].subs(met, simultaneous=True)) / blocks.alpha.subs(put)))
        except NotSolvable as error:
            trouble = trouble if str(trouble) else error
            values.append(None)
    return trouble if values == [None, None] else tuple(values)


def _powers(expr: Expr) -> Expr:
    """Powers of a base taken together."""
    return sp.powsimp(sp.expand(sp.powsimp(expr, force=True), power_exp=False))


def _meetings(start: Values, block: Values) -> list[tuple[sp.Symbol, Expr]]:
    """Values of one symbol at which two different rates of the recursion are equal."""
    rates = {rate for terms in solve(start, block).found.values() for rate, _ in terms} | {sp.S.One}
    found: dict[tuple[sp.Symbol, Expr], None] = {}
    ordered = sorted(rates, key=str)
    for i, one in enumerate(ordered):
        for two in ordered[:i]:
            gap = sp.numer(sp.together(one - two))
            for symbol in sorted(gap.free_symbols, key=str):
                roots = sp.solve(gap, symbol)
                found |= {(symbol, root): None for root in roots if root.is_positive and root.is_number}
    return list(found)
