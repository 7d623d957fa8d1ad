"""Order and chaos of deep wide networks without normalization: fixed points, critical line, depth scales.

The variance of a pre-activation maps to V(q) = sigma_w2 E phi(u)^2 + sigma_b2 from layer to layer, and the
correlation of two samples at a fixed point q* to K(c) = (sigma_w2 E phi(u) phi(v) + sigma_b2)/q* with slope
sigma_w2 E phi'(u) phi'(v) (Poole et al. 2016; Schoenholz et al. 2017). chi_1 is the slope at c = 1: below 1
two samples align (ordered), above 1 they part (chaotic). The same slopes multiply the backward overlaps, so
kappa_1 and kappa_2 grow or shrink with depth as powers of chi_1 and of the slope at the fixed point.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from fimcheck.theory.gaussian.activations import Activation, activation
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.gaussian.kernel import kernel
from fimcheck.theory.network.elementwise import slope_of
from fimcheck.theory.symbols import Expr, p, sigma_b2, sigma_w2, x

MAX_LAYERS = 100_000
LARGEST = 1e12

Map = Callable[[float], float]


class NoFixedPoint(ValueError):
    """The variance has no fixed point, or the asked critical point does not exist; the message says why."""


@dataclass(frozen=True)
class FixedPoint:
    """weight, bias: sigma_w2, sigma_b2. variance: q*. correlation: stable c*. chi1: slope of the
    correlation map at 1; slope: its slope at c*.

    variance_depth, correlation_depth: layers over which distances to q* and to c* shrink by a factor e; inf
    at a critical point, where they shrink more slowly than exponentially.
    """

    weight: float
    bias: float
    variance: float
    correlation: float
    chi1: float
    slope: float
    variance_depth: float
    correlation_depth: float

    @property
    def phase(self) -> str:
        """ "ordered", "critical" or "chaotic"."""
        if abs(self.chi1 - 1) < 1e-9:
            return "critical"
        return "ordered" if self.chi1 < 1 else "chaotic"

    def _repr_latex_(self) -> str:
        return rf"$q^* = {self.variance:.6g},\quad c^* = {self.correlation:.6g},\quad \chi_1 = {self.chi1:.6g}$"

    def kappas(self, depth: int) -> tuple[float, float]:
        """kappa_1, kappa_2 of an equally wide network of L = depth layers at its fixed point throughout.

        tq_1 and tq_2 of layer l are chi_1 and the slope at c*, to the power L - l: geometric sums over the
        layers.
        """
        ends = (self.variance, self.variance * self.correlation)
        powers = np.arange(depth)
        one, two = (
            float((q - self.bias) / self.weight * np.sum(rate**powers) / (depth - 1))
            for q, rate in zip(ends, (self.chi1, self.slope), strict=True)
        )
        return one, two


def variance_map(act: "str | Expr | Activation") -> Expr:
    """V(q) with q written `symbols.p`."""
    phi = activation(act).phi
    return sigma_w2 * kernel(phi, phi).expr(p, p, sp.S.Zero) + sigma_b2


def chi1(act: "str | Expr | Activation") -> Expr:
    """sigma_w2 E phi'(u)^2 at variance `symbols.p`."""
    slope = slope_of(activation(act))
    return sigma_w2 * kernel(slope, slope).expr(p, p, sp.S.Zero)


def critical_line(act: "str | Expr | Activation") -> tuple[Expr, Expr]:
    """(sigma_w2, sigma_b2) where chi_1 = 1, as functions of the fixed point `symbols.p`; valid where
    sigma_b2 >= 0.
    """
    weight = 1 / (chi1(act) / sigma_w2)
    return weight, p - weight * (variance_map(act) - sigma_b2) / sigma_w2


# The critical line reaches sigma_b2 = 0 at q* = 0 if sigma_b2 / q* is as small as this on its lower end; and a q* at
# which nothing but phi'(0) is left in any digit.
FLAT, VANISHING = 1e-4, 1e-34


