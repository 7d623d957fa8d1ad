"""Certificates: every closed form against the definition of its expectation, to 25 digits and more.

The independent evaluation knows nothing of the derivations; it integrates f(u) g(v) over the plane with
mpmath. Smooth functions: the trapezoidal rule in independent z1, z2 with u = mu + sqrt(p) z1, v = mu +
(c/p)(u - mu) + .. z2, whose error falls like exp(-const/step^2). Kinks at mu: polar coordinates u = mu +
sqrt(p) r cos(t), v = mu + sqrt(p) r cos(t - t0), cos(t0) = c/p, where the kinks are rays. A correlation
near +-1 is as harmless there as any other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any, TypeAlias

import mpmath
import sympy as sp

from fimcheck.theory.gaussian.activations import Activation
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.gaussian.kernel import kernel
from fimcheck.theory.symbols import Expr, c, mu, p, x

DIGITS = 25
"""Agreement that a certificate asks for, relative to E|f(u) g(v)|."""

_WORKING = 36

Real: TypeAlias = Any
"""An mpmath number; mpmath has no annotations."""

Point = tuple[Expr, Expr, Expr]
"""Rational p, c, mu."""


@dataclass(frozen=True)
class Certificate:
    """What was compared (for instance "E[phi phi]"), the method that derived it, and digits, the worst
    agreement found.

    points: the (p, c, mu) tried.
    """

    what: str
    method: str
    digits: float
    points: tuple[Point, ...]

    def _repr_latex_(self) -> str:
        return rf"$\text{{{self.what} by {self.method}: {self.digits:.1f} digits at {len(self.points)} points}}$"

    @property
    def holds(self) -> bool:
        """Whether every point agrees to `DIGITS` digits."""
        return self.digits >= DIGITS


def certify(act: Activation, seed: int = 0, count: int = 2) -> tuple[Certificate, ...]:
    """Certificates of the closed forms that an activation's recursion uses, at `count` random and two
    extreme points.

    >>> all(found.holds for found in theory.certify(theory.activation("relu")))
    True
    """
    found = []
    slope = act.phi.derivative()
    for name, f in (("phi", act.phi), ("phi'", slope)):
        if f.deltas:
            continue
        for shifted in (False, True):
            derived = kernel(f, f).shifted if shifted else kernel(f, f).centered
            if derived.expr is not None and not (shifted and f.breaks):
                what = f"E[{name} {name}]" + (" shifted" if shifted else "")
                points = tuple(_points(Random(seed), count, shifted))
                digits = min(agreement(f, f, derived.expr, point) for point in points)
                found.append(Certificate(what, derived.method, digits, points))
    return tuple(found)


def _points(random: Random, count: int, shifted: bool) -> Iterator[Point]:
    """Random rational (p, c, mu), then one correlation within 1e-8 of each end."""
    correlations = [sp.Rational(random.randint(-90, 90), 100) for _ in range(count)]
    correlations += [1 - sp.Rational(1, 10**8), sp.Rational(1, 10**8) - 1]
    for rho in correlations:
        variance = sp.Rational(random.randint(10, 200), 100)
        shift = sp.Rational(random.randint(-100, 100), 100) if shifted else sp.S.Zero
        yield variance, rho * variance, shift


def agreement(f: Function, g: Function, closed: Expr, point: Point) -> float:
    """Decimal digits to which a closed form in p, c, mu agrees with the definition at a point."""
    with mpmath.workdps(2 * _WORKING):  # the closed form may cancel where |f(u) g(v)| is small
        stated = mpmath.mpmathify(sp.lambdify([p, c, mu], closed, "mpmath")(*(_exact(a) for a in point)))
    with mpmath.workdps(_WORKING):
        value, size = _definition(f, g, point)
        error = abs(stated - value) / size
        return float(-mpmath.log10(error)) if error else float(_WORKING)


def _exact(number: Expr) -> Real:
    return mpmath.mpf(int(number.p)) / int(number.q)


def _definition(f: Function, g: Function, point: Point) -> tuple[Real, Real]:
    """E f(u) g(v) and E|f(u) g(v)|, nodes added until two values agree."""
    kinked = bool(f.breaks or g.breaks)
    if kinked and any(t != point[2] for t in (*f.breaks, *g.breaks)):
        raise ValueError(f"Kinks at {f.breaks}: only kinks at the mean {point[2]} have an independent integral here.")
    previous = None
    for order in (24, 36, 54, 81, 122, 183, 275):
        value, size = _polar(f, g, point, order) if kinked else _trapezoidal(f, g, point, order)
        if previous is not None and abs(value - previous) <= mpmath.mpf(10) ** (-DIGITS - 4) * size:
            return value, size
        previous = value
    raise ArithmeticError(f"The independent integral does not settle at {point}.")


def _trapezoidal(f: Function, g: Function, point: Point, order: int) -> tuple[Real, Real]:
    variance, covariance, shift = (_exact(a) for a in point)
    scale, own = (
        mpmath.sqrt(variance),
        mpmath.sqrt((variance - covariance) * (variance + covariance) / variance),
    )
    left, right = _compiled(f), _compiled(g)
    step = (26 + 6 * scale) / order  # exponentials move the weight out by a few standard deviations
    nodes = [step * (k - order // 2) for k in range(order + 1)]
    weights = [step * mpmath.exp(-(z**2) / 2) / mpmath.sqrt(2 * mpmath.pi) for z in nodes]
    total, size = mpmath.mpf(0), mpmath.mpf(0)
    for z, weight in zip(nodes, weights, strict=True):
        outer = weight * left(shift + scale * z)
        center = shift + covariance / scale * z
        terms = [w * right(center + own * y) for y, w in zip(nodes, weights, strict=True)]
        total += outer * mpmath.fsum(terms)
        size += abs(outer) * mpmath.fsum(terms, absolute=True)
    return total, size


def _polar(f: Function, g: Function, point: Point, order: int) -> tuple[Real, Real]:
    variance, covariance, shift = (_exact(a) for a in point)
    turn = mpmath.acos(covariance / variance)
    scale = mpmath.sqrt(variance)
    left, right = _compiled(f), _compiled(g)
    radii = [(r, w * r * mpmath.exp(-(r**2) / 2)) for r, w in _panels([0, 3, 7, 16], order)]
    total, size = mpmath.mpf(0), mpmath.mpf(0)
    for angle, weight in _angles(turn, order):
        a, b = scale * mpmath.cos(angle), scale * mpmath.cos(angle - turn)
        terms = [w * left(shift + a * r) * right(shift + b * r) for r, w in radii]
        total += weight * mpmath.fsum(terms)
        size += weight * mpmath.fsum(terms, absolute=True)
    return total / (2 * mpmath.pi), size / (2 * mpmath.pi)


def _angles(turn: Real, order: int) -> list[tuple[Real, Real]]:
    """Panels around the circle between the rays u = mu and v = mu."""
    quarter, whole = mpmath.pi / 2, 2 * mpmath.pi
    rays = sorted({quarter, 3 * quarter, *((turn + s * quarter) % whole for s in (1, 3))})
    return _panels([*rays, rays[0] + whole], order)


def _panels(ends: list[Real], order: int) -> list[tuple[Real, Real]]:
    out = []
    for low, high in pairwise(ends):
        middle, half = mpmath.mpf(low + high) / 2, mpmath.mpf(high - low) / 2
        out += [(middle + half * node, half * weight) for node, weight in _legendre(order)]
    return out


@cache
def _legendre(order: int) -> list[tuple[Real, Real]]:
    """Gauss-Legendre nodes and weights, by Newton's method from the usual guess."""
    with mpmath.workdps(_WORKING + 10):
        out = []
        for k in range(1, order + 1):
            node = mpmath.cos(mpmath.pi * (k - mpmath.mpf(1) / 4) / (order + mpmath.mpf(1) / 2))
            for _ in range(8):
                before, value = mpmath.mpf(1), node
                for n in range(2, order + 1):
                    before, value = value, ((2 * n - 1) * node * value - (n - 1) * before) / n
                slope = order * (node * value - before) / (node**2 - 1)
                node -= value / slope
            out.append((node, 2 / ((1 - node**2) * slope**2)))
        return out


@cache
def _compiled(f: Function) -> Callable[[Real], Real]:
    branches = [sp.lambdify(x, b, "mpmath") for b in f.branches]
    breaks = [_exact(sp.Rational(b)) for b in f.breaks]

    def value(at: Real) -> Real:
        return branches[sum(at >= b for b in breaks)](at)

    return value if breaks else branches[0]
