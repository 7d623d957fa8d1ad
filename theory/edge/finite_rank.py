"""What moves all units of a layer at once: terms of finite rank, which may give an eigenvalue beyond the bulk.

Three numbers of a sample vary by M^-1/2 only, but alike for all units of a layer. H' and D' are a layer's forward and
backward signals less their means over the samples, which are level and f1 eta.

- The length |H'|^2 of the layer below changes the variance of w: phi gains f2/2 times it, and phi' f3/2.
- W level is known, it is in the mean field, and W^T (f1 eta) is the eta below. So W is what these two say, of rank two,
  and independent of the units in all other directions: w gains pull times level . H', and what comes back
  eta times f1 eta . D'.
- The overlaps tq and hq vary together, which adds (f1 eta . D'_s)(level . H'_t) to the matrix.

A fourth, the product of what a layer sends and what comes back to it, is odd in eta and left out: it changes the
determinant by a tenth at most down to ten layers, and the odd sums never reach 0 with it or without (docs/edge.md).

Each is a sum over units, or couples to one. Given g these sums are Gaussian, with the responses of the units as their
covariance G; V couples them. There is an eigenvalue at z(g) where det(1 + G V) = 0. `chain_rank` and `residual_rank`
find them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import linalg, optimize

from fimcheck.theory.edge.curve import Curve
from fimcheck.theory.edge.largest import Leaving
from fimcheck.theory.edge.layer import NEGLIGIBLE

DIFFERENCE = 1e-3
"""Of g, relative, for the slope of the determinant at the edge."""

ODD = {"a back", "d pull", "p eta", "b level"}
"""Sums odd in eta, which is as often of one sign as of the other: they do not meet the even ones."""

Sum = tuple[int, str]
"""A sum over the units of a hidden layer, counted from 0, or a number of its samples."""

Find = Callable[[Curve[Any], float], "Sums"]
"""All sums at g."""


@dataclass
class Sums:
    """names: of the sums. blocks: their covariances, layer by layer. couplings: between two."""

    names: list[Sum] = field(default_factory=list)
    blocks: list[np.ndarray] = field(default_factory=list)
    couplings: list[tuple[Sum, Sum, float]] = field(default_factory=list)

    def add(self, names: Iterable[Sum], covariance: np.ndarray) -> None:
        """Sums that are independent of the others."""
        self.names += names
        self.blocks.append(covariance)

    def add_over(
        self,
        units: np.ndarray,
        weights: np.ndarray,
        forms: Mapping[Sum, np.ndarray],
        left: Mapping[Sum, tuple[float, np.ndarray]],
    ) -> None:
        """Sums over units of given covariance (units, n, n) of forms (units, n) in them; left: of some, the variance
        and the form of what is in them at random, independent for every unit."""
        stacked = np.stack(list(forms.values()), 1)
        weighted = (stacked @ units) * weights[:, None, None]
        covariance = np.einsum("ufx,uhx->fh", weighted, stacked, optimize=True)
        odd = np.array([name in ODD for _, name in forms])
        covariance[odd[:, None] != odd] = 0.0
        for place, name in enumerate(forms):
            if name in left:
                variance, one = left[name]
                covariance[place, place] += variance * np.einsum(
                    "u,ux,uxy,uy->", weights, one, units, one, optimize=True
                )
        self.add(forms, covariance)

    def couple(self, one: Sum, two: Sum, strength: float) -> None:
        """A product of two in the quadratic form."""
        self.couplings.append((one, two, strength))

    def couple_weights(
        self, above: int, below: int, level: float, back: float, energies: tuple[float, ...], r: float = 1.0
    ) -> None:
        """What is known of the weights between two layers, and the product of overlaps.

        level, back: hq_2 below and tq_2 above. energies: a, b of the layer above and c, e of that below.
        """
        a, b, c, e = energies
        # In these two directions the weights are not independent: what they add to the energies there is taken back.
        if level > NEGLIGIBLE:
            self.couple((above, "a pull"), (below, "p level"), -1 / (r * level))
            self.couple((above, "d pull"), (below, "b level"), -1 / level)
            self.couple((below, "p level"), (below, "p level"), c / level)
            self.couple((below, "b level"), (below, "b level"), e / level)
        if back > NEGLIGIBLE:
            self.couple((above, "a back"), (below, "p eta"), -1 / back)
            self.couple((above, "d back"), (below, "b eta"), -r / back)
            self.couple((above, "a back"), (above, "a back"), a / back)
            self.couple((above, "d back"), (above, "d back"), b / back)
        self.couple((above, "d back"), (below, "p level"), -r)

    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """G and V."""
        place = {name: i for i, name in enumerate(self.names)}
        V = np.zeros((len(place), len(place)))
        for one, two, strength in self.couplings:
            i, j = place[one], place[two]
            V[i, j] += strength
            V[j, i] = V[i, j]
        return np.asarray(linalg.block_diag(*self.blocks)), V


def propagators(q: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
    """Covariances (units, 2 K, 2 K) of K signals and their multipliers, from Q (units, K, K) and L; see `response`."""
    through = np.linalg.inv(np.eye(len(multipliers)) - q * multipliers)  # (1 - Q L)^-1
    return np.block([[through @ q, through], [through.mT, multipliers[:, None] * through]])


def leaving(curve: Curve[Any], end: float, sums: Find) -> Leaving:
    """What they do to the largest eigenvalue at z(end); sums: those of the kind of network, at g."""
    first = int((_crossing(sums(curve, 0.0)) < 0).sum()) - 1  # of the negative ones, which rise: that next to 0
    last = sums(curve, end)
    if _crossing(last)[first] > 0:
        found: Any = optimize.brentq(lambda g: float(_crossing(sums(curve, g))[first]), 0.0, end, xtol=1e-10 * end)
        return Leaving(place=curve(float(found)), g=float(found))
    fall = (determinant(sums(curve, (1 - DIFFERENCE) * end)) - determinant(last)) / (DIFFERENCE * end)
    return Leaving(distance=determinant(last) / fall if fall > 0 else np.inf)


def determinant(found: Sums) -> float:
    """det(1 + G V): 1 at g = 0, and 0 at an eigenvalue."""
    G, V = found.matrices()
    return float(np.linalg.det(np.eye(len(G)) + G @ V))


def _crossing(found: Sums) -> np.ndarray:
    """Eigenvalues of [[G, 1], [1, -V]], in order: a negative one becomes positive where the determinant is 0."""
    G, V = found.matrices()
    one = np.eye(len(G))
    return np.linalg.eigvalsh(np.block([[G, one], [one, -V]]))
