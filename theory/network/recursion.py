"""Recursions of overlaps from block to block, linear with constant coefficients, solved.

The value of a component after k blocks is a sum of terms coefficient * k^power * rate^k.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp

from fimcheck.theory.simplest import simplest
from fimcheck.theory.symbols import Expr

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


Terms = dict[tuple[Expr, int], Expr]
"""A sequence in k: coefficient by (rate, power), the sum of coefficient * k^power * rate^k."""


class Names:
    """Symbols for rates and for coefficients that are long, in the order in which they were needed."""

    def __init__(self) -> None:
        self.lines: dict[sp.Symbol, Expr] = {}
        self.rates: list[sp.Symbol] = []

    def rate(self, value: Expr) -> Expr:
        """A rate chi; equal ones have one symbol."""
        value, full = simplest(value), simplest(self.written_out(value))
        value = min(value, full, key=lambda v: v.count_ops())
        if value.is_number or value in self.lines:
            return value
        for symbol in self.rates:
            if sp.simplify(self.written_out(self.lines[symbol] - value)) == 0:
                return symbol
        self.rates.append(self._new(f"chi{len(self.rates) + 1}", value))
        return self.rates[-1]

    def coefficient(self, value: Expr) -> Expr:
        """A coefficient, itself where it is short."""
        value = simplest(value)
        for symbol, known in self.lines.items():
            if known == value:
                return symbol
        return self._new(f"a{len(self.lines) - len(self.rates) + 1}", value) if value.count_ops() >= LONG else value

    def written_out(self, value: Expr) -> Expr:
        """Without names."""
        for symbol, known in reversed(self.lines.items()):
            value = value.subs(symbol, known)
        return value

    def _new(self, name: str, value: Expr) -> sp.Symbol:
        symbol = sp.Symbol(name, positive=True)
        self.lines[symbol] = value
        return symbol

    def meetings(self) -> list[tuple[sp.Symbol, Expr]]:
        """Values of one symbol at which two different rates are equal, or one is 1: there the solution is another."""
        rates = [*(self.written_out(self.lines[symbol]) for symbol in self.rates), sp.S.One]
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
