"""The units of a residual network: averages of their signals given what their samples share.

A unit's own part of u^0..u^B is a walk with independent steps, so that phi(u^b) and phi(u^c) have in common what their
expansions in Hermite polynomials have, times a power of the correlation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from fimcheck.theory.edge.residual import Place, Stream, stream
from fimcheck.theory.edge.residual_dyson import Residual
from fimcheck.theory.edge.units import EdgeError
from fimcheck.theory.gaussian.quadrature import hermite_around
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.elementwise import slope_of
from fimcheck.theory.network.orders import numeric_order_parameters

TERMS, MOST_TERMS = 48, 768
"""Of the expansion in Hermite polynomials of what a unit's signals at two places have in common: at first, and at most.
A kink under a narrow branch needs many."""

LEFT_OUT = 1e-3
"""Share of the noise of phi' that the terms beyond may have in common at two places."""

ATOMS = 2**10
"""Units that stand for the law of all of them."""

Pairs = Mapping[str, tuple[float, ...]]
"""Overlaps by the path of a step: of one sample with itself, and of two."""


def residual(net: Composed, rho: float, atoms: int = ATOMS, width: float = np.inf) -> Residual:
    """The equation at units that stand for their law; width: fields are cut where one unit in so many lies beyond."""
    parts = stream(net)
    assert parts is not None
    orders = numeric_order_parameters(net, "proportional")
    K = {path: (float(o.same), float(o.other)) for path, o in orders.K.items() if o.other is not None}
    tq = {path: tuple(float(getattr(orders.tq[path, r], r)) for r in ("same", "other")) for path, _ in orders.tq}
    uniform = stats.qmc.Sobol(2 * parts.blocks + 2, rng=0).random(atoms)
    tail = 0.5 / width
    forward, back = np.split(special.ndtri(tail + (1 - 2 * tail) * uniform).T, 2)
    means = [np.sqrt(K[parts.places[0].stream][1]) * forward[0]]
    for place, skip, normal in zip(parts.places, parts.skips, forward[1:], strict=False):
        means.append(float(skip.b) * means[-1] + float(skip.a) * np.sqrt(K[place.after][1]) * normal)
    seen = [
        float(orders.mean[place.seen]) + np.sqrt(_square(place, K)) * mean
        for place, mean in zip(parts.places, means, strict=True)
    ]
    backward = [
        np.sqrt(float(place.dense.sigma_w2) * tq[place.after][1]) * normal
        for place, normal in zip(parts.places, back, strict=True)
    ]
    return _equation(net, parts, rho, K, tq, np.stack(seen, 1), np.stack(backward, 1))


def _square(place: Place, K: Pairs) -> float:
    """Square of the factor of the normalization before an activation."""
    (one, two), (before, pair) = K[place.seen], K[place.stream]
    return (one - two) / (before - pair)


def residual_of(net: Composed, rho: float, measured: Mapping[str, np.ndarray]) -> Residual:
    """The equation of one given finite network. measured: K (steps, 2) after every step and tq (dense steps, 2, 2), and
    shared (B + 1 times the units, 2): the means over the samples of what an activation sees and of sqrt(M) times the
    derivative by what it gives."""
    parts = stream(net)
    assert parts is not None
    K = {path: (float(v[0]), float(v[1])) for path, v in zip(net.all_steps, measured["K"], strict=True)}
    if measured["shared"].shape[-1] != 2:
        raise EdgeError("the edge of a residual network is derived for one output. Take C = 1.")
    dense = [path for path, step in net.all_steps.items() if isinstance(step, Dense)]
    tq = {path: (float(v[0, 0]), float(v[1, 1])) for path, v in zip(dense, measured["tq"], strict=True)}
    shared = measured["shared"].reshape(parts.blocks + 1, -1, 2)
    return _equation(net, parts, rho, K, tq, shared[..., 0].T, shared[..., 1].T)


