"""The second route to every Gaussian average: a rule that only evaluates the functions, between their kinks.

It shares with the derivations, with Price's theorem and with `quadrature` nothing but the functions. The average of
g(v) given u stands inside an average over u; both intervals are halved where the functions are not yet polynomials of
low degree, which is tested by interpolation from half of the points to the others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from fimcheck.theory.gaussian.functions import DisagreementError, Function, QuadratureError

Numeric = Callable[[np.ndarray], np.ndarray]

AGREEMENT = 1e-9
"""Largest accepted distance of the two routes, relative to E|f(u) g(v)|."""

WORST = 1e-6
"""Largest accepted error of the rule itself, relative to E|f(u) g(v)|."""

_LOCAL = 1e-7
"""Largest accepted error of interpolation from half of the points, relative to the size of the average; the error of
the rule on all of them goes like its square."""

_HALVINGS = 40
_FARTHEST = 37
"""Standard deviations looked at; float64 has no density beyond 38."""

_NOTHING = 42.0
"""Fall of the logarithm of an integrand after which nothing is left of it."""


@dataclass(frozen=True)
class Average:
    """E f(u) g(v). size: E|f(u) g(v)|, up to cancellations within one panel of v. error: what the rule itself cannot
    resolve."""

    value: float
    size: float
    error: float

    def require(self, other: float, what: str, agreement: float = AGREEMENT) -> None:
        """Refuse the number of another route that this one does not confirm; what: the average in words."""
        if self.error > WORST * self.size:
            raise QuadratureError(
                f"{what} = {other:.10g} has no second route: a rule that only evaluates the functions between their "
                f"kinks gives {self.value:.10g} and resolves no more than {self.error:.1g}. Take a smaller variance, "
                "or a function that varies more slowly."
            )
        if not abs(self.value - other) <= agreement * self.size + 10 * self.error:
            raise DisagreementError(
                f"{what}: the derived or reduced form gives {other:.12g}, a rule that only evaluates the functions "
                f"between their kinks {self.value:.12g} +- {self.error:.1g}. One of the two is wrong, so neither is "
                "stated: please report the function; written through Piecewise it may take another way."
            )


def pair(f: Function, g: Function, p: float, c: float, mean: float) -> Average:
    """E f(u) g(v), (u, v) Gaussian with common mean, variance p and covariance c, |c| <= p; deltas included."""
    if p == 0:
        value = float(f(np.array([mean]))[0] * g(np.array([mean]))[0])
        return Average(value, abs(value), 0.0)
    sd, own = np.sqrt(p), np.sqrt((p - c) * (p + c) / p)
    slope = c / p
    (f_cuts, f_deltas), (g_cuts, g_deltas) = _places(f), _places(g)
    outer, inner = _windows(f, g, mean, slope, sd, own)
    grid = mean + sd * outer
    left = _resolved(f, np.concatenate([grid, f_cuts]), mean, sd)
    reached = mean + slope * sd * outer[[0, -1], None] + own * inner[[0, -1]]
    steps = max(2, int(np.ptp(reached) / sd) + 1)
    right = _resolved(g, np.concatenate([np.linspace(reached.min(), reached.max(), steps), g_cuts]), mean, sd)

    def given(u: np.ndarray) -> np.ndarray:
        """E g(v) given u, and E|g(v)|."""
        centers = mean + slope * (u - mean)
        if own == 0:
            values = g(centers)
            return np.stack([values, np.abs(values)])
        total = _around(g, centers, own, right, inner)
        for place, weight in g_deltas:
            density = weight * _density(place - centers, own)
            total = total + np.stack([density, np.abs(density)])
        return total

    cuts = [left, grid]
    if slope != 0:
        # Where the mean of v meets a kink of g, E g(v) bends over the spread of v.
        images = mean + (np.concatenate([g_cuts, [t for t, _ in g_deltas]]) - mean) / slope
        layer = own / abs(slope) * np.array([0, 1, 2, 4, 8])
        cuts += [(images[:, None] + layer).ravel(), (images[:, None] - layer).ravel()]
        if own < abs(slope) * sd / 2:
            cuts.append(mean + (right - mean) / slope)

    def integrand(u: np.ndarray) -> np.ndarray:
        return f(u) * _density(u - mean, sd) * given(u)  # in this order: f(u) g(v) alone may exceed float64

    found = _adaptive(integrand, np.clip(np.concatenate(cuts), grid[0], grid[-1]))
    for place, weight in f_deltas:
        value, size = (weight * _density(place - mean, sd) * given(np.array([place])))[:, 0]
        found = Average(found.value + value, found.size + abs(size), found.error)
    return found


def independent(f: Function, g: Function, p: float, mean: float) -> Average:
    """E f(u) E g(v), u and v independent."""
    left, right = single(f, p, mean), single(g, p, mean)
    error = left.error * right.size + right.error * left.size
    return Average(left.value * right.value, left.size * right.size, error)


def single(f: Function, p: float, mean: float) -> Average:
    """E f(u), u ~ N(mean, p)."""
    if p == 0:
        value = float(f(np.array([mean]))[0])
        return Average(value, abs(value), 0.0)
    cuts, deltas = _places(f)
    found = of_values(f, cuts, p, mean)
    for place, weight in deltas:
        value = weight * float(_density(place - mean, np.sqrt(p)))
        found = Average(found.value + value, found.size + abs(value), found.error)
    return found


def of_values(f: Numeric, kinks: np.ndarray, p: float, mean: float) -> Average:
    """E f(u), u ~ N(mean, p), of any numeric function with kinks at the given places."""
    sd = np.sqrt(p)
    grid = mean + sd * _windows(f, np.ones_like, mean, 1.0, sd, 0.0)[0]

    def integrand(u: np.ndarray) -> np.ndarray:
        values = f(u) * _density(u - mean, sd)
        return np.stack([values, np.abs(values)])

    return _adaptive(integrand, np.clip(np.concatenate([grid, kinks]), grid[0], grid[-1]))


def sphere(h: Numeric, kinks: np.ndarray, count: int, samples: float) -> Average:
    """E h(z_1) (count = 0), E h(z_1)^2 (1) or E h(z_1) h(z_2) (2) over a batch normalized over ``samples`` >= 4: z is
    sqrt(samples) times a uniform unit vector orthogonal to (1, .., 1).
    """
    square, correlation = samples - 1, -1 / (samples - 1)
    resolved = _resolved(h, np.concatenate([np.linspace(-12, 12, 25), kinks]), 0.0, 1.0) if count == 2 else kinks

    def given(z: np.ndarray) -> np.ndarray:
        reach = np.sqrt((1 - correlation**2) * np.maximum(square - z**2, 1e-300))
        rows = np.arccos(np.clip((resolved - (correlation * z)[:, None]) / reach[:, None], -1, 1))
        rows = np.sort(np.concatenate([rows, np.broadcast_to(_angles(samples - 4), (z.size, 33))], axis=1), axis=1)
        row, panel = np.nonzero(np.diff(rows) > 0)
        lows, highs = rows[row, panel], rows[row, panel + 1]
        angle = _panels(lows, highs)
        terms = h((correlation * z)[row, None] + reach[row, None] * np.cos(angle)) * _sine_power(angle, samples - 4)
        terms = terms * _WEIGHTS * ((highs - lows) / 2)[:, None]
        return np.stack([np.bincount(row, t.sum(axis=1), z.size) for t in (terms, np.abs(terms))])

    def integrand(angle: np.ndarray) -> np.ndarray:
        z = np.sqrt(square) * np.cos(angle)
        values = h(z)
        others = given(z) if count == 2 else np.stack([values**count, np.abs(values**count)])
        return values * others * _sine_power(angle, samples - 3)

    # Where z_2 = kink just touches the sphere of z_2 given z_1, the average over z_2 bends like a root.
    touch = np.sqrt((1 - correlation**2) * np.maximum(square - kinks**2, 0))
    places = np.concatenate([kinks, correlation * kinks + touch, correlation * kinks - touch])
    cuts = np.arccos(np.clip(places / np.sqrt(square), -1, 1))
    return _adaptive(integrand, np.concatenate([_angles(samples - 3), cuts]), _LOCAL / 1000)


def _angles(power: float) -> np.ndarray:
    """Where sin^power has anything left, cut in panels."""
    half = min(np.pi / 2, 12 / np.sqrt(power + 1))
    return np.linspace(np.pi / 2 - half, np.pi / 2 + half, 33)


def _sine_power(angle: np.ndarray, power: float) -> np.ndarray:
    """sin(angle)^power over its integral from 0 to pi."""
    norm = special.gammaln(power / 2 + 0.5) - special.gammaln(power / 2 + 1) + np.log(np.pi) / 2
    with np.errstate(under="ignore", divide="ignore"):
        return (
            np.exp(power * np.log(np.maximum(np.sin(angle), 0)) - norm) if power > 0 else np.full_like(angle, 1 / np.pi)
        )


def _places(f: Function) -> tuple[np.ndarray, list[tuple[float, float]]]:
    return np.array([float(b) for b in f.breaks]), [(float(t), float(w)) for t, w in f.deltas]


def _density(distance: np.ndarray | float, sd: float) -> np.ndarray:
    with np.errstate(under="ignore"):
        return np.exp(-((distance / sd) ** 2) / 2) / (np.sqrt(2 * np.pi) * sd)


def _windows(f: Numeric, g: Numeric, mean: float, slope: float, sd: float, own: float) -> tuple[np.ndarray, np.ndarray]:
    """Where |f(u) g(v)| times the density counts: grids of one standard deviation for u, and for v about its mean
    given u."""
    z = np.arange(-_FARTHEST, _FARTHEST + 1.0)
    y = z if own > 0 else np.zeros(1)
    with np.errstate(all="ignore"):
        v = mean + slope * sd * z[:, None] + own * y
        size = np.log(np.abs(f(mean + sd * z)))[:, None] + np.log(np.abs(g(v))) - (z[:, None] ** 2 + y**2) / 2
    largest = np.max(size[size < np.inf], initial=-np.inf)
    counts = (size > largest - _NOTHING) & (size < np.inf)  # an infinite value that counts is met later
    counts |= (np.abs(z)[:, None] <= 9) & (np.abs(y) <= 9)  # between the points of the grid there may be more
    rows, columns = np.flatnonzero(counts.any(axis=1)), np.flatnonzero(counts.any(axis=0))
    if rows[0] == 0 or rows[-1] == z.size - 1 or (own > 0 and (columns[0] == 0 or columns[-1] == y.size - 1)):
        raise QuadratureError(
            f"The average over N({mean:g}, {sd**2:g}) has its mass beyond {_FARTHEST} standard deviations, where "
            "float64 has no density: the function grows too fast for this variance. Take a smaller variance."
        )
    return z[rows[0] - 1 : rows[-1] + 2], y[columns[0] - 1 : columns[-1] + 2] if own > 0 else y


# The 15 points of Fejer's second rule hold the 7 of the one of half the order.
_ORDER = 16
_POINTS = np.cos(np.pi * np.arange(1, _ORDER) / _ORDER)[::-1]
_OLD, _NEW = np.arange(1, _ORDER - 1, 2), np.arange(0, _ORDER - 1, 2)


def _weights() -> np.ndarray:
    k = np.arange(_ORDER - 1)
    moments = np.where(k % 2 == 0, 2 / (1 - k.astype(float) ** 2 + (k % 2)), 0.0)
    return np.linalg.solve(np.cos(k[:, None] * np.arccos(_POINTS)), moments)


def _interpolation() -> np.ndarray:
    """From the values at the old points to those at the new ones, for polynomials."""
    k = np.arange(_OLD.size)
    return np.cos(k * np.arccos(_POINTS[_NEW])[:, None]) @ np.linalg.inv(np.cos(k * np.arccos(_POINTS[_OLD])[:, None]))


_WEIGHTS, _FROM_OLD = _weights(), _interpolation()


def _panels(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return (low + high)[:, None] / 2 + (high - low)[:, None] / 2 * _POINTS


def _adaptive(integrand: Numeric, cuts: np.ndarray, local: float = _LOCAL) -> Average:
    """Integral from the first to the last cut of a function whose values come with a second row, their size."""
    ends = np.unique(cuts)
    lows, highs = ends[:-1], ends[1:]
    value = size = error = 0.0
    for halving in range(_HALVINGS + 1):
        half = (highs - lows) / 2
        u = _panels(lows, highs)
        values, bound = integrand(u.ravel()).reshape(2, *u.shape)
        if not np.all(np.isfinite(values)):
            raise QuadratureError("A function exceeds float64 within a Gaussian average: take a smaller variance.")
        integrals, sizes = (values @ _WEIGHTS) * half, (np.abs(bound) @ _WEIGHTS) * half
        wrong = np.abs(values[:, _OLD] @ _FROM_OLD.T - values[:, _NEW]).max(axis=1) * half
        allowed = local * (size + float(sizes.sum()))
        keep = (wrong <= allowed) | (halving == _HALVINGS) | (half <= 1e-15 * np.maximum(np.abs(lows), np.abs(highs)))
        value += float(integrals[keep].sum())
        size += float(sizes[keep].sum())
        # An interpolation that is wrong by w of the size of its panel leaves w^2 of it to the rule of twice the order.
        error += float((wrong[keep] * np.minimum(1.0, wrong[keep] / np.maximum(sizes[keep], 1e-300))).sum())
        lows, highs = lows[~keep], highs[~keep]
        if lows.size == 0:
            break
        middle = (lows + highs) / 2
        lows, highs = np.concatenate([lows, middle]), np.concatenate([middle, highs])
    return Average(value, size, error + 1e-15 * size)


def _resolved(f: Numeric, cuts: np.ndarray, mean: float, sd: float) -> np.ndarray:
    """Ends of panels on which f is a polynomial of low degree, as far as the density lets it count."""
    ends = np.unique(cuts)
    lows, highs, done = ends[:-1], ends[1:], [ends]
    largest = 0.0
    for _ in range(_HALVINGS):
        u = _panels(lows, highs)
        nearest = np.clip(mean, lows, highs)
        weight = np.exp(-(((nearest - mean) / sd) ** 2) / 4)[:, None]
        with np.errstate(all="ignore"):
            values = f(u.ravel()).reshape(u.shape) * weight
        wrong = np.abs(values[:, _OLD] @ _FROM_OLD.T - values[:, _NEW]).max(axis=1) * (highs - lows) / sd
        largest = max(largest, float(np.abs(values).max()))
        split = (wrong > _LOCAL * largest) & (highs - lows > 1e-13 * sd)
        if not np.any(split):
            break
        middle = (lows[split] + highs[split]) / 2
        done.append(middle)
        lows, highs = np.concatenate([lows[split], middle]), np.concatenate([middle, highs[split]])
    return np.unique(np.concatenate(done))


def _around(g: Numeric, centers: np.ndarray, sd: float, ends: np.ndarray, window: np.ndarray) -> np.ndarray:
    """E g(v) and E|g(v)|, v ~ N(center, sd^2), for every center."""
    grid = sd * window
    out = np.empty((2, centers.size))
    inside = ends[(ends > centers.min() + grid[0]) & (ends < centers.max() + grid[-1])]
    for start in range(0, centers.size, 2000):
        a = centers[start : start + 2000, None]
        own = np.broadcast_to(grid, (a.size, grid.size))
        rows = np.sort(np.concatenate([own, np.clip(inside - a, grid[0], grid[-1])], axis=1), axis=1)
        row, panel = np.nonzero(np.diff(rows) > 0)
        lows, highs = rows[row, panel], rows[row, panel + 1]
        away = _panels(lows, highs)
        terms = g(a[row] + away) * _density(away, sd) * _WEIGHTS * ((highs - lows) / 2)[:, None]
        for line, summed in zip(out, (terms, np.abs(terms)), strict=True):
            line[start : start + 2000] = np.bincount(row, summed.sum(axis=1), a.size)
    return out
