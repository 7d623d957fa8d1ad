"""Leading terms and exponents, derived as limits."""

from functools import cache

import sympy as sp

from fimcheck.theory.symbols import Expr, c_2


@cache
def leading(expr: Expr, large: sp.Symbol) -> tuple[Expr, Expr]:
    """(exponent, coefficient) with expr ~ coefficient * large^exponent as the symbol grows.

    The exponent is the limit of d log(expr)/d log(large), the coefficient that of expr/large^exponent. The
    larger of several expressions (Max) is the one of the larger exponent; equal exponents keep the Max in
    the coefficient.
    """
    if isinstance(expr, sp.Max):
        parts = [leading(a, large) for a in expr.args]
        top = sp.Max(*(e for e, _ in parts))
        return top, sp.Max(*(k for e, k in parts if e == top))
    if not expr.has(large):
        return sp.S.Zero, expr
    if isinstance(expr, sp.Pow) and not expr.exp.has(large):
        exponent, coefficient = leading(expr.base, large)
        return exponent * expr.exp, coefficient**expr.exp
    expr = sp.factor(expr)
    exponent = sp.limit(sp.cancel(large * sp.diff(expr, large) / expr), large, sp.oo)
    if not exponent.is_number:
        raise ValueError(f"{expr} does not grow like a power of {large}.")
    coefficient: Expr = sp.limit(sp.powsimp(expr / large**exponent), large, sp.oo)
    apart = coefficient.expand().as_independent(c_2, as_Add=True)
    parts: list[Expr] = [sp.factor(part) for part in apart]
    return exponent, sp.Add(*parts)


def leading_term(expr: Expr, large: sp.Symbol) -> Expr:
    """The leading term as the symbol grows."""
    if expr == 0:
        return expr
    exponent, coefficient = leading(expr, large)
    return coefficient * large**exponent
