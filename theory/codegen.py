"""Python source of a function that computes an expression without this package: the math module, and numpy
and scipy where an expectation has no closed form.
"""

from typing import Any

import sympy as sp
from sympy.printing.numpy import SciPyPrinter
from sympy.printing.pycode import PythonCodePrinter

from theory.functions import Function
from theory.gaussian import GaussianPair
from theory.sphere import SpherePair
from theory.symbols import Expr, x

_PAIR = '''
def _panels(center, scale, kinks):
    """Gauss-Legendre points and weights for N(center, scale^2), split at the kinks."""
    ends = numpy.concatenate([center + scale * numpy.linspace(-9.5, 9.5, 39), numpy.asarray(kinks, float)])
    ends = numpy.unique(numpy.clip(ends, center - 9.5 * scale, center + 9.5 * scale))
    nodes, weights = numpy.polynomial.legendre.leggauss(16)
    half = numpy.diff(ends)[:, None] / 2
    u = ((ends[1:] + ends[:-1])[:, None] / 2 + half * nodes).ravel()
    density = numpy.exp(-(((u - center) / scale) ** 2) / 2) / (numpy.sqrt(2 * numpy.pi) * scale)
    return u, (half * weights).ravel() * density


def _pair(f, g, kinks, p, c, mu):
    """E f(u) g(v), (u, v) Gaussian with mean mu, variance p, covariance c."""
    u, w = _panels(mu, p**0.5, kinks)
    if abs(p - c) <= 1e-14 * p:
        return float(w @ (f(u) * g(u)))
    total, own = 0.0, max((p - c) * (p + c) / p, 0.0) ** 0.5
    for weight, at in zip(w * f(u), u):
        v, inner = _panels(mu + c / p * (at - mu), own, kinks)
        total += weight * float(inner @ g(v))
    return total
'''


class _Printer(PythonCodePrinter):
    """Scalars through math; an expectation left as it is becomes a call of the helper above."""

    def __init__(self, functions: dict[sp.Symbol, Expr]) -> None:
        super().__init__({"fully_qualified_modules": True})
        self._functions = functions
        self._arrays = SciPyPrinter({"fully_qualified_modules": True})

    def _print_GaussianPair(self, node: Any) -> str:
        functions = [self._functions[tag] for tag in node.args[:2]]
        kinks = sorted({float(b) for h in functions for b in Function.from_expr(h).breaks})
        left, right = (f"lambda {x}: {self._arrays.doprint(h)} + 0 * {x}" for h in functions)
        arguments = ", ".join(self._print(a) for a in node.args[2:])
        return f"_pair({left}, {right}, {kinks}, {arguments})"


def python_source(name: str, expr: Expr, documentation: str) -> str:
    """Source of a function `name` of the expression's symbols, by keyword."""
    if expr.has(SpherePair):
        raise ValueError(
            "This prediction holds expectations over a normalized batch that have no closed form, and "
            "no source is made for those. Use evaluate, or an activation that is homogeneous or "
            "polynomial."
        )
    names = sorted(str(s) for s in expr.free_symbols)
    # The functions under an expectation are bound to x: they stay out of the search for common
    # subexpressions.
    tags: dict[Expr, sp.Symbol] = {}
    for node in expr.atoms(GaussianPair):
        for h in node.args[:2]:
            tags.setdefault(h, sp.Dummy("f"))
    expr = expr.replace(GaussianPair, lambda f, g, *rest: GaussianPair(tags[f], tags[g], *rest))
    shared, (result,) = sp.cse(expr, sp.numbered_symbols("t_"))
    printer = _Printer({tag: h for h, tag in tags.items()})
    lines = [f"    {symbol} = {printer.doprint(value)}" for symbol, value in shared]
    signature = f"def {name}({'*, ' if names else ''}{', '.join(names)}):"
    text = [signature, f'    """{documentation}"""', *lines, f"    return {printer.doprint(result)}"]
    head = f"import math\n\nimport numpy\nimport scipy.special\n\n{_PAIR}" if tags else "import math\n"
    return head + "\n\n" + "\n".join(text) + "\n"
