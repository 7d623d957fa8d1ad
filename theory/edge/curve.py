"""z(g), the inverse of the trace of the resolvent, right of the spectrum: its lowest point is the edge."""

from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
from scipy import optimize

from fimcheck.theory.edge.dyson import Equation, Solution
from fimcheck.theory.edge.units import EdgeError

SPLITTING = 0.1
"""The most extreme unit is said to split off where its determinant is below this share of what it is without the
shared backward field, or on average: then the lowest point of z belongs to it and not to the bulk. A choice."""

STRIDE = 1.3
"""Factor between the values of g of a scan."""

NO_SOLUTION = 50.0
"""Stands for ln(g^2 Sigma'(g)) where there is no solution."""


Kind = TypeVar("Kind", bound=Equation)


class SplitOff(ValueError):
    """The spectrum of these units has no regular edge: a single unit splits off before the bulk ends."""


class Curve(Generic[Kind]):
    """z(g) = c + 1/g + Sigma(g) on real g > 0, infinite where the equation has no positive solution."""

    def __init__(self, equation: Kind) -> None:
        self.equation = equation
        self._known: dict[float, Solution] = {}

    def __call__(self, g: float) -> float:
        at = self.solved(g)
        return np.inf if at is None else self.equation.shift + 1 / g + at.sigma

    def solved(self, g: float) -> Solution | None:
        """The solution at g, from that at the nearest smaller g that is known."""
        if g in self._known:
            return self._known[g]
        below = max((known for known in self._known if known < g), default=None)
        at = self.equation.solved(g, None if below is None else self._known[below])
        if at is not None:
            self._known[g] = at
        return at

    @cached_property
    def _origin(self) -> Solution:
        at = self.equation.solved(0.0)
        assert at is not None  # nothing feeds back there
        return at

    def moments(self) -> tuple[float, float]:
        """Mean c + Sigma(0) and variance Sigma'(0) of the law: z(g) = 1/g + mean + variance g + ..."""
        return self.equation.shift + self._origin.sigma, self._origin.slope

    @property
    def scale(self) -> float:
        """1 over the mean of the law: g far below it leaves z = 1/g nearly."""
        return 1 / self.moments()[0]

    def minimum(self, near: float | None = None) -> tuple[float, float, float]:
        """(g, z, (z''/2)^(1/3)) at the smallest z(g), where g^2 Sigma'(g) = 1; near: a guess of that g.

        Sigma' rises with g. Raises SplitOff where a single unit ends the curve before the bulk does.
        """
        if not self.moments()[1] > 0:
            raise EdgeError("there is no law of the eigenvalues here: its variance would be 0.")
        low, high = self._bracket(near)
        found: Any = optimize.brentq(
            lambda logarithm: self._rise(np.exp(logarithm)), np.log(low), np.log(high), xtol=1e-8
        )
        g = float(np.exp(found))
        around = [self.solved(g * (1 + h)) for h in (-1e-4, 1e-4)]
        if self(g) == np.inf or around[0] is None or around[1] is None or self.margin(g) < SPLITTING:
            raise SplitOff
        curvature = 2 / g**3 + (around[1].slope - around[0].slope) / (2e-4 * g)
        return g, self(g), (curvature / 2) ** (1 / 3)

    def _rise(self, g: float) -> float:
        """ln(g^2 Sigma'(g)), below 0 where z falls."""
        at = self.solved(g)
        return NO_SOLUTION if at is None else float(np.log(g**2 * at.slope))

    def _bracket(self, near: float | None) -> tuple[float, float]:
        """Values of g between which z ceases to fall."""
        low = near or 0.1 * self.scale
        while self._rise(low) >= 0:
            low /= STRIDE
        high = STRIDE * low
        while self._rise(high) < 0:
            low, high = high, STRIDE * high
        return low, high

    def end(self, near: float | None = None) -> float:
        """The largest g, to a hundredth, at which no unit has split off; near: see `minimum`."""
        low, high = self._bracket(near)
        while self.margin(low) < SPLITTING:
            low /= STRIDE
        while high / low > 1.01:
            middle = float(np.sqrt(low * high))
            low, high = (middle, high) if self.margin(middle) >= SPLITTING else (low, middle)
        return low

    def margin(self, g: float) -> float:
        """How far the most extreme unit is from splitting off at g, see `Equation.margin`; 0 without a solution."""
        at = self.solved(g)
        return 0.0 if at is None else self.equation.margin(at)
