"""Gaussian expectations by composite Gauss-Legendre quadrature that respects kinks and reports its error.

Panels follow both scales of the integrand: the Gaussian's standard deviation, and the function's own features, taken to
sit around 0 and the kinks with geometric grading outward. Every value is computed by two rules of different order; if
they disagree the panels are halved, and if that does not help either the value is refused.
"""

from collections.abc import Callable

import numpy as np

Numeric = Callable[[np.ndarray], np.ndarray]

REACH = 9.5
"""Standard deviations integrated over; the tail beyond is below 1e-20."""

TOLERANCE = 2e-11
"""Largest accepted difference of the two rules, relative to the size of the integrand."""

_GRADES = 2.0 ** np.arange(-2, 10)
RULES = [np.polynomial.legendre.leggauss(n) for n in (14, 20)]
"""The two Gauss-Legendre rules that have to agree."""


class QuadratureError(ArithmeticError):
    """Two quadrature rules disagree by more than the tolerance even on refined panels."""


def features(kinks: tuple[float, ...]) -> np.ndarray:
    """Panel ends at the origin and at the kinks, graded outward from each."""
    centers = np.array([0.0, *kinks])[:, None]
    steps = np.concatenate([-_GRADES[::-1], [0.0], _GRADES])
    return np.unique(centers + steps)


def _panels(center: np.ndarray, scale: float, ends: np.ndarray, splits: int) -> np.ndarray:
    """Rising panel ends over center +- REACH * scale, one row per center."""
    grid = np.linspace(-REACH, REACH, 13)
    low, high = center[:, None] - REACH * scale, center[:, None] + REACH * scale
    fixed = np.clip(np.broadcast_to(ends, (center.size, ends.size)), low, high)
    rows = np.sort(np.concatenate([center[:, None] + scale * grid, fixed], axis=1), axis=1)
    for _ in range(splits):
        middle = (rows[:, 1:] + rows[:, :-1]) / 2
        rows = np.sort(np.concatenate([rows, middle], axis=1), axis=1)
    return rows


def _nodes(
    center: np.ndarray, scale: float, ends: np.ndarray, splits: int, rule: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points u of shape (centers, nodes) and weights that include the density of N(center, scale^2)."""
    rows = _panels(center, scale, ends, splits)
    points, weights = RULES[rule]
    half = (rows[:, 1:] - rows[:, :-1]) / 2
    middle = (rows[:, 1:] + rows[:, :-1]) / 2
    u = (middle[..., None] + half[..., None] * points).reshape(center.size, -1)
    w = (half[..., None] * weights).reshape(center.size, -1)
    z = (u - center[:, None]) / scale
    return u, w * np.exp(-(z**2) / 2) / (np.sqrt(2 * np.pi) * scale)


def single(f: Numeric, kinks: tuple[float, ...], p: float, mean: float) -> float:
    """E f(u), u ~ N(mean, p)."""
    if p == 0:
        return float(f(np.array([mean]))[0])
    ends = features(kinks)

    def value(splits: int, rule: int) -> tuple[float, float]:
        u, w = _nodes(np.array([mean]), np.sqrt(p), ends, splits, rule)
        terms = w * f(u)
        return float(terms.sum()), float(np.abs(terms).sum())

    return certified(value)


def pair(f: Numeric, g: Numeric, kinks: tuple[float, ...], p: float, c: float, mean: float) -> float:
    """E f(u) g(v), (u, v) Gaussian with common mean and variance p and covariance c, |c| <= p.

    u = a + tau z and v = a' + tau z' with a shared a ~ N(mean, |c|), a' its mirror image if c < 0, and independent z, z':
    two one-dimensional averages inside a third.
    """
    if p == 0:
        return float(f(np.array([mean]))[0] * g(np.array([mean]))[0])
    shared, own = np.sqrt(abs(c)), np.sqrt(p - abs(c))
    ends = features(kinks)
    # The inner averages vary on the scale `own` around each feature, so the outer panels are graded down to it.
    near = own * 2.0 ** np.arange(-1, 4)
    centers = np.array([0.0, *kinks])[:, None]
    both = np.concatenate(
        [centers + near, centers - near, 2 * mean - centers - near, 2 * mean - centers + near]
    )
    outer = np.unique(
        np.concatenate([ends, both.ravel(), 2 * mean - ends] if c < 0 else [ends, both.ravel()])
    )

    def smoothed(h: Numeric, a: np.ndarray, splits: int, rule: int) -> tuple[np.ndarray, np.ndarray]:
        if own == 0:
            values = h(a)
            return values, np.abs(values)
        u, w = _nodes(a, own, ends, splits, rule)
        terms = w * h(u)
        return terms.sum(axis=1), np.abs(terms).sum(axis=1)

    def value(splits: int, rule: int) -> tuple[float, float]:
        if shared == 0:
            a, w = np.array([mean]), np.ones(1)
        else:
            nodes, weights = _nodes(np.array([mean]), shared, outer, splits, rule)
            a, w = nodes[0], weights[0]
            a, w = a[w > 1e-30], w[w > 1e-30]
        left, left_size = smoothed(f, a, splits, rule)
        if f is g and c >= 0:
            right, right_size = left, left_size
        else:
            right, right_size = smoothed(g, a if c >= 0 else 2 * mean - a, splits, rule)
        return float(w @ (left * right)), float(w @ (left_size * right_size))

    return certified(value)


def certified(value: Callable[[int, int], tuple[float, float]]) -> float:
    """value(splits, rule) -> (estimate, size of the integrand), accepted where the two rules agree."""
    for splits in range(4):
        (low, _), (high, size) = value(splits, 0), value(splits, 1)
        if not np.isfinite(high):
            break
        if abs(high - low) <= TOLERANCE * size:
            return high
    raise QuadratureError(
        f"Quadrature does not settle: rules of order 14 and 20 give {low!r} and {high!r}. The function is not finite, or "
        "varies faster than its panels; rescale it or give its kinks explicitly through Piecewise."
    )
