"""The edge of the limiting spectrum, the largest eigenvalue at finite size, the density, and the growth like ln M."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fimcheck.theory.edge.dyson import State, averages, resolvent, solved, start
from fimcheck.theory.edge.units import EdgeError, Units, units
from fimcheck.theory.network.chain import WideNetwork

TRACY_WIDOM_MEAN, TRACY_WIDOM_SD = -1.2065335745820, 1.2680340480
"""Of the real symmetric Tracy-Widom law (Tracy and Widom 1996; values by Bornemann 2010)."""


SPLITTING = 0.1
"""Determinant of the most extreme unit below which the lowest point of z belongs to that unit and not to the bulk: a
choice. Where sampling confirms the edge it is 0.13 (ReLU, L = 4, M = 2000) or more, for |x| it is below."""

SPLIT_OFF = (
    "the spectrum has no regular edge here: a single unit splits off before the bulk ends, and lambda_max grows like "
    "kappa_log ln M. Ask for theory.edge.logarithmic_slope, or for a smaller width."
)


@dataclass(frozen=True)
class Edge:
    """The right edge of the limiting spectrum at ``place``; g: the resolvent there; scale: (z''(g)/2)^(1/3).

    width: where the shared fields were cut, M. moment, variance: mean and variance of the law over the C T eigenvalues.
    """

    place: float
    g: float
    scale: float
    width: float
    moment: float
    variance: float

    def mean(self, samples: float) -> float:
        """E lambda_max of T samples, one output (Tracy and Widom)."""
        return self.place + TRACY_WIDOM_MEAN * self.scale * samples ** (-2 / 3)

    def sd(self, samples: float) -> float:
        """Its standard deviation given the shared fields."""
        return TRACY_WIDOM_SD * self.scale * samples ** (-2 / 3)


@lru_cache(maxsize=256)
def edge(
    net: WideNetwork,
    rho: float,
    classes: int = 1,
    width: float = np.inf,
    change: Callable[[Units], Units] | None = None,
) -> Edge:
    """The edge of a numeric chain under mean subtraction, T = M/rho.

    width: M, at whose extreme unit the shared fields are cut. Without a cut and with three layers or more there is no
    finite edge unless no unit can split off: Gaussian output weights are unbounded. Raises EdgeError where there is no
    regular edge. change: of the averages, to make a mistake on purpose.
    """
    found = units(net, rho, classes, width)
    found = found if change is None else change(found)
    curve = _Curve(found)
    g, place, curvature = curve.minimum()
    moment, variance = curve.moments()
    return Edge(place, g, (curvature / 2) ** (1 / 3), width, moment, variance)


class _Curve:
    """z(g) = c + 1/g + Sigma(g) on real g > 0, infinite where the equation has no positive solution."""

    def __init__(self, found: Units) -> None:
        self.found = found
        self._known: list[tuple[float, State]] = []

    def __call__(self, g: float) -> float:
        at = self._solved(g)
        return np.inf if at is None else self.found.shift + 1 / g + at[1]

    def _solved(self, g: float) -> tuple[State, float] | None:
        """The solution at g, from the one at the nearest smaller g that is known."""
        begin = max(((h, s) for h, s in self._known if h <= g), key=lambda pair: pair[0], default=None)
        at = solved(self.found, g, begin[1] if begin else None)
        if at is not None:
            self._known.append((g, at[0]))
        return at

    def minimum(self) -> tuple[float, float, float]:
        """(g, z, z'') at the smallest z(g)."""
        g, z = 1e-2 / (self.found.shift + 1), np.inf
        while (new := self(g)) < z:
            z, g = new, 1.3 * g
        g /= 1.3  # the lowest point of the scan
        for share in (4e-2, 1e-2, 2e-3):
            step = share * g
            around = [self(g + k * step) for k in (-2, -1, 0, 1, 2)]
            while not np.all(np.isfinite(around)) and share > 1e-2:  # the lowest point lies beside the last one
                g -= 2 * step
                around = [self(g + k * step) for k in (-2, -1, 0, 1, 2)]
            curvature = (-around[0] + 16 * around[1] - 30 * around[2] + 16 * around[3] - around[4]) / (12 * step**2)
            slope = (around[0] - 8 * around[1] + 8 * around[3] - around[4]) / (12 * step)
            if not (np.all(np.isfinite(around)) and curvature > 0):
                raise EdgeError(SPLIT_OFF)
            if share < 4e-2 and self.lowest(g) < SPLITTING:
                raise EdgeError(SPLIT_OFF)
            move = float(np.clip(-slope / curvature, -4 * step, 4 * step))
            lowest, g = around[2] + slope * move + curvature * move**2 / 2, g + move
        return g, lowest, curvature

    def lowest(self, g: float) -> float:
        """The smallest determinant of a unit at g: 1 where it does nothing, 0 where it is an eigenvalue by itself."""
        at = self._solved(g)
        if at is None:
            return 0.0
        layers = enumerate(self.found.layers)
        return min(averages(layer, g, at[0], i, self.found.classes).determinant for i, layer in layers)

    def moments(self) -> tuple[float, float]:
        """Mean c + Sigma(0) and variance Sigma'(0) of the law: z(g) = 1/g + mean + variance g + ..."""
        unit = 1e-3 / (self.found.shift + 1)
        sigma = [self(k * unit) - 1 / (k * unit) - self.found.shift for k in (1, 2, 3, 4)]
        # Extrapolated by the polynomial through the four points.
        coefficients = np.polynomial.polynomial.polyfit(np.arange(1, 5), sigma, 3)
        return float(self.found.shift + coefficients[0]), float(coefficients[1] / unit)


def density(net: WideNetwork, rho: float, points: np.ndarray, classes: int = 1, width: float = np.inf,
            away: float = 1e-3) -> np.ndarray:  # fmt: skip
    """The limiting density of the eigenvalues at some points, from -Im g(x + i away)/pi."""
    found = units(net, rho, classes, width)
    # From far above the real axis, where g = 1/z, down to it, and then along it.
    right, g, state = float(np.max(points)), 0j, start(found, complex)
    for height in away * 2.0 ** np.arange(14, -1, -1):
        z = complex(right, height)
        g, state = resolvent(found, z, g or 1 / (z - found.shift), state)
    out = np.empty(len(points))
    z = complex(right, away)
    for i in np.argsort(points)[::-1]:
        g, state = _followed(found, z, complex(points[i], away), g, state)
        z = complex(points[i], away)
        out[i] = -g.imag / np.pi
    return out


def _followed(
    found: Units, before: complex, z: complex, g: complex, state: State, halvings: int = 8
) -> tuple[complex, State]:
    """The resolvent at z from that at a point before, by smaller steps where one does not converge."""
    try:
        return resolvent(found, z, g, state)
    except EdgeError:
        if halvings == 0:
            raise
    middle = (before + z) / 2
    g, state = _followed(found, before, middle, g, state, halvings - 1)
    return _followed(found, middle, z, g, state, halvings - 1)


def logarithmic_slope(net: WideNetwork) -> float:
    """kappa_log: lambda_max ~ kappa_log ln M in the end, for three layers or more and Gaussian output weights.

    2 max_l (alpha_{l-1}/alpha_l) hq_2^{l-1} sigma_w2 tq_2^{l+1} sup_xi Var phi'.
    """
    found = units(net, 1.0)
    return max(
        2 * layer.backward * found.sigma_w2 * layer.forward * float(layer.slope_variance.max())
        for layer in found.layers
    )
