"""Gaussian expectations by quadrature that respects kinks and reports its error.

Smooth functions: the trapezoidal rule on the whole line, whose error falls exponentially in the number of
nodes; nodes are doubled until two successive values agree. Functions with kinks, or too steep for that:
composite Gauss-Legendre panels that follow the Gaussian's standard deviation, the kinks, and geometric
grading outward from them and from 0; two rules of different order have to agree, else the panels are
halved. A value that does not settle is refused. Errors are relative to the expectation of the integrand's
absolute value.
"""

from collections.abc import Callable, Sequence

import numpy as np

from fimcheck.theory.gaussian.functions import QuadratureError
from fimcheck.theory.gaussian.rule import of_values

Numeric = Callable[[np.ndarray], np.ndarray]
Integrands = Callable[[np.ndarray], Sequence[np.ndarray]]
"""Several functions at once: what they have in common is found once."""

REACHES = (9.5, 14.0, 20.0, 28.0, 37.0)
"""Standard deviations integrated over: the first beyond which less than 1e-17 is left."""

REACH = REACHES[0]

TOLERANCE = 2e-11
"""Largest accepted difference of two rules, relative to the size of the integrand; the better rule is used.
"""

EDGE_AGREEMENT = 1e-7
"""Largest accepted distance of an average around a center, one rule on fixed panels, from the second route: the edge is
found to 1e-6 at best.
"""

TRAPEZOIDS = (60, 120, 240, 480)

RULES = [np.polynomial.legendre.leggauss(n) for n in (9, 13)]
"""The two Gauss-Legendre rules that have to agree."""

_GRADES = 2.0 ** np.arange(-2, 9)


def single(f: Numeric, kinks: tuple[float, ...], p: float, mean: float) -> float:
    """E f(u), u ~ N(mean, p)."""
    if p == 0:
        return float(f(np.array([mean]))[0])
    reach = _reach(f, p, mean)

    def value(splits: int, rule: int) -> tuple[float, float]:
        _, u, w = _nodes(np.array([mean]), np.sqrt(p), features(kinks, splits), splits, rule, reach)
        terms = w * f(u)
        return float(terms.sum()), float(np.abs(terms).sum())

    return certified(value)


def pair(f: Numeric, g: Numeric, kinks: tuple[float, ...], p: float, c: float, mean: float) -> float:
    """E f(u) g(v), (u, v) Gaussian with common mean and variance p and covariance c, |c| <= p."""
    if p == 0:
        return float(f(np.array([mean]))[0] * g(np.array([mean]))[0])
    reach = _reach(lambda u: np.abs(f(u)) * np.maximum(np.abs(g(u)), np.abs(g(2 * mean - u))), p, mean)
    if not kinks:
        value = _trapezoidal_pair(f, g, p, c, mean, reach)
        if value is not None:
            return value
    return _panel_pair(f, g, kinks, p, c, mean, reach)


def conditional_pair(
    f: Numeric,
    conditional: Callable[[np.ndarray, float], np.ndarray],
    kinks: tuple[float, ...],
    p: float,
    c: float,
    mean: float,
) -> float:
    """E f(u) g(v) from conditional(m, w) = E g(v), v ~ N(m, w), an array over m: one integral, over u."""
    own = (p - c) * (p + c) / p
    bends = np.empty(0)
    if c != 0:
        # Where the conditional mean of v meets a kink, E[g(v) | u] bends over the spread of v.
        layer = np.sqrt(own) * 2.0 ** np.arange(-1, 4)
        images = np.array(kinks)[:, None] + np.concatenate([-layer, [0.0], layer])
        bends = (mean + p / c * (images - mean)).ravel()
    reach = _reach(lambda u: f(u) * conditional(mean + c / p * (u - mean), own), p, mean)

    def value(splits: int, rule: int) -> tuple[float, float]:
        ends = np.unique(np.concatenate([features(kinks, splits), bends]))
        _, u, w = _nodes(np.array([mean]), np.sqrt(p), ends, splits, rule, reach)
        terms = w * f(u) * conditional(mean + c / p * (u - mean), own)
        return float(terms.sum()), float(np.abs(terms).sum())

    return certified(value)


def _reach(f: Numeric, p: float, mean: float) -> float:
    """The first of `REACHES` beyond which f times the density has nothing left; the last where it always has."""
    z = np.linspace(-REACHES[-1], REACHES[-1], 297)
    with np.errstate(all="ignore"):
        size = np.log(np.abs(f(mean + np.sqrt(p) * z))) - z**2 / 2
    size[~np.isfinite(size)] = -np.inf
    inside = (reach for reach in REACHES if np.all(size[np.abs(z) >= reach] < size.max() - 40))
    return next(inside, REACHES[-1]) if np.isfinite(size.max()) else REACH