def _equation(
    net: Composed, parts: Stream, rho: float, K: Pairs, tq: Pairs, means: np.ndarray, backward: np.ndarray
) -> Residual:
    """means, backward (units, B + 1): what the samples of a unit share at u^0..u^B, and of the derivatives by the
    activations there."""
    B, units, places = parts.blocks, len(means), parts.places
    carry = np.array([float(s.b) for s in parts.skips])
    branch = np.array([float(s.a) for s in parts.skips])
    # What is left of the stream at place c of that at place b, b <= c.
    left = np.array([[np.prod(carry[b:c]) if b <= c else 0.0 for c in range(B + 1)] for b in range(B + 1)])
    own = np.array([K[place.stream][0] - K[place.stream][1] for place in places])
    gains = np.array([float(step.sigma_w2) for step in (parts.first, *(place.dense for place in places[:B]))])
    gaps = np.array([tq[place.after][0] - tq[place.after][1] for place in places])  # of one output itself: none
    series = _enough_terms(places, means, own, [_square(place, K) for place in places], left)
    noise = _noise(series, own, left, backward, gaps * [*gains[1:], 0.0])
    # Signals: phi(u^0..u^B), then the derivatives at the dense steps of the branches.
    pull = np.zeros((B, B + 1))
    for b in range(B):
        pull[b, b + 1 :] = branch[b] * left[b + 1, b + 1 :]
    into = np.zeros((B + 1, B + 1))  # field k in u^c
    for k in range(B + 1):
        into[k:, k] = left[k, k:] * (branch[k - 1] if k else 1.0)
    f1 = np.stack([s.phi[1] for s in series], 1) / np.sqrt(own)
    f2 = np.stack([s.slope[1] for s in series], 1) / np.sqrt(own)
    columns = np.zeros((units, 2 * B + 1, 2 * B + 1))
    columns[:, : B + 1, : B + 1] = f1[:, :, None] * into
    columns[:, B + 1 :, : B + 1] = np.einsum("bc,uc,ck->ubk", pull, f2 * backward, into)
    columns[:, B + 1 :, B + 1 :] = pull[:, :B] * f1[:, None, :B]
    both = np.zeros((2 * B + 1, 2 * B + 2))
    both[: B + 1, : B + 1] = np.eye(B + 1)
    both[B + 1 :, B + 1 :] = pull
    given = [K[place.given] for place in places]
    alpha, alpha_0 = float(parts.first.width), float(net.input_width)
    base = [*(tq[place.after][1] for place in places), *(h[1] for h in given[:B])]
    first = tq[places[0].stream]
    layers = sum(gap * (h[0] - h[1]) for gap, h in zip(gaps, given, strict=True))
    gap = alpha_0 * (first[0] - first[1]) + alpha * layers
    weights = np.full(units, 1 / units)
    return Residual(
        columns, both @ noise @ both.T, weights, np.array(base), gains[1:], float(gains[0]), alpha, alpha_0, first[1],
        rho, gap,
    )  # fmt: skip


@dataclass(frozen=True)
class _Series:
    """Coefficients (terms, units) of phi and of its slope by the stream, in Hermite polynomials of a unit's own part.

    pp, pd, dd: sums of products of those from the second on, of phi with phi, phi with phi', phi' with phi'.
    """

    phi: np.ndarray
    slope: np.ndarray
    pp: np.ndarray
    pd: np.ndarray
    dd: np.ndarray


def _enough_terms(
    places: Sequence[Place], means: np.ndarray, own: np.ndarray, squares: Sequence[float], left: np.ndarray
) -> list[_Series]:
    """The series at every place, with so many terms that the others add nothing to what two places have in common."""
    closest = max(left[b, b + 1] * np.sqrt(own[b] / own[b + 1]) for b in range(len(places) - 1))
    terms = TERMS
    while True:
        series = [_series(p, means[:, c], own[c], squares[c], terms) for c, p in enumerate(places)]
        beyond = max(1 - float((s.slope[2:] ** 2).sum()) / float(s.dd.sum() + 1e-300) for s in series)
        if beyond * closest**terms < LEFT_OUT or terms == MOST_TERMS:
            return series
        terms *= 2


def _series(place: Place, centers: np.ndarray, variance: float, square: float, terms: int = TERMS) -> _Series:
    """centers: means of what the activation sees; variance: own one of the stream, and square of the factor on it."""
    phi, slope = place.phi.activation.phi, slope_of(place.phi.activation)
    kinks = tuple(sorted({float(b) for b in (*phi.breaks, *slope.breaks)}))
    (p, d), (pp, pd, dd) = hermite_around((phi, slope), kinks, centers, square * variance, terms)
    pp, pd, dd = pp - p[0] ** 2 - p[1] ** 2, pd - p[0] * d[0] - p[1] * d[1], dd - d[0] ** 2 - d[1] ** 2
    factor = np.sqrt(square)
    return _Series(p, factor * d, pp, factor * pd, square * dd)


def _noise(
    series: list[_Series], own: np.ndarray, left: np.ndarray, backward: np.ndarray, gaps: np.ndarray
) -> np.ndarray:
    """Covariances (units, 2 B + 2, 2 B + 2) of what the linear approximations leave of phi(u^c) and of phi'(u^c) times
    what comes back there: a part that the samples share, and one with variance ``gaps`` that they do not."""
    n, units = len(series), len(backward)
    found = np.zeros((units, 2 * n, 2 * n))
    order = np.arange(2, len(series[0].phi))[:, None]
    for b, one in enumerate(series):
        for c, two in enumerate(series):
            if b == c:
                pp, pd, dd = one.pp, one.pd, one.dd
            else:
                low, high = min(b, c), max(b, c)
                powers = (left[low, high] * np.sqrt(own[low] / own[high])) ** order
                pp, pd, dd = (
                    (powers * x[2:] * y[2:]).sum(0)
                    for x, y in ((one.phi, two.phi), (one.phi, two.slope), (one.slope, two.slope))
                )
            found[:, b, c] = pp
            found[:, b, n + c] = found[:, n + c, b] = pd * backward[:, c]
            found[:, n + b, n + c] = dd * backward[:, b] * backward[:, c]
            if b == c:
                found[:, n + b, n + b] += gaps[b] * (one.dd + one.slope[1] ** 2)
    return found
