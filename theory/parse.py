"""Expressions from text, through an allow-list: nothing in the text is ever executed.

The text is parsed to Python's syntax tree without evaluating it, and only numbers, one-letter-or-longer
names, arithmetic, comparisons inside Piecewise, and the functions of `FUNCTIONS` are turned into SymPy
objects.
"""

import ast
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from fractions import Fraction
from typing import Any

import sympy as sp

from fimcheck.theory.symbols import Expr

MAX_LENGTH = 400
MAX_DEPTH = 40
MAX_EXPONENT = 24

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": sp.exp,
    "log": sp.log,
    "sqrt": sp.sqrt,
    "sin": sp.sin,
    "cos": sp.cos,
    "atan": sp.atan,
    "sinh": sp.sinh,
    "cosh": sp.cosh,
    "tanh": sp.tanh,
    "erf": sp.erf,
    "erfc": sp.erfc,
    "abs": sp.Abs,
    "Abs": sp.Abs,
    "sign": sp.sign,
    "Heaviside": sp.Heaviside,
    "max": sp.Max,
    "Max": sp.Max,
    "min": sp.Min,
    "Min": sp.Min,
    "Phi": lambda z: (1 + sp.erf(z / sp.sqrt(2))) / 2,
    "sigmoid": lambda z: (1 + sp.tanh(z / 2)) / 2,
}
"""Functions that an expression may use; Phi is the standard normal distribution function."""

_CONSTANTS = {"pi": sp.pi, "e": sp.E}
_OPERATORS = {ast.Add: "__add__", ast.Sub: "__sub__", ast.Mult: "__mul__", ast.Div: "__truediv__"}
_RELATIONS = {ast.Lt: sp.Lt, ast.LtE: sp.Le, ast.Gt: sp.Gt, ast.GtE: sp.Ge}


class ParseError(ValueError):
    """Text outside the allow-list; the message names the part and what is allowed."""


def parse_expression(text: str) -> Expr:
    """The SymPy expression of a text such as "x*Phi(x)" or "Piecewise((exp(x) - 1, x < 0), (x, True))".

    Names other than functions and constants become real symbols. Decimal numbers are taken exactly.
    """
    if len(text) > MAX_LENGTH:
        raise ParseError(f"The expression has {len(text)} characters; at most {MAX_LENGTH} are read. Shorten it.")
    try:
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ParseError(f"{text!r} is not an expression: {error}.") from None
    found = _convert(tree.body, 0)
    if not isinstance(found, sp.Expr):
        raise ParseError(f"{text!r} is a condition, not an expression.")
    return found


def parse_activation(text: str, names: Iterable[str]) -> str | Expr:
    """One of the names, or the expression of a text in the variable x alone.

    A single other word is a mistyped name and not a variable: it is refused, with the nearest name.
    """
    if text in names:
        return text
    found = parse_expression(text)
    others = sorted(str(s) for s in found.free_symbols if str(s) != "x")
    if others or not found.free_symbols:
        near = get_close_matches(text.lower(), list(names), 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        what = f"it contains {', '.join(others)}" if others else "it is a constant"
        raise ParseError(f"activation {text!r} is neither a known name nor an expression in x: {what}.{hint}")
    return found


def parse_number(text: str) -> Expr:
    """The number written in a text such as "2", "0.1" or "pi/4"; no symbols."""
    found = parse_expression(text)
    if found.free_symbols:
        raise ParseError(f"{text!r} is not a number: it contains {', '.join(sorted(map(str, found.free_symbols)))}.")
    return found


def _convert(node: ast.AST, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ParseError(f"The expression is nested more than {MAX_DEPTH} deep.")
    if isinstance(node, ast.Constant):
        return _number(node.value)
    if isinstance(node, ast.Name):
        return _name(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _expr(node.operand, depth)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _expr(node.left, depth), _expr(node.right, depth)
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        if type(node.op) in _OPERATORS:
            return getattr(left, _OPERATORS[type(node.op)])(right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _call(node.func.id, node.args, depth)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _RELATIONS:
        return _RELATIONS[type(node.ops[0])](_expr(node.left, depth), _expr(node.comparators[0], depth))
    raise ParseError(
        f"{ast.unparse(node)!r} is not allowed. Use numbers, names, + - * / **, and "
        f"{', '.join(FUNCTIONS)} or Piecewise."
    )


def _expr(node: ast.AST, depth: int) -> Expr:
    value = _convert(node, depth + 1)
    if not isinstance(value, sp.Expr):
        raise ParseError(f"{ast.unparse(node)!r} is a condition; only Piecewise takes conditions.")
    return value


def _number(value: object) -> Any:
    if value is True:
        return sp.true
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**30:
        return sp.Integer(value)
    if isinstance(value, float) and abs(value) < 1e30:
        exact = Fraction(repr(value))
        return sp.Rational(exact.numerator, exact.denominator)
    raise ParseError(f"{value!r} is not a real number below 1e30.")


def _name(name: str) -> Expr:
    if name in FUNCTIONS or name == "Piecewise" or "__" in name or not name.isascii():
        raise ParseError(f"{name!r} is not the name of a variable here.")
    return _CONSTANTS.get(name, sp.Symbol(name, real=True))


def _power(base: Expr, exponent: Expr) -> Expr:
    if base != sp.E and (not exponent.is_Rational or abs(exponent) > MAX_EXPONENT):
        raise ParseError(f"The exponent {exponent} has to be a rational number of size at most {MAX_EXPONENT}.")
    if base.is_Rational and exponent.is_Rational and max(abs(base.p), base.q) > 10**12:
        raise ParseError(f"{base}**{exponent} is too large.")
    return base**exponent


def _call(name: str, args: list[ast.expr], depth: int) -> Expr:
    if name == "Piecewise":
        cases = []
        for arg in args:
            if not isinstance(arg, ast.Tuple) or len(arg.elts) != 2:
                raise ParseError("Piecewise takes pairs (value, condition), the last one (value, True).")
            cases.append((_expr(arg.elts[0], depth), _convert(arg.elts[1], depth + 1)))
        return sp.Piecewise(*cases)
    if name not in FUNCTIONS:
        raise ParseError(f"{name!r} is not a known function. Known: {', '.join(FUNCTIONS)}, Piecewise.")
    values = [_expr(a, depth) for a in args]
    many = name.lower() in ("max", "min")
    if not (len(values) >= 2 if many else len(values) == 1):
        raise ParseError(f"{name} got {len(values)} arguments; it takes {'two or more' if many else 'one'}.")
    return FUNCTIONS[name](*values)
