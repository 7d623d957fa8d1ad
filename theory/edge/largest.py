"""What is known of an edge, and the largest eigenvalue at finite size."""

from dataclasses import dataclass, field

import numpy as np

from fimcheck.theory.edge import tracy_widom


@dataclass(frozen=True)
class Leaving:
    """What terms of finite rank do to the largest eigenvalue, see `finite_rank`.

    place: of the eigenvalue that has left the bulk, and g there; None if none has. distance: by how much g at the edge
    falls short of where one would, inf where none is near.
    """

    place: float | None = None
    g: float | None = None
    distance: float = np.inf


def _largest(edge: float, scale: float, leaving: Leaving, samples: float) -> tuple[float, float, float]:
    """Of the largest of T eigenvalues: its limit, the scale of Tracy and Widom, and what finite rank adds."""
    if scale == 0:
        return edge if leaving.place is None else leaving.place, 0.0, 0.0
    unit = scale * samples ** (-2 / 3)
    if leaving.place is None:
        near = tracy_widom.mean_near(scale * samples ** (1 / 3) * leaving.distance)
        return edge, scale, (near - tracy_widom.MEAN) * unit
    w = -(((leaving.place - edge) / unit) ** 0.5)
    return leaving.place, 0.0, (tracy_widom.mean_near(w) - w**2) * unit


def _mean(largest: tuple[float, float, float], samples: float) -> float:
    """E lambda_max from these three."""
    place, scale, added = largest
    return place + tracy_widom.MEAN * scale * samples ** (-2 / 3) + added


@dataclass(frozen=True)
class Edge:
    """The right edge of the limiting spectrum at ``place``; g: the resolvent there; scale: (z''(g)/2)^(1/3).

    Where so many units have split off that the end of the bulk plays no part, scale = 0 and place is as far as the
    equation of the bulk was followed. error: of the place, from a second discretization, and of the overlaps, from the
    spread of the networks drawn. width: M. cut: the width at whose extreme unit the shared fields were cut, M or, where
    units split off before, less. split: how many units are expected beyond the place at this width. excess: by how much
    the largest of them exceeds it, or what has left it, on average. moment, variance: mean and variance of the law over
    the C T eigenvalues. leaving: what terms of finite rank do. overlaps: of several outputs, by how much their overlaps
    at this width raise the edge, on average; the scale is times C^(-2/3) then, for there are C T eigenvalues.
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
    leaving: Leaving = field(default_factory=Leaving)
    overlaps: float = 0.0

    @property
    def alone(self) -> float:
        """Chance that no unit has split off."""
        return float(np.exp(-self.split))

    def largest(self, samples: float) -> tuple[float, float, float]:
        """Of the largest of T eigenvalues: its limit, the scale of Tracy and Widom times the chance that no unit has
        split off, and what units that have and terms of finite rank add."""
        place, scale, added = _largest(self.place, self.scale, self.leaving, samples)
        return place + self.overlaps, self.alone * scale, self.alone * added + self.excess

    def mean(self, samples: float) -> float:
        """E lambda_max of T samples: the bulk's (Tracy and Widom), or of what has left it."""
        return _mean(self.largest(samples), samples)

    def sd(self, samples: float) -> float:
        """Standard deviation of the bulk's largest eigenvalue given the shared fields."""
        return tracy_widom.SD * self.scale * samples ** (-2 / 3)


@dataclass(frozen=True)
class GivenEdge:
    """The same for one given network: place, g and scale of the edge of its bulk; outlier: the unit that has split off
    from it; and what terms of finite rank do."""

    place: float
    g: float
    scale: float
    outlier: float | None = None
    leaving: Leaving = field(default_factory=Leaving)

    def mean(self, samples: float) -> float:
        """E lambda_max of T samples."""
        if self.outlier is not None:
            return max(self.outlier, self.leaving.place or 0.0)
        return _mean(_largest(self.place, self.scale, self.leaving, samples), samples)
