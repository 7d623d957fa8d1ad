"""The Dyson equation of the linearized matrix: at most 4 (L - 1) + 1 scalars, given the trace g of the resolvent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fimcheck.theory.edge.layer import Layer
from fimcheck.theory.edge.response import AA, AVERAGES, BB, DD, NOISE, PP, Number, critical, in_a_row, response
from fimcheck.theory.edge.units import EdgeError, Units

ITERATIONS = 60
PRECISION = 1e-9
"""Relative length of a step of Newton's method that is the last: the next would be its square."""

BEYOND = 1e6
"""Nearness of a unit that is beyond by far."""


@dataclass(frozen=True)
class Solution:
    """At g; tangent, slope: d/dg of energies and sigma."""

    g: float
    energies: np.ndarray
    sigma: float
    tangent: np.ndarray
    slope: float


class Equation:
    """Energies = F(g, energies) and z = shift + 1/g + Sigma(g, energies)."""

    @property
    def shift(self) -> float:
        """c."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """How many energies."""
        raise NotImplementedError

    def at(self, g: Number, energies: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """(Sigma, F), its derivatives by (g, energies), and the smallest determinant, which has to be positive."""
        raise NotImplementedError

    def margin(self, at: Solution) -> float:
        """How far the most extreme unit is from being an eigenvalue beyond z: 1 far from it, 0 where it is one."""
        raise NotImplementedError

    def solved(self, g: float, begin: Solution | None = None) -> Solution | None:
        """The minimal positive solution at real g; None where there is none.

        begin: that at a smaller g. All slopes rise: from its tangent, as from zero, Newton's method rises to the
        minimal solution.
        """
        energies = np.zeros(self.size) if begin is None else begin.energies + (g - begin.g) * begin.tangent
        for _ in range(ITERATIONS):
            value, by, lowest = self.at(g, energies)
            if not lowest > 0 or not np.all(np.isfinite(by)):
                return None
            left = np.eye(self.size) - by[1:, 1:]
            step = np.linalg.solve(left, value[1:] - energies)
            energies = energies + step
            if np.abs(step).max() <= PRECISION * np.abs(energies).max():
                break
        else:
            return None
        value, by, lowest = self.at(g, energies)
        left = np.eye(self.size) - by[1:, 1:]
        # Iterating the equation has to hold it: another solution than the minimal one is unstable.
        if not lowest > 0 or np.abs(np.linalg.eigvals(by[1:, 1:])).max() >= 1:
            return None
        tangent = np.linalg.solve(left, by[1:, 0])
        return Solution(g, energies, float(value[0]), tangent, float(by[0, 0] + by[0, 1:] @ tangent))


def add_inputs(value: np.ndarray, by: np.ndarray, g: Number, lam: Number, share: float, weight: float) -> float:
    """What the inputs give to Sigma and to the first energy, with the derivatives by g and by the last energy, which is
    part of lam; 1 - g lam, their determinant."""
    inputs = 1 - g * lam
    value[0] += share * lam / inputs
    by[0, [0, -1]] += share * np.array([lam**2, 1]) / inputs**2
    value[1] += weight * g / inputs
    by[1, [0, -1]] += weight * np.array([1, g**2]) / inputs**2
    return float(np.real(inputs))


class Dyson(Equation):
    """Of a chain; energies: a, b, c, e of every hidden layer in turn and c of the inputs."""

    def __init__(self, found: Units) -> None:
        self.found, self.rows = found, [in_a_row(layer) for layer in found.layers]
        self.feeds = [self._feed(i) for i in range(len(found.layers))]

    @property
    def shift(self) -> float:
        """The diagonal shift c."""
        return self.found.shift

    @property
    def size(self) -> int:
        """How many energies."""
        return 4 * len(self.rows) + 1

    def _feed(self, i: int) -> np.ndarray:
        """What the averages of the i-th layer add to Sigma, row 0, and to the energies of its neighbours."""
        layers, alphas = self.found.layers, self.found.alphas
        feed = np.zeros((self.size + 1, len(AVERAGES)))
        feed[0, NOISE] = self.found.rho * layers[i].alpha
        own = 4 * i + 1  # the row of its a
        feed[own - 2 if i > 0 else -1, AA] = layers[i].weight * alphas[i + 1] / alphas[i]  # c of the layer below
        if i > 0:
            feed[own - 1, DD] = layers[i].weight  # e of the layer below
        if i + 1 < len(layers):
            above = layers[i + 1].weight
            feed[own + 4, PP], feed[own + 5, BB] = above, above * alphas[i + 1] / alphas[i + 2]  # a and b of that above
        return feed

    def at(self, g: Number, energies: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """(Sigma, F), its derivatives by (g, energies), and the smallest determinant, which has to be positive."""
        found = self.found
        kind = np.result_type(g, energies)
        value, by = np.zeros(self.size + 1, kind), np.zeros((self.size + 1, self.size + 1), kind)
        lowest = add_inputs(value, by, g, found.first + energies[-1], found.rho * found.alpha_0, found.layers[0].weight)
        for i, (layer, feed) in enumerate(zip(self.rows, self.feeds, strict=True)):
            own = response(layer, g, energies[4 * i : 4 * i + 4], found.classes)
            value += feed @ own.averages
            by[:, [0, *range(4 * i + 1, 4 * i + 5)]] += feed @ own.slopes
            lowest = min(lowest, own.determinant)
        return value, by, lowest

    def margin(self, at: Solution) -> float:
        """1 less the largest nearness of a unit."""
        return 1 - max(self.extremes(at))

    def extremes(self, at: Solution) -> tuple[float, float]:
        """Largest nearness by |eta| and by xi."""
        near = [values.reshape(2, -1).max(1) for values in self.nearness(at, self.found.layers)]
        by_eta, by_xi = np.max(near, axis=0)
        return float(by_eta), float(by_xi)

    def nearness(self, at: Solution, layers: Sequence[Layer]) -> list[np.ndarray]:
        """Of units of each hidden layer, here or set aside: above 1 they are eigenvalues beyond z(g), and well below
        they are like the others. (2, ...) each.

        By |eta|: its square over the critical one. By xi: how far the determinant at eta = 0 falls short of its mean.
        """
        near = []
        for own, layer, (limit, without) in zip(self.found.layers, layers, self.critical(at, layers), strict=True):
            with np.errstate(divide="ignore", invalid="ignore"):
                by_eta = np.where(limit > 0, layer.e**2 / limit, BEYOND)
            by_xi = 1 - without / float(np.real(own.mean(without + 0 * own.e)))
            near.append(np.minimum(np.stack(np.broadcast_arrays(by_eta, by_xi)), BEYOND))
        return near

    def critical(self, at: Solution, layers: Sequence[Layer]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For units of each hidden layer the |eta|^2 from which they are eigenvalues beyond z(g), and the determinant
        at eta = 0."""
        return [
            critical(layer, at.g, at.energies[4 * i : 4 * i + 4], self.found.classes) for i, layer in enumerate(layers)
        ]


@dataclass(frozen=True)
class Resolvent:
    """g(z) off the real axis with its self-energies."""

    z: complex
    g: complex
    energies: np.ndarray

    def at(self, equation: Equation, z: complex) -> "Resolvent":
        """The solution at a point nearby, by Newton's method."""
        numbers = np.array([self.g, *self.energies], complex)
        for _ in range(ITERATIONS):
            value, by, _ = equation.at(numbers[0], numbers[1:])
            g = 1 / (z - equation.shift - value[0])
            value[0], by[0] = g, g**2 * by[0]
            if not np.all(np.isfinite(by)):
                break
            step = np.linalg.solve(np.eye(len(numbers)) - by, value - numbers)
            numbers = numbers + step
            if np.abs(step).max() < PRECISION * (1 + np.abs(numbers).max()) and numbers[0].imag < 0:
                return Resolvent(z, complex(numbers[0]), numbers[1:])
        raise EdgeError(f"the Dyson equation did not converge at z = {z:.6g}; keep farther from the real axis.")
