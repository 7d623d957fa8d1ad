"""A statement in LaTeX: an align block of one line for each name, which compiles with amsmath alone."""

import re
from collections.abc import Iterator

import sympy as sp
from sympy.printing.latex import LatexPrinter

from fimcheck.theory import symbols
from fimcheck.theory.network.averages import Average
from fimcheck.theory.network.prediction import Prediction
from fimcheck.theory.network.relation import RELATIONS
from fimcheck.theory.network.where import Statement
from fimcheck.theory.symbols import Expr

QUANTITIES = {
    "lambda_max": r"\lambda_{\max}",
    "lambda_1": r"\lambda_1",
    "lambda_top": r"\lambda_{\mathrm{top}}",
    "lambda_perp": r"\lambda_\perp",
    "alignment": r"\cos^2",
    "stable_rate": r"\eta_{\max}",
    "lambda_max_lower": r"\lambda_{\max}",
    "lambda_max_upper": r"\lambda_{\max}",
    "kappa1": r"\kappa_1",
    "kappa2": r"\kappa_2",
}
SQUARES = {"sigma_w2": r"\sigma_w", "sigma_b2": r"\sigma_b"}
LETTERS = {"h": r"\hat q", "Th": r"\Theta", "Thy": r"\Theta", "Thh": r"\Theta"}
NAME = re.compile(r"([A-Za-z]+?)([012m]?)(?:_(\d+)|\[(.+)\])")


class _Printer(LatexPrinter):
    """Powers of sigma as such, and the names of the where-list."""

    def _print_Symbol(self, expr: sp.Symbol, style: str = "plain") -> str:
        if expr.name in SQUARES:
            return SQUARES[expr.name] + "^2"
        if expr.name in QUANTITIES:
            return QUANTITIES[expr.name]
        found = NAME.fullmatch(expr.name)
        if found is None or expr.name.startswith(("alpha", "c_")):
            return symbols.LATEX.get(expr) or super()._print_Symbol(expr, style)
        letter, index, layer, path = found.groups()
        place = layer or "[" + re.sub(r"[a-z]+", lambda m: rf"\mathrm{{{m[0]}}}", path) + "]"
        if letter in ("Thy", "Thh"):
            place = f"{letter[-1]},{place}"
        return f"{LETTERS.get(letter, letter)}_{{{index}}}^{{{place}}}" if index else f"{letter}^{{{place}}}"

    def _print_Pow(self, expr: sp.Pow) -> str:
        base, exponent = expr.as_base_exp()
        if isinstance(base, sp.Symbol) and base.name in SQUARES and exponent.is_Integer and exponent > 0:
            return f"{SQUARES[base.name]}^{{{2 * exponent}}}"
        if isinstance(base, sp.Symbol) and NAME.fullmatch(base.name) and exponent.is_Integer and exponent > 0:
            return rf"\left({self._print(base)}\right)^{{{exponent}}}"
        return super()._print_Pow(expr)

    def _print_Function(self, expr: sp.Function, exp: str | None = None) -> str:
        name = type(expr).__name__
        found = re.fullmatch(r"(S?)([FGH])(\d*?)(z*)([012])(m?)", name)
        if found is None:
            return super()._print_Function(expr, exp)
        sphere, letter, number, z, count, _ = found.groups()
        above = f"{z}{letter}{number}" if sphere else f"({number})" if number else ""
        letter = (r"\mathcal{S}" if sphere else letter) + (f"^{{{above}}}" if above else "")
        call = rf"{letter}_{count}\!\left({', '.join(map(self._print, expr.args))}\right)"
        return call if exp is None else rf"\left({call}\right)^{{{exp}}}"


def text(expr: Expr) -> str:
    """LaTeX of an expression in the symbols of the theory and of a where-list."""
    return _Printer().doprint(expr)


def formula(found: Statement | Prediction) -> str:
    """The statement alone."""
    name = QUANTITIES.get(found.quantity, found.quantity)
    return f"{name} {RELATIONS[found.relation].latex} {text(found.formula)}"


def written(found: Statement) -> str:
    """The statement with its where-list as an ``align*`` environment."""
    return "\\begin{align*}\n" + " \\\\\n".join(_lines(found)) + "\n\\end{align*}"


def lines(found: Statement) -> list[str]:
    """The statement and the lines of its where-list, each by itself."""
    return [re.sub(" ?&", " ", line, count=1) for line in _lines(found)]


def _lines(found: Statement) -> Iterator[str]:
    name = QUANTITIES.get(found.quantity, found.quantity)
    yield f"{name} &{RELATIONS[found.relation].latex} {text(found.formula)}"
    for line in found.lines:
        yield f"{text(line.name)} &= {text(line.value)}"
    for word, phi in found.activations.items():
        yield rf"{_word(word)}(x) &= {text(phi)}"
    for average in found.averages:
        yield _average(average)


def _word(word: str) -> str:
    return re.sub(r"phi(\d*)", lambda m: r"\phi" + (f"_{{{m[1]}}}" if m[1] else ""), word)


def _average(average: Average) -> str:
    inside, _, h = average.meaning.partition("], ")
    kind, _, inside = inside.removesuffix("]").partition("[")
    inside = _word(re.sub(r"z([12])", r"z_\1", inside))
    where = rf",\quad {_word(h)}" if h else ""
    where = re.sub(r"\b(gamma|beta)\b", r"\\\1", where)
    mean = r"\mathbb{E}_{\mathcal{S}}" if kind == "E_S" else r"\mathbb{E}"
    closed = f" = {text(average.value)}" if average.is_closed else ""
    return rf"{text(average.call)} &= {mean}\!\left[{inside}\right]{where}{closed}"