def _trapezoidal_pair(f: Numeric, g: Numeric, p: float, c: float, mean: float, reach: float) -> float | None:
    """v = mean + (c/p)(u - mean) + an independent part; None if the largest rule does not settle."""
    own = np.sqrt((p - c) * (p + c) / p)
    previous = np.nan
    for n in TRAPEZOIDS:
        z, w = _trapezoid(n, reach)
        # The same step in v as in u: fewer nodes where v spreads less.
        y, inner = _trapezoid(max(40, int(n * own / np.sqrt(p))), reach)
        left = w * f(mean + np.sqrt(p) * z)
        right = g(mean + (c / np.sqrt(p)) * z[:, None] + own * y)
        value = float(left @ (right @ inner))
        if abs(value - previous) <= TOLERANCE * float(np.abs(left) @ (np.abs(right) @ inner)):
            return value
        previous = value
    return None


def _trapezoid(n: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
    z = np.linspace(-reach, reach, int(n * reach / REACH) + 1)
    w = np.exp(-(z**2) / 2)
    return z, w / w.sum()


def _panel_pair(
    f: Numeric, g: Numeric, kinks: tuple[float, ...], p: float, c: float, mean: float, reach: float
) -> float:
    """u = a + tau z and v = a' + tau z' with a shared a ~ N(mean, |c|), a' its mirror image if c < 0, and
    independent z, z': two one-dimensional averages inside a third.
    """
    shared, own = np.sqrt(abs(c)), np.sqrt(p - abs(c))
    # The inner averages vary on the scale `own` around each feature, so the outer panels are graded down to
    # it.
    near = own * 2.0 ** np.arange(-1, 4)
    centers = np.array([0.0, *kinks])[:, None]
    outer = np.concatenate([features(kinks), (centers + near).ravel(), (centers - near).ravel()])
    if c < 0:
        outer = np.concatenate([outer, 2 * mean - outer])
    outer = np.unique(outer)

    def smoothed(h: Numeric, a: np.ndarray, splits: int, rule: int) -> tuple[np.ndarray, np.ndarray]:
        if own == 0:
            values = h(a)
            return values, np.abs(values)
        row, u, w = _nodes(a, own, features(kinks, splits), splits, rule, reach)
        terms = (w * h(u)).sum(axis=1)
        return np.bincount(row, terms, a.size), np.bincount(row, (w * np.abs(h(u))).sum(axis=1), a.size)

    def value(splits: int, rule: int) -> tuple[float, float]:
        if shared == 0:
            a, w = np.array([mean]), np.ones(1)
        else:
            _, nodes, weights = _nodes(np.array([mean]), shared, outer, splits, rule, reach)
            a, w = nodes[weights > 1e-30], weights[weights > 1e-30]
        left, left_size = smoothed(f, a, splits, rule)
        if f is g and c >= 0:
            right, right_size = left, left_size
        else:
            right, right_size = smoothed(g, a if c >= 0 else 2 * mean - a, splits, rule)
        return float(w @ (left * right)), float(w @ (left_size * right_size))

    return certified(value)


def spread_moments(
    integrands: Integrands, kinks: tuple[float, ...], p: float, c: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Nodes of the shared part a ~ N(0, c), c >= 0: their weights, and E[f(a + z) | a] for each integrand f, z ~ N(0,
    p - c).
    """
    ends = features(kinks)
    near = np.sqrt(p - c) * 2.0 ** np.arange(-1, 4)
    centers = np.array([0.0, *kinks])[:, None]
    outer = np.unique(np.concatenate([ends, (centers + near).ravel(), (centers - near).ravel()]))
    if c > 0:
        _, nodes, weights = _nodes(np.zeros(1), np.sqrt(c), outer, 0, 1)
        a, w = nodes.ravel(), weights.ravel()
    else:
        a, w = np.zeros(1), np.ones(1)
    return w, moments_around(integrands, kinks, a, p - c)


def moments_around(
    integrands: Integrands, kinks: tuple[float, ...], centers: np.ndarray, variance: float
) -> list[np.ndarray]:
    """E f(a + z) for each integrand f, z ~ N(0, variance), at every center a."""
    row, u, inner = _nodes(centers, np.sqrt(variance), features(kinks), 0, 1)
    found = [np.bincount(row, (inner * f).sum(axis=1), centers.size) for f in integrands(u)]
    for k, means in enumerate(found):
        _meet(lambda u, k=k: integrands(u)[k], kinks, centers, variance, means)
    return found


def _meet(f: Numeric, kinks: tuple[float, ...], centers: np.ndarray, variance: float, means: np.ndarray) -> None:
    """Refuse averages around centers that the second route does not confirm at the middle and largest one."""
    for i in {centers.size // 2, int(np.argmax(np.abs(means)))}:
        at = float(centers[i])
        second = of_values(f, np.array(kinks), variance, at)
        second.require(float(means[i]), f"An average of the edge over N({at:g}, {variance:g})", EDGE_AGREEMENT)


def hermite_around(
    functions: Sequence[Numeric], kinks: tuple[float, ...], centers: np.ndarray, variance: float, terms: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """E f(a + sqrt(variance) x) He_n(x)/sqrt(n!), x ~ N(0, 1), for each f at every center a, (terms, centers).

    And E f g of all pairs of functions, (centers,).
    """
    scale = float(np.sqrt(variance))
    row, u, inner = _nodes(centers, scale, features(kinks), 0, 1)
    x, values = (u - centers[row, None]) / scale, [f(u) for f in functions]
    first = np.flatnonzero(np.diff(row, prepend=-1))  # the panels of a center lie together

    def mean(weighted: np.ndarray, f: np.ndarray) -> np.ndarray:
        return np.add.reduceat(np.einsum("rp,rp->r", weighted, f), first)

    series = [np.empty((terms, centers.size)) for _ in functions]
    before, now = np.zeros_like(x), inner.copy()
    for n in range(terms):
        for found, f in zip(series, values, strict=True):
            found[n] = mean(now, f)
        before *= -np.sqrt(n)  # in place: these arrays are large
        before += x * now
        before /= np.sqrt(n + 1)
        before, now = now, before
    means = [mean(inner * f, g) for i, f in enumerate(values) for g in values[i:]]
    pairs = [(f, g) for i, f in enumerate(functions) for g in functions[i:]]
    for (f, g), found in zip(pairs, means, strict=True):
        _meet(lambda u, f=f, g=g: f(u) * g(u), kinks, centers, variance, found)
    return series, means


def features(kinks: tuple[float, ...], splits: int = 0) -> np.ndarray:
    """Panel ends at the origin and at the kinks, graded outward from each: closer with every split, since a power
    such as |x|^(3/2) bends without end.
    """
    centers = np.array([0.0, *kinks])[:, None]
    grades = np.concatenate([2.0 ** np.arange(-2 - 12 * splits, -2), _GRADES])
    return np.unique(centers + np.concatenate([-grades[::-1], [0.0], grades]))


def _nodes(
    center: np.ndarray, scale: float, ends: np.ndarray, splits: int, rule: int, reach: float = REACH
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Panels of center +- reach * scale: (row, points, weights), one line per panel, row the center it
    belongs to.

    The weights include the density of N(center, scale^2).
    """
    low, high = center[:, None] - reach * scale, center[:, None] + reach * scale
    inside = ends[(ends > low.min()) & (ends < high.max())]
    grid = center[:, None] + scale * np.linspace(-reach, reach, int(12 * reach / REACH) + 1)
    fixed = np.clip(np.broadcast_to(inside, (center.size, inside.size)), low, high)
    rows = np.sort(np.concatenate([grid, fixed], axis=1), axis=1)
    for _ in range(splits):
        rows = np.sort(np.concatenate([rows, (rows[:, 1:] + rows[:, :-1]) / 2], axis=1), axis=1)
    width = rows[:, 1:] - rows[:, :-1]
    row, panel = np.nonzero(width > 0)
    points, weights = RULES[rule]
    half = width[row, panel] / 2
    u = ((rows[row, panel] + rows[row, panel + 1]) / 2)[:, None] + half[:, None] * points
    density = np.exp(-(((u - center[row, None]) / scale) ** 2) / 2) / (np.sqrt(2 * np.pi) * scale)
    return row, u, half[:, None] * weights * density


def certified(value: Callable[[int, int], tuple[float, float]]) -> float:
    """value(splits, rule) -> (estimate, size of the integrand), accepted where the two rules agree."""
    for splits in range(4):
        (low, _), (high, size) = value(splits, 0), value(splits, 1)
        if not np.isfinite(high):
            break
        if abs(high - low) <= TOLERANCE * size:
            return high
    raise QuadratureError(
        f"Quadrature does not settle: rules of different order give {low!r} and {high!r}. The function "
        "is not finite, or varies faster than its panels; rescale it, or give its kinks explicitly "
        "through Piecewise."
    )
