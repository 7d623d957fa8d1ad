"""The number of a statement to many digits, line by line: how far float64 is from it."""

from collections.abc import Mapping

import sympy as sp
from sympy.core.function import AppliedUndef

from fimcheck.theory.network.averages import Average
from fimcheck.theory.network.where import Statement
from fimcheck.theory.symbols import Expr

DIGITS = 40


def value(found: Statement, numbers: Mapping[str, Expr]) -> Expr | None:
    """Its number to `DIGITS` digits, at exact numbers by name; None where an average has no closed form."""
    if not all(average.is_closed for average in found.averages):
        return None
    averages = {average.call.func.__name__: average for average in found.averages}
    known = dict(numbers)
    for line in found.lines:
        known[line.name.name] = _at(line.value, known, averages)
    return _at(found.formula, known, averages)


def _at(expr: Expr, known: Mapping[str, Expr], averages: Mapping[str, Average]) -> Expr:
    put = {s: known[s.name] for s in expr.free_symbols if s.name in known}  # type: ignore[attr-defined]
    expr = expr.subs(put)

    def called(call: Expr) -> Expr:
        average = averages[call.func.__name__]
        return average.value.subs(dict(zip(average.call.args, call.args, strict=True)), simultaneous=True)

    return sp.N(expr.replace(lambda e: isinstance(e, AppliedUndef), called), DIGITS)
