"""The units of a residual network: averages of their signals given what their samples share."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special, stats

from fimcheck.theory.edge.layer import NEGLIGIBLE
from fimcheck.theory.edge.residual import Place, Stream, stream
from fimcheck.theory.edge.residual_dyson import Alike, Residual
from fimcheck.theory.edge.residual_series import Series, enough_terms, in_common, noise_of
from fimcheck.theory.edge.units import EdgeError
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.orders import numeric_order_parameters

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
    limit = numeric_order_parameters(net, "proportional").K
    for place in parts.places:  # where the limit has no overlap it is noise
        if float(limit[place.given].other or 0) <= NEGLIGIBLE:
            K[place.given] = K[place.given][0], 0.0
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
    series = enough_terms(places, means, own, [_square(place, K) for place in places], left)
    noise = noise_of(series, own, left, backward, gaps * [*gains[1:], 0.0])
    # Signals: phi(u^0..u^B), then the derivatives at the dense steps of the branches.
    down = np.zeros((B, B + 1))  # what comes back at c in the derivative at dense step b
    for b in range(B):
        down[b, b + 1 :] = branch[b] * left[b + 1, b + 1 :]
    into = np.zeros((B + 1, B + 1))  # field k in u^c
    for k in range(B + 1):
        into[k:, k] = left[k, k:] * (branch[k - 1] if k else 1.0)
    f1 = np.stack([s.phi[1] for s in series], 1) / np.sqrt(own)
    f2 = np.stack([s.slope[1] for s in series], 1) / np.sqrt(own)
    columns = np.zeros((units, 2 * B + 1, 2 * B + 1))
    columns[:, : B + 1, : B + 1] = f1[:, :, None] * into
    columns[:, B + 1 :, : B + 1] = np.einsum("bc,uc,ck->ubk", down, f2 * backward, into)
    columns[:, B + 1 :, B + 1 :] = down[:, :B] * f1[:, None, :B]
    both = np.zeros((2 * B + 1, 2 * B + 2))
    both[: B + 1, : B + 1] = np.eye(B + 1)
    both[B + 1 :, B + 1 :] = down
    given = [K[place.given] for place in places]
    plain = all(place.seen == place.stream for place in places)
    alike = (
        Alike(**_alike(series, own, left, into, down, both, backward), **_pulls(places[:B], K, means, carry, branch))
        if plain
        else None
    )
    alpha, alpha_0 = float(parts.first.width), float(net.input_width)
    base = [*(tq[place.after][1] for place in places), *(h[1] for h in given[:B])]
    first = tq[places[0].stream]
    layers = sum(gap * (h[0] - h[1]) for gap, h in zip(gaps, given, strict=True))
    gap = alpha_0 * (first[0] - first[1]) + alpha * layers
    weights = np.full(units, 1 / units)
    return Residual(
        columns, both @ noise @ both.T, weights, np.array(base), gains[1:], float(gains[0]), alpha, alpha_0, first[1],
        rho, gap, alike,
    )  # fmt: skip


def _alike(
    series: Sequence[Series],
    own: np.ndarray,
    left: np.ndarray,
    into: np.ndarray,
    down: np.ndarray,
    both: np.ndarray,
    backward: np.ndarray,
) -> dict[str, np.ndarray]:
    """Of `Alike`, what hangs on the activations."""
    B = len(down)

    def at(name: str, order: int) -> np.ndarray:
        """E of it, or of its first or second derivative."""
        return np.stack([getattr(s, name)[order] for s in series], 1) * np.sqrt(max(order, 1)) / own ** (order / 2)

    slope, bend, bend_of_slope = (at(name, n)[:, None, :] for name, n in (("slope", 0), ("phi", 2), ("slope", 2)))
    bends = np.concatenate([bend, bend_of_slope * backward[:, None, :]], 2)
    square_noise = [in_common(series, own, left, "square", name) for name in ("phi", "slope")]
    square_noise = np.concatenate([square_noise[0], square_noise[1] * backward[:, None, :]], 2)
    return {
        "level": at("phi", 0)[:, :B],
        "eta": backward[:, :B],
        "back": (slope[:, 0] * backward) @ down.T,
        "bends": bends * np.tile(into.T**2, 2) / 2 @ both.T,
        "square_1": (at("square", 1)[:, :, None] * into)[:, :B],
        "square_2": (at("square", 2)[:, :, None] * into**2)[:, :B],
        "square_left": in_common(series, own, left, "square", "square")[:, :B, :B],
        "square_noise": square_noise[:, :B] @ both.T,
    }


def _pulls(
    places: Sequence[Place], K: Pairs, means: np.ndarray, carry: np.ndarray, branch: np.ndarray
) -> dict[str, np.ndarray]:
    """Of `Alike`, what the branches at these places send to the units given their mean fields."""
    sent = np.array([float(place.dense.sigma_w2) * K[place.given][1] for place in places])
    biases = np.array([float(place.dense.sigma_b2) for place in places])
    fields = (means[:, 1:] - carry * means[:, :-1]) / np.where(branch != 0, branch, np.inf)
    share = sent / np.where(sent > 0, sent + biases, 1.0)
    return {"pull": share * fields, "pull_left": share * biases}
