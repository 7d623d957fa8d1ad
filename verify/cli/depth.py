"""Formulas in a symbolic number of layers or blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import sympy as sp

from fimcheck import theory
from fimcheck.theory.network import depth
from fimcheck.theory.network.depth import Blocks
from fimcheck.theory.network.describe import compose
from fimcheck.theory.network.grammar import parse, unrolled
from fimcheck.theory.network.growth import growth, of_quantity
from fimcheck.theory.network.recursion import NotSolvable
from fimcheck.theory.network.where import Statement
from fimcheck.theory.writing.unicode import text as one_line

SYMBOLIC = re.compile(r"\bL\*")
"""A repeat whose number is a symbol."""


def blocks_of(text: str, last: str) -> Blocks:
    """The blocks of a network with one L*(...) at the outermost level."""
    if len(SYMBOLIC.findall(text)) != 1:
        raise ValueError(f"network {text!r}: L* stands in it more than once; one repeat may have a symbolic number")
    before = text[: SYMBOLIC.search(text).start()]  # type: ignore[union-attr]
    if before.count("(") != before.count(")") or not before.strip():
        raise ValueError(f"network {text!r}: L* must repeat steps after a first one, outside of other steps; move it")

    def repeated(n: int) -> str:
        return SYMBOLIC.sub(f"{n}*", text)

    first = len(unrolled(parse(before)))
    size = len(unrolled(parse(repeated(2)))) - len(unrolled(parse(repeated(1))))
    return Blocks(
        lambda n: compose(repeated(n), last=last),
        lambda n: [str(first + size * i) for i in range(n + 1)],
        depth.depth,
    )


def lines(
    found: theory.Prediction,
    blocks: Blocks,
    numbers: dict[str, sp.Expr],
    style: str,
    listed: Callable[[Statement], str],
) -> Iterator[str]:
    """The statement in L, the cases in which it is another, and how things grow if all numbers are given.

    listed: a statement in the style, which is text, latex or python.
    """
    network = {name for name in found.symbols if name not in ("M", "C", "rho")}
    complete = network <= numbers.keys()
    try:
        for case, statement in depth.in_depth(found, blocks, numbers):
            if case is not None and style != "python":
                yield f"% at {case[0]} = {case[1]}" if style == "latex" else f"at {one_line(case[0])} = {case[1]}:"
            if case is None or style != "python":
                yield listed(statement)
    except NotSolvable as error:
        if style != "text" or not complete:
            missing = ", ".join(sorted(network - numbers.keys()))
            raise ValueError(f"{error}; give numbers with --at ({missing}) for its growth, or a depth") from None
        yield f"{error}."
    if complete and style == "text":
        yield "growth with the number L of blocks at these numbers:"
        given = {name: float(value) for name, value in numbers.items()}
        if set(found.symbols) <= given.keys():
            yield f"  {of_quantity(found, blocks, given)}"
        for rate in growth(blocks, found.samples, {name: given[name] for name in network}):
            yield f"  {rate}"
