"""The limiting density of the eigenvalues, their distribution function and its quantiles."""

from functools import lru_cache

import numpy as np
from scipy import interpolate

from fimcheck.theory.edge.accuracy import enough_nodes
from fimcheck.theory.edge.curve import Curve
from fimcheck.theory.edge.dyson import Dyson, Resolvent
from fimcheck.theory.edge.units import Change, EdgeError, Units, as_it_is, units
from fimcheck.theory.network.chain import WideNetwork

AWAY = 1e-6
"""Distance of a density from the real axis, relative to the largest eigenvalue asked for."""

NODES = 30
"""Of the integral along a line upwards, which converges exponentially: to 1e-6 with 30."""

COARSE = 24
"""Points of the distribution function from which the quantiles start."""

STRIDE = 8
"""How much nearer to the axis the next point may be at once."""

EXACT = 1e-6
"""How far the distribution function may be from 0 and 1 beyond the ends of the spectrum."""


class _Downwards:
    """g(z) above the real axis, followed from far above, where it is 1/(z - mean), down a line of fixed real part."""

    def __init__(self, found: Units, mean: float, x: float) -> None:
        self.equation = Dyson(found)
        self.mean = mean
        self.far = 1e4 * (1 + abs(x) + self.mean)
        z = complex(x, self.far)
        self.last = Resolvent(z, 1 / (z - self.mean), np.zeros(self.equation.size)).at(self.equation, z)

    def __call__(self, z: complex) -> complex:
        """g at a point not far from the one before."""
        if z.imag > self.far:
            return 1 / (z - self.mean)
        while self.last.z.imag > STRIDE * z.imag:
            self.last = _followed(self.equation, self.last, complex(self.last.z.real, self.last.z.imag / STRIDE))
        self.last = _followed(self.equation, self.last, z)
        return self.last.g


def _followed(equation: Dyson, before: Resolvent, z: complex, halvings: int = 12) -> Resolvent:
    """The resolvent at z from that at a point before, by smaller steps where one does not converge."""
    try:
        return before.at(equation, z)
    except EdgeError:
        if halvings == 0:
            raise
    middle = _followed(equation, before, (before.z + z) / 2, halvings - 1)
    return _followed(equation, middle, z, halvings - 1)


def _units(net: WideNetwork, rho: float, classes: int) -> Units:
    return units(net, rho, classes, nodes=enough_nodes(net, rho, classes))


def density(
    net: WideNetwork, rho: float, points: np.ndarray, classes: int = 1, away: float | None = None
) -> np.ndarray:
    """The limiting density of a numeric chain under mean subtraction, T = M/rho, at some points: -Im g(x + i away)/pi.

    away: AWAY times the largest point where none is given. Raises EdgeError where the equation does not converge.

    >>> net = theory.WideNetwork(2, "tanh", last="mean", sigma_w2=2, sigma_b2=0.3, ratios=1)
    >>> edge.density(net, 2.0, np.array([1.0, 2.0])).round(3)
    array([0.514, 0.257])
    """
    away = AWAY * float(np.max(np.abs(points))) if away is None else away
    found = _units(net, rho, classes)
    g = _Downwards(found, Curve(Dyson(found)).moments()[0], float(np.max(points)))
    out = np.empty(len(points))
    for i in np.argsort(points)[::-1]:
        out[i] = -g(complex(points[i], away)).imag / np.pi
    return out


def distribution(net: WideNetwork, rho: float, x: float, classes: int = 1) -> float:
    """The share of the eigenvalues below x: 1/2 + (1/pi) times the integral of Re g(x + iy) over y > 0.

    The integral of the density from x on, with its path turned upwards, where g is smooth.

    >>> net = theory.WideNetwork(2, "tanh", last="mean", sigma_w2=2, sigma_b2=0.3, ratios=1)
    >>> round(edge.distribution(net, 2.0, 2.0), 3)
    0.533
    """
    found = _units(net, rho, classes)
    return float(_below(found, Curve(Dyson(found)).moments()[0], x))


def _below(found: Units, mean: float, x: float) -> float:
    points, weights = np.polynomial.legendre.leggauss(NODES)
    angles, weights = np.pi / 4 * (points + 1), np.pi / 4 * weights
    size = 0.2 * (1 + abs(x))
    heights = size * np.tan(angles) ** 2
    slopes = 2 * size * np.tan(angles) / np.cos(angles) ** 2
    g = _Downwards(found, mean, x)
    parts = [part * g(complex(x, y)).real for y, part in sorted(zip(heights, weights * slopes, strict=True))[::-1]]
    return 0.5 + sum(parts) / np.pi


def mean(net: WideNetwork, rho: float, classes: int = 1, change: Change = as_it_is) -> float:
    """Mean of the eigenvalues of the limiting law; change: see `quantiles`.

    >>> net = theory.WideNetwork(2, "tanh", last="mean", sigma_w2=2, sigma_b2=0.3, ratios=1)
    >>> round(edge.mean(net, 2.0), 3)
    2.279
    """
    return Curve(Dyson(change(_units(net, rho, classes)))).moments()[0]


@lru_cache(maxsize=64)
def quantiles(
    net: WideNetwork,
    rho: float,
    fractions: tuple[float, ...],
    classes: int = 1,
    change: Change = as_it_is,
) -> tuple[float, ...]:
    """Where these shares of the eigenvalues lie below; fractions: increasing, between 0 and 1.

    change: of the averages, to make a mistake on purpose. Raises EdgeError where the law has not the mass 1.

    >>> net = theory.WideNetwork(2, "tanh", last="mean", sigma_w2=2, sigma_b2=0.3, ratios=1)
    >>> [round(float(x), 3) for x in edge.quantiles(net, 2.0, (0.25, 0.75))]
    [1.16, 3.102]
    """
    found = change(_units(net, rho, classes))
    mean, variance = Curve(Dyson(found)).moments()
    if not variance > 0:
        raise EdgeError(f"there is no law of the eigenvalues: its variance would be {variance:.3g}.")
    high = mean + 3 * variance**0.5
    while (mass := _below(found, mean, high)) < 1 - EXACT and high < 1e6 * mean:
        high *= 1.5
    if abs(mass - 1) > EXACT or abs(_below(found, mean, 0.0)) > EXACT:
        raise EdgeError(f"the law of the eigenvalues fails its own check: its mass is {mass:.8f}.")
    # Denser at small eigenvalues, where most of them are.
    points = high * np.linspace(0, 1, COARSE) ** 1.5
    shape = interpolate.PchipInterpolator(points, [_below(found, mean, float(x)) for x in points])
    out = []
    for fraction in fractions:
        before = float(shape.solve(fraction, extrapolate=False)[0])
        miss = _below(found, mean, before) - fraction
        x = before - miss / float(shape.derivative()(before))
        now = _below(found, mean, x) - fraction
        out.append(x if now == miss else x - now * (x - before) / (now - miss))
    return tuple(out)
