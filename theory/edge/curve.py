"""z(g), the inverse of the trace of the resolvent, right of the spectrum: its lowest point is the edge."""

from functools import cached_property
from typing import Any

import numpy as np
from scipy import optimize

from fimcheck.theory.edge.dyson import PRECISION, State, critical, solved
from fimcheck.theory.edge.units import Units

SPLITTING = 0.1
"""The most extreme unit is said to split off where its determinant is below this share of that of a unit without
backward field: then the lowest point of z belongs to that unit and not to the bulk. A choice."""


MOVES, SETTLED = 8, 0.05
"""Most of Newton's steps with points at one distance; the last one has to be shorter than this share of it."""


class SplitOff(ValueError):
    """The spectrum of these units has no regular edge: a single unit splits off before the bulk ends."""


class Curve:
    """z(g) = c + 1/g + Sigma(g) on real g > 0, infinite where the equation has no positive solution.

    rough: of the single units of a given network, to about 1e-6 instead of 1e-10: networks differ by far more.
    """

    def __init__(self, found: Units, rough: bool = False) -> None:
        self.found, self.rough = found, rough
        self.precision, self.steps = (1e-9, (4e-2, 1e-2)) if rough else (PRECISION, (4e-2, 1e-2, 2e-3))
        self._known: list[tuple[float, State, float]] = []

    def __call__(self, g: float) -> float:
        at = self.solved(g)
        return np.inf if at is None else self.found.shift + 1 / g + at[1]

    def solved(self, g: float) -> tuple[State, float] | None:
        """The solution at g and Sigma(g), from the solution at the nearest smaller g that is known."""
        near = max((known for known in self._known if known[0] <= g), key=lambda known: known[0], default=None)
        if near is not None and near[0] == g:
            return near[1:]
        at = solved(self.found, g, near[1] if near else None, self.precision)
        if at is not None:
            self._known.append((g, *at))
        return at

    @cached_property
    def scale(self) -> float:
        """1 over the mean of the law: g far below it leaves z = 1/g nearly."""
        at = solved(self.found, 1e-9 / (self.found.shift + 1))
        assert at is not None
        return 1 / (self.found.shift + at[1])

    def minimum(self, near: float | None = None) -> tuple[float, float, float]:
        """(g, z, z'') at the smallest z(g); near: a guess of that g. Raises SplitOff where the bulk has none."""
        g = self._scanned() if near is None or not np.isfinite(self(near)) else near
        try:
            return self._refined(g, self.steps)
        except SplitOff:
            if self.rough:  # of single units: a lowest point right next to the end belongs to one of them
                raise
            # It may lie so near to where the solution of a whole distribution ends that the steps passed it.
            return self._refined(self._bracketed(), (self.steps[-1] / 2, self.steps[-1] / 4))

    def _refined(self, g: float, steps: tuple[float, ...]) -> tuple[float, float, float]:
        """(g, z, z'') by Newton's method from differences, whose steps are shares of g; SplitOff where z falls on."""
        lowest = curvature = move = step = np.nan
        for share in steps:
            settled = 4 if self.rough or share != steps[-1] else SETTLED
            for _ in range(MOVES):
                lowest, curvature, move, g, step = self._moved(g, share)
                if abs(move) < settled * step:
                    break
        if not abs(move) < 4 * step:
            raise SplitOff
        return g, lowest, curvature

    def _moved(self, g: float, share: float) -> tuple[float, float, float, float, float]:
        """One step: z at the vertex of the parabola through points around g, z'', the move, the new g, their distance.

        A move is four times the distance of the points at most.
        """
        step = share * g
        around = [self(g + k * step) for k in (-2, -1, 0, 1, 2)]
        for _ in range(MOVES):
            if np.all(np.isfinite(around)):
                break
            g -= 2 * step  # the step before went beyond the end
            around = [self(g + k * step) for k in (-2, -1, 0, 1, 2)]
        curvature = (-around[0] + 16 * around[1] - 30 * around[2] + 16 * around[3] - around[4]) / (12 * step**2)
        slope = (around[0] - 8 * around[1] + 8 * around[3] - around[4]) / (12 * step)
        if not (np.all(np.isfinite(around)) and curvature > 0):
            raise SplitOff
        if share < 4e-2 and self.margin(g) < SPLITTING:
            raise SplitOff
        move = float(np.clip(-slope / curvature, -4 * step, 4 * step))
        return around[2] + slope * move + curvature * move**2 / 2, curvature, move, g + move, step

    def _bracketed(self) -> float:
        """The lowest point of the whole curve, to a thousandth."""
        known = sorted((g, self(g)) for g, *_ in self._known)
        place = min(range(len(known)), key=lambda i: known[i][1])
        low, high = known[max(place - 1, 0)][0], 1.3 * known[place][0]
        above = known[place][1]

        def height(g: float) -> float:
            z = self(float(g))
            return z if np.isfinite(z) else above * (2 + g / low)  # back to where there is a solution

        found: Any = optimize.minimize_scalar(
            height, bounds=(low, high), method="bounded", options={"xatol": 1e-3 * low}
        )
        return float(found.x)

    def _scanned(self) -> float:
        """The lowest point of a coarse scan."""
        g, z = 1e-2 * self.scale, np.inf
        while (new := self(g)) < z:
            z, g = new, 1.3 * g
        return g / 1.3

    def end(self) -> float:
        """The largest known g at which no unit has split off."""
        if not self._known:
            self._scanned()
        low, high = 1e-2 * self.scale, 1.3 * max(known[0] for known in self._known)
        while high / low > 1.01:
            middle = float(np.sqrt(low * high))
            low, high = (middle, high) if self.margin(middle) >= SPLITTING else (low, middle)
        return low

    def margin(self, g: float) -> float:
        """How far the most extreme unit is from splitting off: 1 - |eta|^2/critical, 0 where it is an eigenvalue."""
        at = self.solved(g)
        if at is None:
            return 0.0
        layers = enumerate(self.found.layers)
        return min(
            1 - float((layer.e**2 / critical(layer, g, at[0], i, self.found.classes)).max()) for i, layer in layers
        )

    def moments(self) -> tuple[float, float]:
        """Mean c + Sigma(0) and variance Sigma'(0) of the law: z(g) = 1/g + mean + variance g + ..."""
        points = np.arange(1, 7)
        sigma = [self(float(k) * 1e-3 * self.scale) - 1e3 / (k * self.scale) for k in points]
        # Extrapolated by the polynomial through the points.
        coefficients = np.polynomial.polynomial.polyfit(points, sigma, len(points) - 1)
        return float(coefficients[0]), float(coefficients[1] / (1e-3 * self.scale))
