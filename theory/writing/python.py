"""A statement as Python source that runs without this package: the math module, and numpy and scipy where an average
has no closed form.
"""

import re
from collections.abc import Iterator

import sympy as sp
from sympy.printing.numpy import SciPyPrinter
from sympy.printing.pycode import PythonCodePrinter

from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.network.averages import Average
from fimcheck.theory.network.where import Statement
from fimcheck.theory.symbols import Expr, x

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

_SPHERE = '''
def _arcs(center, reach, power, cut):
    """Points center + reach cos(t) and weights proportional to sin(t)^power dt that sum to 1, split where told."""
    grid = numpy.concatenate([numpy.linspace(-12, 12, 49), numpy.asarray(cut, float)])
    limit = min(1.0, 12 / reach)
    ends = numpy.arccos(numpy.clip(numpy.append((grid - center) / reach, [-limit, limit]), -limit, limit))
    ends = numpy.unique(ends)
    nodes, weights = numpy.polynomial.legendre.leggauss(16)
    half = numpy.diff(ends)[:, None] / 2
    t = ((ends[1:] + ends[:-1])[:, None] / 2 + half * nodes).ravel()
    w = (half * weights).ravel() * numpy.sin(t) ** power
    return center + reach * numpy.cos(t), w / w.sum()


def _sphere(h, kinks, count, n):
    """E h(z_1), E h(z_1)^2 or E h(z_1) h(z_2) for count 0, 1, 2; z uniform, |z|^2 = n, z_1 + .. + z_n = 0."""
    kinks, square = numpy.asarray(kinks, float), n - 1
    share = 1 - 1 / square**2
    half = numpy.sqrt(share * (square - kinks[kinks**2 < square] ** 2))
    touch = numpy.concatenate([-kinks[kinks**2 < square] / square + s * half for s in (1, -1)])
    near = numpy.concatenate([[0.0], 2.0 ** -numpy.arange(30), -(2.0 ** -numpy.arange(30))])
    z, w = _arcs(0.0, square**0.5, n - 3, numpy.concatenate([kinks, (touch[:, None] + near).ravel()]))
    if count < 2:
        return float(w @ h(z) ** (count + 1))
    total = 0.0
    for weight, at in zip(w * h(z), z):
        second, inner = _arcs(-at / square, (share * max(square - at**2, 1e-300)) ** 0.5, n - 4, kinks)
        total += weight * float(inner @ h(second))
    return total
'''


class _Printer(PythonCodePrinter):
    """Scalars through math, averages as calls, the names of a where-list as identifiers."""

    def __init__(self) -> None:
        super().__init__({"fully_qualified_modules": True, "allow_unknown_functions": True})

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        return re.sub(r"\W+", "_", expr.name).strip("_")

    def text(self, expr: Expr) -> str:
        """An expression in one line."""
        return str(self.doprint(expr))


_arrays = SciPyPrinter({"fully_qualified_modules": True})


def written(found: Statement) -> str:
    """Source of a function of the statement's symbols, by keyword, with the names of the where-list inside."""
    printer = _Printer()
    own = {line.name for line in found.lines}
    free = set().union(found.formula.free_symbols, *(line.value.free_symbols for line in found.lines)) - own
    names = sorted(s.name for s in free)  # type: ignore[attr-defined]
    yet = [a for a in found.averages if not a.is_closed]
    head = ["import math"]
    if yet:
        head = ["import functools", *head, "", "import numpy", "import scipy.constants", "import scipy.special"]
    helpers = [
        text.strip()
        for text, on_sphere in ((_PAIR, False), (_SPHERE, True))
        if any(average.on_sphere == on_sphere for average in yet)
    ]
    kind = "" if found.relation == "equals" else f" {found.relation}"
    body = [f"def {found.quantity}({'*, ' if names else ''}{', '.join(names)}):"]
    where = f" For {', '.join(map(str, found.conditions))}." if found.conditions else ""
    body.append(f'    """{found.quantity}{kind}{": " * bool(found.source)}{found.source}.{where}"""')
    for average in found.averages:
        body += ["", *(f"    {line}" for line in _average(average, printer))]
    body += [""] if found.averages else []
    body += [f"    {printer.text(line.name)} = {printer.text(line.value)}" for line in found.lines]
    body.append(f"    return {printer.text(found.formula)}")
    return "\n\n\n".join(["\n".join(head), *helpers, "\n".join(body)]) + "\n"


def _average(average: Average, printer: _Printer) -> Iterator[str]:
    name, arguments = str(average.call.func), [printer.text(a) for a in average.call.args]
    signature = f"def {name}({', '.join(arguments)}):"
    if average.is_closed:
        yield signature
        yield f"    return {printer.text(average.value)}"
        return
    yield "@functools.cache"  # its integral, which takes a second, stands in several lines
    yield signature
    f = _lambda(average.f)
    kinks = [float(b) for b in average.f.breaks]
    if average.on_sphere:
        yield f"    f = {f}"
        scaled = f"[(b - beta) / gamma for b in {kinks}]"
        power = f"z**{average.power} * " if average.power else ""
        yield f"    return _sphere(lambda z: {power}f(gamma * z + beta), {scaled}, {average.count}, n)"
        return
    p, c, mean = arguments[0], arguments[1 if average.count == 2 else 0], "mu" if "mu" in arguments else "0.0"
    second = f if average.count else f"lambda {x}: 1.0 + 0 * {x}"
    yield f"    return _pair({f}, {second}, {kinks}, {p}, {c}, {mean})"


def _lambda(f: Function) -> str:
    return f"lambda {x}: {_arrays.doprint(f.expr)} + 0 * {x}"
