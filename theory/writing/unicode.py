"""A statement for a terminal: one line for each name, nothing wider than asked."""

import re
import textwrap
from collections.abc import Iterator
from itertools import groupby

import sympy as sp
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from fimcheck.theory.network.averages import Average
from fimcheck.theory.network.relation import RELATIONS
from fimcheck.theory.network.where import Line, Statement
from fimcheck.theory.symbols import Expr

SYMBOLS = {
    "sigma_w2": "σ_w²",
    "sigma_b2": "σ_b²",
    "gamma": "γ",
    "beta": "β",
    "last_gamma": "γ_L",
    "rho": "ρ",
    "alpha": "α",
    "kappa1": "κ₁",
    "kappa2": "κ₂",
    "mu": "m",
    "Delta": "Δ",
}
SQUARES = {"sigma_w2": "σ_w", "sigma_b2": "σ_b"}
"""Symbols of squares, whose powers are written as powers of their roots."""
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
FUNCTIONS = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "Max": "max", "Min": "min", "Abs": "abs"}


class _Printer(StrPrinter):
    """One line, Greek letters, powers as superscripts."""

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        if found := re.fullmatch(r"chi(\d+)", expr.name):
            return "χ" + found[1].translate(SUBSCRIPTS)
        return SYMBOLS.get(expr.name, expr.name.replace("alpha_", "α_"))

    def _as_ordered_terms(self, expr: Expr, order: str | None = None) -> list[Expr]:  # type: ignore[override]
        """Sums of products of width ratios from the first layer on."""
        ratios = all(s.name.startswith("alpha_") for s in expr.free_symbols)
        return sorted(expr.args, key=_layers) if ratios else super()._as_ordered_terms(expr, order)

    def _print_Pow(self, expr: sp.Pow, rational: bool = False) -> str:  # noqa: ARG002
        base, exponent = expr.as_base_exp()
        if exponent == sp.Rational(1, 2):
            return f"√({self._print(base)})"
        if exponent.is_negative:
            under = sp.Pow(base, -exponent)
            inside = self._print(under)
            return f"1/({inside})" if isinstance(under, sp.Add | sp.Mul) else f"1/{inside}"
        if not exponent.is_Integer:
            above = self._print(exponent)
            return f"{self.parenthesize(base, PRECEDENCE['Pow'])}^{above if exponent.is_Symbol else f'({above})'}"
        if isinstance(base, sp.Symbol) and base.name in SQUARES:
            return SQUARES[base.name] + str(2 * exponent).translate(SUPERSCRIPTS)
        inside = self._print(base)
        plain = isinstance(base, sp.Symbol) and inside[-1] not in "²]"
        return (inside if plain else f"({inside})") + str(exponent).translate(SUPERSCRIPTS)

    def _print_Function(self, expr: sp.Function) -> str:
        name = type(expr).__name__
        return f"{FUNCTIONS.get(name, name)}({self.stringify(expr.args, ', ')})"

    _print_Max = _print_Min = _print_Abs = _print_Function

    def _print_Pi(self, expr: Expr) -> str:  # noqa: ARG002
        return "π"


def _layers(expr: Expr) -> list[int]:
    return sorted(int(s.name.removeprefix("alpha_")) for s in expr.free_symbols)


def text(expr: Expr) -> str:
    """An expression in one line."""
    return _Printer({"order": None}).doprint(expr).replace("*", " ")


def written(found: Statement, width: int = 100) -> str:
    """The statement, its where-list and the averages in it; lines of at most ``width`` characters."""
    head = f"{found.quantity} {RELATIONS[found.relation].plain} {text(found.formula)}"
    lines = _wrapped(head, width)
    notes = [f"[{found.source}]"] if found.source else []
    notes += [f"for {', '.join(map(_condition, found.conditions))}"] if found.conditions else []
    if notes:
        note = f"   {', '.join(notes)}"
        fits = len(lines) == 1 and len(head + note) <= width
        lines = [head + note] if fits else [*lines, *_wrapped(note, width)]
    if found.lines:
        lines += _wrapped("where" + _legend(found), width)
        lines += [wrapped for line in _blocks(found.lines) for wrapped in _wrapped("  " + line, width)]
    if found.averages:
        lines.append("with")
        for name, phi in found.activations.items():
            lines += _wrapped(f"  {name.replace('phi', 'φ')}(x) = {text(phi)}", width)
        for average in found.averages:
            lines += _wrapped("  " + _average(average), width)
        lines += _wrapped("  " + _meaning(found), width)
    return "\n".join(lines)


