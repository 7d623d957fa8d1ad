"""The edge of a residual network: a stream u^{b+1} = b u^b + a (W phi(u^b) + biases), read out through one more phi.

All its layers share their units, and a unit sees one correlated signal after the other. What a unit gives is K =
2 B + 1 signals, the activations phi(u^0..u^B) and the derivatives at the B dense steps of the branches; given what its
samples share these are linear in what comes through the weights, (B + 1) + B fields in all, plus noise. The Dyson
equation is that of a chain with K by K matrices for numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special, stats

from fimcheck.theory.edge.dyson import Equation, Number, Solution
from fimcheck.theory.gaussian.quadrature import hermite_around
from fimcheck.theory.network.combine import Skip
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.elementwise import Phi, slope_of
from fimcheck.theory.network.orders import numeric_order_parameters
from fimcheck.theory.network.step import Step

TERMS = 48
"""Of the expansion in Hermite polynomials of what a unit's signals at two places have in common."""

ATOMS = 2**10
"""Units that stand for the law of all of them."""

Pairs = Mapping[str, tuple[float, ...]]
"""Overlaps by the path of a step: of one sample with itself, and of two."""


@dataclass(frozen=True)
class Stream:
    """The steps of a residual network: the first dense step, the skips, the last activation, the outputs."""

    first: Dense
    skips: tuple[Skip, ...]
    phis: tuple[Phi, ...]
    last: Dense

    @property
    def blocks(self) -> int:
        """B."""
        return len(self.skips)

    def dense(self, block: int) -> str:
        """Path of the dense step of a block, from 0."""
        return f"{block + 2}.branch.2"

    def stream(self, place: int) -> str:
        """Path of u^0..u^B."""
        return str(place + 1)

    def activated(self, place: int) -> str:
        """Path of phi(u^0)..phi(u^B)."""
        return f"{place + 2}.branch.1" if place < self.blocks else str(self.blocks + 2)


def stream(net: Composed) -> Stream | None:
    """The parts of a residual network that the edge is derived for; None of another network."""
    first, *middle, phi, last = net.steps.steps if len(net.steps.steps) >= 4 else (None, None, None)
    skips = tuple(step for step in middle if isinstance(step, Skip) and _is_block(step))
    whole = skips and len(skips) == len(middle) and _is_plain(first) and type(phi) is Phi and _is_plain(last)
    if not whole or net.inputs is not None or net.positions != 1:
        return None
    assert isinstance(first, Dense)
    assert isinstance(last, Dense)
    assert isinstance(phi, Phi)
    phis = [step.branch.steps[0] for step in skips]
    return Stream(first, skips, tuple(p for p in (*phis, phi) if isinstance(p, Phi)), last)


def _is_block(step: Skip) -> bool:
    steps = step.branch.steps
    return len(steps) == 2 and type(steps[0]) is Phi and _is_plain(steps[1])


def _is_plain(step: Step | None) -> bool:
    return type(step) is Dense and step.param == "standard" and step.rate == 1


