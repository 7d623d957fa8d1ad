"""What a residual unit's signals at two places have in common, by expansions in Hermite polynomials of its own part.

A unit's own part of u^0..u^B is a walk with independent steps, so that phi(u^b) and phi(u^c) have in common what their
expansions have, times a power of the correlation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fimcheck.theory.edge.residual import Place
from fimcheck.theory.gaussian.quadrature import hermite_around
from fimcheck.theory.network.elementwise import slope_of

TERMS, MOST_TERMS = 48, 768
"""Of the expansion in Hermite polynomials of what a unit's signals at two places have in common: at first, and at most.
A kink under a narrow branch needs many."""

LEFT_OUT = 1e-3
"""Share of the noise of phi' that the terms beyond may have in common at two places."""


@dataclass(frozen=True)
class Series:
    """Coefficients (terms, units) of phi, of its slope by the stream and of (phi - E phi)^2, in Hermite polynomials of
    a unit's own part, He_n/sqrt(n!). rest: sums of products of those from the second on, by the names of two."""

    phi: np.ndarray
    slope: np.ndarray
    square: np.ndarray
    rest: Mapping[tuple[str, str], np.ndarray]


def enough_terms(
    places: Sequence[Place], means: np.ndarray, own: np.ndarray, squares: Sequence[float], left: np.ndarray
) -> list[Series]:
    """The series at every place, with so many terms that the others add nothing to what two places have in common."""
    closest = max(abs(left[b, b + 1]) * np.sqrt(own[b] / own[b + 1]) for b in range(len(places) - 1))
    terms = TERMS
    while True:
        series = [series_at(p, means[:, c], own[c], squares[c], terms) for c, p in enumerate(places)]
        beyond = max(
            1 - float((s.slope[2:] ** 2).sum()) / float(s.rest["slope", "slope"].sum() + 1e-300) for s in series
        )
        if beyond * closest**terms < LEFT_OUT or terms == MOST_TERMS:
            return series
        terms *= 2


def series_at(place: Place, centers: np.ndarray, variance: float, square: float, terms: int = TERMS) -> Series:
    """centers: means of what the activation sees; variance: own one of the stream, and square of the factor on it."""
    phi, slope = place.phi.activation.phi, slope_of(place.phi.activation)
    kinks = tuple(sorted({float(b) for b in (*phi.breaks, *slope.breaks)}))
    functions = (phi, slope, lambda u: phi(u) ** 2)
    (p, d, s), (pp, pd, ps, dd, ds, ss) = hermite_around(functions, kinks, centers, square * variance, terms)
    factor, mean = np.sqrt(square), p[0]
    # (phi - mean)^2 for phi^2
    ss = ss - 4 * mean * ps + 6 * mean**2 * pp - 3 * mean**4
    sp, sd = ps - 2 * mean * pp + mean**3, ds - 2 * mean * pd + mean**2 * d[0]
    s = s - 2 * mean * p
    s[0] += mean**2
    d, pd, dd, sd = factor * d, factor * pd, square * dd, factor * sd
    whole = {
        ("phi", "phi"): (pp, p, p), ("phi", "slope"): (pd, p, d), ("slope", "slope"): (dd, d, d),
        ("square", "square"): (ss, s, s), ("square", "phi"): (sp, s, p), ("square", "slope"): (sd, s, d),
    }  # fmt: skip
    return Series(p, d, s, {names: x - one[0] * two[0] - one[1] * two[1] for names, (x, one, two) in whole.items()})


def in_common(series: Sequence[Series], own: np.ndarray, left: np.ndarray, one: str, two: str) -> np.ndarray:
    """Covariances (units, places, places) of what linear approximations leave of ``one`` there and of ``two``."""
    n, order = len(series), np.arange(2, len(series[0].phi))[:, None]
    found = np.empty((series[0].phi.shape[1], n, n))
    for b, c in np.ndindex(n, n):
        if b == c:
            found[:, b, b] = series[b].rest[one, two]
        else:
            low, high = min(b, c), max(b, c)
            powers = (left[low, high] * np.sqrt(own[low] / own[high])) ** order
            found[:, b, c] = (powers * getattr(series[b], one)[2:] * getattr(series[c], two)[2:]).sum(0)
    return found


def noise_of(
    series: Sequence[Series], own: np.ndarray, left: np.ndarray, backward: np.ndarray, gaps: np.ndarray
) -> np.ndarray:
    """Covariances (units, 2 B + 2, 2 B + 2) of what the linear approximations leave of phi(u^c) and of phi'(u^c) times
    what comes back there: a part that the samples share, and one with variance ``gaps`` that they do not."""
    pp, pd, dd = (
        in_common(series, own, left, *names) for names in (("phi", "phi"), ("phi", "slope"), ("slope", "slope"))
    )
    pd, dd = pd * backward[:, None, :], dd * backward[:, :, None] * backward[:, None, :]
    for c, one in enumerate(series):
        dd[:, c, c] += gaps[c] * (one.rest["slope", "slope"] + one.slope[1] ** 2)
    return np.block([[pp, pd], [pd.mT, dd]])
