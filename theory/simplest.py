"""The shortest of several equal ways to write an expression."""

from functools import cache
from typing import Any

import sympy as sp

from fimcheck.theory.symbols import Expr

LONGEST = 400
"""Operations from which an expression is left as it is: factoring it may take minutes."""


@cache
def simplest(expr: Expr) -> Expr:
    """Of the expression and what SymPy makes of it by factoring, expanding and collecting, the one of fewest
    operations; itself where none has fewer.
    """
    if expr.is_Atom or expr.count_ops() > LONGEST or expr.has(sp.Piecewise):
        return expr
    ways = (sp.factor_terms, sp.factor, sp.together, sp.cancel, sp.expand, _collected, _by_arccos)
    found = [expr]
    for way in ways:
        try:
            found.append(way(expr))
        except (sp.PolynomialError, NotImplementedError):
            continue  # no polynomial in anything: this way does not apply
    return min(found, key=lambda e: e.count_ops())


def _by_arccos(expr: Expr) -> Expr:
    """pi/2 - arccos for arcsin, as in the kernels of Cho and Saul 2009."""
    turned: Any = expr.replace(sp.asin, lambda a: sp.pi / 2 - sp.acos(a))
    together: Any = sp.together(turned)
    return sp.factor_terms(together)


def _collected(expr: Expr) -> Expr:
    """Powers of one symbol after the other taken together."""
    expr = sp.expand(expr)
    for symbol in sorted(expr.free_symbols, key=str):
        expr = sp.collect(expr, symbol, sp.factor_terms)
    return expr