@dataclass(frozen=True)
class Residual(Equation):
    """The Dyson equation. columns (units, K, J): what the J fields do to the K signals; noise (units, K, K); weights
    (units,), their sum 1; base (K,): multipliers of the signals. gains (B,), into: sigma_w2 of the branches and of the
    first step; alpha, alpha_0: widths of stream and inputs; first: tq_2 of the first step.

    The energies: of the B + 1 fields forward and the B backward; of the first B signals and of the last B; of the
    inputs.
    """

    columns: np.ndarray
    noise: np.ndarray
    weights: np.ndarray
    base: np.ndarray
    gains: np.ndarray
    into: float
    alpha: float
    alpha_0: float
    first: float
    rho: float
    shift: float

    @property
    def blocks(self) -> int:
        """B."""
        return len(self.gains)

    @property
    def size(self) -> int:
        """How many energies."""
        return 4 * self.blocks + 2

    @cached_property
    def _feed(self) -> tuple[np.ndarray, np.ndarray]:
        """(size + 1, J + K + 1): what forms in the fields, responses and noise add to Sigma and to the energies; and
        where the energies stand among g, the fields and the multipliers."""
        B, J = self.blocks, 2 * self.blocks + 1
        feed = np.zeros((self.size + 1, 2 * J + 1))
        feed[0, -1] = self.rho * self.alpha
        for b, gain in enumerate(self.gains):
            feed[2 + b, J + b] = feed[1 + J + b, 1 + b] = gain  # through W forward: field b + 1 and signal b
            feed[2 + B + b, J + B + 1 + b] = feed[1 + J + B + b, B + 1 + b] = gain  # and backward
        feed[-1, 0] = self.into * self.alpha / self.alpha_0
        return feed, np.delete(np.arange(2 * J + 1), 1 + J + B)  # nothing is added to the multiplier of phi(u^B)

    def at(self, g: Number, energies: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """(Sigma, F), its derivatives by (g, energies), and the smallest determinant, which has to be positive."""
        B, J = self.blocks, 2 * self.blocks + 1
        feed, places = self._feed
        averages, slopes, lowest = self._responses(g, *self._parts(energies))
        kind = np.result_type(g, energies)
        value, by = (feed @ averages).astype(kind), np.zeros((self.size + 1, self.size + 1), kind)
        by[:, : 1 + J + 2 * B] = feed @ slopes[:, places]
        lam = self.first + energies[-1]
        inputs = 1 - g * lam
        value[0] += self.rho * self.alpha_0 * lam / inputs
        by[0, [0, -1]] += self.rho * self.alpha_0 * np.array([lam**2, 1]) / inputs**2
        value[1] = self.into * g / inputs
        by[1, [0, -1]] = self.into * np.array([1, g**2]) / inputs**2
        return value, by, min(lowest, float(np.real(inputs)))

    def _parts(self, energies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies of the fields (J,), and multipliers of the signals (K,)."""
        B, J = self.blocks, 2 * self.blocks + 1
        multipliers = self.base + np.concatenate([energies[J : J + B], [0.0], energies[J + B : J + 2 * B]])
        return energies[:J], multipliers

    def _responses(
        self, g: Number, fields: np.ndarray, multipliers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Averages of the diagonals of Y^T H Y and P, and of tr N H; their slopes by g, fields and multipliers.

        H = L (1 - Q L)^-1, P = Q (1 - L Q)^-1, Q = g N + Y diag(fields) Y^T, L = diag(multipliers).
        """
        y, n = self.columns, self.noise
        q = g * n + (y * fields) @ y.mT
        eye = np.eye(q.shape[-1])
        matrix = eye - q * multipliers
        back = np.linalg.inv(matrix)  # (1 - Q L)^-1
        h, p = multipliers[:, None] * back, back @ q
        forms = y.mT @ h @ y
        through = back @ y  # (1 - Q L)^-1 Y
        hy, nh = h @ y, n @ h
        k = back.mT  # (1 - L Q)^-1
        by_noise = np.concatenate([(hy * (n @ hy)).sum(1), (k * (n @ k)).sum(1)], 1)
        square = np.block([[forms, through.mT], [through, p]]) ** 2
        averages = np.concatenate([forms.diagonal(0, 1, 2), p.diagonal(0, 1, 2), nh.trace(0, 1, 2)[:, None]], 1)
        slopes = np.zeros((*averages.shape, averages.shape[1]), averages.dtype)
        slopes[:, :-1, 1:] = square
        slopes[:, :-1, 0] = slopes[:, -1, 1:] = by_noise
        slopes[:, -1, 0] = (nh * nh.mT).sum((1, 2))
        return self.weights @ averages, np.tensordot(self.weights, slopes, 1), self._lowest(q, multipliers).min()

    def _lowest(self, q: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
        """Smallest eigenvalue of 1 - Q L of every unit; of real matrices alone."""
        if np.iscomplexobj(q):
            return np.ones(1)
        root = np.sqrt(np.maximum(multipliers, 0.0))
        return 1 - np.linalg.eigvalsh(root[:, None] * q * root)[:, -1]

    def margin(self, at: Solution) -> float:
        """How far the most extreme unit is from splitting off: its smallest eigenvalue over their mean."""
        fields, multipliers = self._parts(at.energies)
        lowest = self._lowest(at.g * self.noise + (self.columns * fields) @ self.columns.mT, multipliers)
        return float(lowest.min() / (self.weights @ lowest))


def residual(net: Composed, rho: float, atoms: int = ATOMS, width: float = np.inf) -> Residual:
    """The equation at units that stand for their law; width: fields are cut where one unit in so many lies beyond."""
    parts = stream(net)
    assert parts is not None
    orders = numeric_order_parameters(net, "proportional")
    K = {path: (float(o.same), float(o.other)) for path, o in orders.K.items() if o.other is not None}
    tq = {path: tuple(float(getattr(orders.tq[path, r], r)) for r in ("same", "other")) for path, _ in orders.tq}
    B = parts.blocks
    uniform = stats.qmc.Sobol(2 * B + 2, rng=0).random(atoms)
    tail = 0.5 / width
    normal = special.ndtri(tail + (1 - 2 * tail) * uniform)
    means = np.empty((atoms, B + 1))
    means[:, 0] = np.sqrt(K[parts.stream(0)][1]) * normal[:, 0]
    backward = np.empty((atoms, B + 1))
    for b, skip in enumerate(parts.skips):
        means[:, b + 1] = float(skip.b) * means[:, b] + float(skip.a) * np.sqrt(K[parts.dense(b)][1]) * normal[:, b + 1]
        dense = skip.branch.steps[1]
        backward[:, b] = np.sqrt(float(dense.sigma_w2) * tq[parts.dense(b)][1]) * normal[:, B + 1 + b]  # type: ignore[attr-defined]
    backward[:, B] = np.sqrt(float(parts.last.sigma_w2)) * normal[:, -1]
    return _equation(net, parts, rho, K, tq, means, backward)


def residual_of(net: Composed, rho: float, measured: Mapping[str, np.ndarray]) -> Residual:
    """The equation of one given finite network. measured: K (steps, 2) after every step and tq (dense steps, 2, 2), and
    shared (B + 1 times the units, 2): the means over the samples of what an activation sees and of sqrt(M) times the
    derivative by what it gives."""
    parts = stream(net)
    assert parts is not None
    K = {path: (float(v[0]), float(v[1])) for path, v in zip(net.all_steps, measured["K"], strict=True)}
    dense = [path for path, step in net.all_steps.items() if isinstance(step, Dense)]
    tq = {path: (float(v[0, 0]), float(v[1, 1])) for path, v in zip(dense, measured["tq"], strict=True)}
    shared = measured["shared"].reshape(parts.blocks + 1, -1, 2)
    return _equation(net, parts, rho, K, tq, shared[..., 0].T, shared[..., 1].T)


def _equation(
    net: Composed, parts: Stream, rho: float, K: Pairs, tq: Pairs, means: np.ndarray, backward: np.ndarray
) -> Residual:
    """means, backward (units, B + 1): what the samples of a unit share at u^0..u^B, and of the derivatives by the
    activations there."""
    B, units = parts.blocks, len(means)
    carry = np.array([float(s.b) for s in parts.skips])
    branch = np.array([float(s.a) for s in parts.skips])
    # What is left of the stream at place c of that at place b, b <= c.
    left = np.array([[np.prod(carry[b:c]) if b <= c else 0.0 for c in range(B + 1)] for b in range(B + 1)])
    own = np.array([K[parts.stream(c)][0] - K[parts.stream(c)][1] for c in range(B + 1)])
    steps = [parts.first, *(s.branch.steps[1] for s in parts.skips)]
    gains = np.array([float(step.sigma_w2) for step in steps])  # type: ignore[attr-defined]
    gaps = np.array([tq[parts.dense(b)][0] - tq[parts.dense(b)][1] for b in range(B)] + [0.0])
    gaps[:B] *= gains[1:]
    series = [_series(phi, means[:, c], own[c]) for c, phi in enumerate(parts.phis)]
    noise = _noise(series, own, left, backward, gaps)
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
    activated = [K[parts.activated(c)] for c in range(B + 1)]
    alpha, alpha_0 = float(parts.first.width), float(net.input_width)
    base = [*(tq[parts.dense(b)][1] for b in range(B)), 1.0, *(h[1] for h in activated[:B])]
    first = tq[parts.stream(0)]
    shift = alpha_0 * (first[0] - first[1])
    shift += alpha * sum(
        (tq[parts.dense(b)][0] - tq[parts.dense(b)][1]) * (h[0] - h[1]) for b, h in enumerate(activated[:B])
    )
    weights = np.full(units, 1 / units)
    return Residual(
        columns, both @ noise @ both.T, weights, np.array(base), gains[1:], float(gains[0]), alpha, alpha_0, first[1],
        rho, rho * shift,
    )  # fmt: skip


@dataclass(frozen=True)
class _Series:
    """Coefficients (terms, units) of phi and phi' in normalized Hermite polynomials of a unit's own part.

    pp, pd, dd: sums of products of those from the second on, of phi with phi, phi with phi', phi' with phi'.
    """

    phi: np.ndarray
    slope: np.ndarray
    pp: np.ndarray
    pd: np.ndarray
    dd: np.ndarray


def _series(step: Phi, centers: np.ndarray, variance: float) -> _Series:
    phi, slope = step.activation.phi, slope_of(step.activation)
    kinks = tuple(sorted({float(b) for b in (*phi.breaks, *slope.breaks)}))
    (p, d), (pp, pd, dd) = hermite_around((phi, slope), kinks, centers, variance, TERMS)
    return _Series(p, d, pp - p[0] ** 2 - p[1] ** 2, pd - p[0] * d[0] - p[1] * d[1], dd - d[0] ** 2 - d[1] ** 2)


def _noise(
    series: list[_Series], own: np.ndarray, left: np.ndarray, backward: np.ndarray, gaps: np.ndarray
) -> np.ndarray:
    """Covariances (units, 2 B + 2, 2 B + 2) of what the linear approximations leave of phi(u^c) and of phi'(u^c) times
    what comes back there: a part that the samples share, and one with variance ``gaps`` that they do not."""
    n, units = len(series), len(backward)
    found = np.zeros((units, 2 * n, 2 * n))
    order = np.arange(2, TERMS)[:, None]
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