def critical_weight(act: "str | Expr | Activation", bias: float) -> float:
    """The sigma_w2 that makes a network with sigma_b2 = bias critical."""
    weight, needed = _line(activation(act))
    grid = np.logspace(-6, 3, 60)
    gaps = np.array([needed(q) - bias for q in grid])
    crossing = np.flatnonzero((gaps[:-1] <= 0) & (gaps[1:] > 0))
    if crossing.size == 0:
        if np.all(np.abs(gaps + bias) < 1e-9 * grid) and bias == 0:
            return weight(1.0)  # sigma_b2 = 0 on the whole line: any q, one weight
        if bias == 0 and 0 <= gaps[0] < FLAT * grid[0]:
            return weight(VANISHING)  # the line ends at q* = 0, where only phi'(0) counts
        raise NoFixedPoint(
            f"No critical sigma_w2 at sigma_b2 = {bias} for q* in {grid[0]:g}..{grid[-1]:g}. "
            f"Along the critical line sigma_b2 runs from {(gaps + bias).min():.4g} to "
            f"{(gaps + bias).max():.4g}."
        )
    low, high = float(grid[crossing[0]]), float(grid[crossing[0] + 1])
    from scipy import optimize  # takes a second to import

    q: Any = optimize.brentq(lambda q: needed(q) - bias, low, high, xtol=1e-15)
    return weight(q)


def _line(act: Activation) -> tuple[Map, Map]:
    forward, backward = kernel(act.phi, act.phi), kernel(slope_of(act), slope_of(act))

    def weight(q: float) -> float:
        return 1 / float(backward(q, q))

    return weight, lambda q: q - weight(q) * float(forward(q, q))  # and the sigma_b2 that keeps q fixed


def fixed_point(act: "str | Expr | Activation", weight: float, bias: float) -> FixedPoint:
    """The fixed point that depth leads to from q = weight + bias, two independent inputs.

    weight, bias: sigma_w2 > 0 and sigma_b2 >= 0. NoFixedPoint where the variance grows without bound or
    vanishes.
    """
    if not (weight > 0 and bias >= 0 and np.isfinite(weight + bias)):
        raise ValueError(f"sigma_w2 = {weight}, sigma_b2 = {bias}: give a finite sigma_w2 > 0 and sigma_b2 >= 0.")
    a = activation(act)
    slope = slope_of(a)
    forward, backward = kernel(a.phi, a.phi), kernel(slope, slope)
    q = _iterated(lambda q: weight * float(forward(q, q)) + bias, weight + bias, f"{a.name} at sigma_w2 = {weight}")
    chi = weight * float(backward(q, q))
    # K is convex on [0, 1]: with slope at most 1 at the end it stays above the diagonal.
    ordered = chi <= 1 + 1e-9
    correlation = 1.0 if ordered else _correlation(lambda c: (weight * float(forward(q, q * c)) + bias) / q, bias / q)
    rate = chi if ordered else weight * float(backward(q, q * correlation))
    # dV/dq: with u = sqrt(q) z, d E phi(u)^2/dq = E[u phi(u) phi'(u)]/q.
    weighted = Function(tuple(sp.expand(x * b) for b in a.phi.branches), a.phi.breaks)
    drift = weight * float(kernel(weighted, slope)(q, q)) / q
    return FixedPoint(weight, bias, q, correlation, chi, rate, _depth(drift), _depth(rate))


def _iterated(step: Map, start: float, what: str) -> float:
    q = start
    for _ in range(MAX_LAYERS):
        following = step(q)
        if not 1e-30 < following < LARGEST:
            fate = "grows without bound" if following >= LARGEST else "vanishes"
            raise NoFixedPoint(f"The variance of {what} {fate} with depth: there is no fixed point q* > 0.")
        if abs(following - q) <= 1e-15 * q:
            return following
        q = following
    raise NoFixedPoint(f"The variance of {what} still moves after {MAX_LAYERS} layers: it drifts, or is critical.")


def _correlation(step: Map, start: float) -> float:
    """Stable fixed point reached from below; 1 where the map stays above the diagonal up to 1."""
    grid = 1 - np.logspace(0, -10, 60) * (1 - start)
    below = [c for c in grid if step(c) < c]
    if not below:
        return 1.0
    if step(start) <= start:
        return start
    from scipy import optimize

    return float(optimize.brentq(lambda c: step(c) - c, start, below[0], xtol=1e-15))  # type: ignore[arg-type]


def _depth(rate: float) -> float:
    size = abs(rate)
    if size == 0:
        return 0.0
    return float(np.inf) if abs(size - 1) < 1e-9 else float(-1 / np.log(size))