def _condition(condition: Expr) -> str:
    return f"{text(condition.lhs)} {condition.rel_op.replace('==', '=')} {text(condition.rhs)}"


def _legend(found: Statement) -> str:
    """What the indices mean."""
    kinds = {re.split(r"[\d_\[]", line.name.name)[0] for line in found.lines}
    words = {
        "q": "q: overlap after dense",
        "h": "h: after φ",
        "y": "y: after normalizing",
        "K": "K: overlap after a step",
        "Th": "Th: tangent overlap",
    }
    known = [words[k] for k in words if k in kinds]
    known += ["n: after all blocks"] if any(line.name.name.endswith("[n]") for line in found.lines) else []
    return f" (1: one sample, 2: two samples; {'; '.join(known)})" if known else ""


def _average(average: Average) -> str:
    meaning = average.meaning.replace("phi", "φ").replace("gamma z", "γ z").replace("beta", "β")
    meaning = meaning.replace("^2", "²").replace("z1", "z₁").replace("z2", "z₂")
    closed = f" = {text(average.value)}" if average.is_closed else ""
    return f"{text(average.call)} = {meaning}{closed}"


def _meaning(found: Statement) -> str:
    parts = []
    if not all(average.on_sphere for average in found.averages):
        shifted = any(len(a.call.args) > 1 and a.call.args[-1].name == "mu" for a in found.averages)
        parts.append(f"u, v Gaussian of mean {'m' if shifted else '0'}, variance p and covariance c")
    if any(average.on_sphere for average in found.averages):
        parts.append("E_S over z uniform on the sphere |z|² = n, z₁ + .. + z_n = 0")
    return "; ".join(parts)


def _wrapped(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, subsequent_indent="      ", break_long_words=False, break_on_hyphens=False)


def _blocks(lines: tuple[Line, ...]) -> Iterator[str]:
    """The lines as text; blocks that repeat the one before, a step or layer further on, are written once."""
    blocks = [
        (number, [f"{text(line.name)} = {text(line.value)}" for line in own])
        for number, own in groupby(lines, lambda line: line.block)
    ]
    start = 0
    while start < len(blocks):
        number, own = blocks[start]
        stop, shared = start + 1, None
        while stop < len(blocks) and blocks[stop][0] == blocks[stop - 1][0] + 1:
            mask = _repeats(blocks[stop - 1][1], blocks[stop][1])
            if mask is None or (shared is not None and mask != shared):
                break
            stop, shared = stop + 1, mask
        if shared is None or not any(shared):
            yield from own
            start += 1
            continue
        yield f"for k = {number}..{blocks[stop - 1][0]}:"
        yield from _with_letter(own, number, shared)
        start = stop


INDEX = re.compile(r"(?<=\w_)\d+|(?<=\[)\d+")


def _repeats(one: list[str], two: list[str]) -> list[bool] | None:
    """For two blocks alike but for indices, which of these are one more in the second; None if they are not alike."""
    first, second = "\n".join(one), "\n".join(two)
    if INDEX.sub("#", first) != INDEX.sub("#", second):
        return None
    steps = [int(b) - int(a) for a, b in zip(INDEX.findall(first), INDEX.findall(second), strict=True)]
    return [step == 1 for step in steps] if set(steps) <= {0, 1} else None


def _with_letter(lines: list[str], number: int, moving: list[bool]) -> list[str]:
    """The lines of block ``number`` with k in the place of its number."""
    flags = iter(moving)

    def letter(match: re.Match[str]) -> str:
        offset = int(match[0]) - number
        if not next(flags):
            return match[0]
        name = "k" if offset == 0 else f"k{offset:+d}"
        return f"{{{name}}}" if offset and match.string[match.start() - 1] == "_" else name

    return ["  " + line for line in INDEX.sub(letter, "\n".join(lines)).split("\n")]
