"""What is known of an edge, and the largest eigenvalue at finite size."""

from dataclasses import dataclass

import numpy as np

TRACY_WIDOM_MEAN, TRACY_WIDOM_SD = -1.2065335745820, 1.2680340480
"""Of the real symmetric Tracy-Widom law (Tracy and Widom 1996; values by Bornemann 2010)."""


def _shift(scale: float, samples: float) -> float:
    """Of the mean of the largest of T eigenvalues against the edge."""
    return TRACY_WIDOM_MEAN * scale * samples ** (-2 / 3)


@dataclass(frozen=True)
class Edge:
    """The right edge of the limiting spectrum at ``place``; g: the resolvent there; scale: (z''(g)/2)^(1/3).

    Where so many units have split off that the end of the bulk plays no part, scale = 0 and place is as far as the
    equation of the bulk was followed. error: of the place, from a second discretization, and of the overlaps, from the
    spread of the networks drawn. width: M. cut: the width at whose extreme unit the shared fields were cut, M or, where
    units split off before, less. split: how many units are expected beyond the place at this width. excess: by how much
    the largest of them exceeds it, on average. moment, variance: mean and variance of the law over the C T eigenvalues.
    outlier: of two layers, where the lengths of the inputs give an eigenvalue beyond the bulk, its limit. overlaps: of
    several outputs, by how much their overlaps at this width raise the edge, on average; the scale is times C^(-2/3)
    then, for there are C T eigenvalues.
    """

    place: float
    g: float
    scale: float
    error: float
    width: float
    cut: float
    split: float
    excess: float
    moment: float
    variance: float
    outlier: float | None = None
    overlaps: float = 0.0

    @property
    def alone(self) -> float:
        """Chance that no unit has split off."""
        return float(np.exp(-self.split))

    @property
    def largest(self) -> tuple[float, float, float]:
        """Of the largest eigenvalue: its limit, the scale of Tracy and Widom times the chance that no unit has split
        off, and what units that have add. An outlier has neither of the two."""
        if self.outlier is not None:
            return self.outlier, 0.0, 0.0
        return self.place + self.overlaps, self.alone * self.scale, self.excess

    def mean(self, samples: float) -> float:
        """E lambda_max of T samples: the bulk's (Tracy and Widom), or of what has split off from it."""
        place, scale, excess = self.largest
        return place + _shift(scale, samples) + excess

    def sd(self, samples: float) -> float:
        """Standard deviation of the bulk's largest eigenvalue given the shared fields."""
        return TRACY_WIDOM_SD * self.scale * samples ** (-2 / 3)


@dataclass(frozen=True)
class GivenEdge:
    """The same for one given network: place, g and scale of the edge of its bulk, and what has split off from it."""

    place: float
    g: float
    scale: float
    outlier: float | None

    def mean(self, samples: float) -> float:
        """E lambda_max of T samples."""
        if self.outlier is not None:
            return self.outlier
        return self.place + _shift(self.scale, samples)
