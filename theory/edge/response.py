"""How the units of one hidden layer respond to self-energies: averages that the Dyson equation needs, and their slopes.

A unit carries its forward and its backward signal, p and d, with the covariance L = diag(lp, ld) of their multipliers.
Given its xi and eta, Q = g N + a u u^T + e f1^2 d d^T, with u = (f1, |eta| f2) and N the covariance of what the linear
approximation leaves. The responses are H = L (1 - Q L)^-1 and P = Q (1 - L Q)^-1.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fimcheck.theory.edge.layer import Layer

Number = Any
"""Real, or complex off the axis."""

PP, DD, AA, BB, NOISE = AVERAGES = range(5)
"""Of P_pp, P_dd, u^T H u, f1^2 H_dd and tr N H, at self-energies a, b, c, e: ld = backward + b, lp = forward + c."""


@dataclass(frozen=True)
class Response:
    """averages: (5,); slopes: (5, 5), of each average by g, a, b, c and e; determinant: the smallest of 1 - Q L."""

    averages: np.ndarray
    slopes: np.ndarray
    determinant: float


def in_a_row(layer: Layer) -> Layer:
    """A grid of (xi, |eta|) as a row of units."""
    return layer.changed(lambda values: np.broadcast_to(values, layer.weights.shape).ravel())


def response(layer: Layer, g: Number, energies: np.ndarray, classes: int) -> Response:
    """One hidden layer, its units in a row, at given self-energies (a, b, c, e)."""
    found = _pair(layer, g, energies, backward_noise(layer, classes))
    if classes == 1:
        return found
    # Of the C directions of the classes eta points to one; in the others p alone counts, as in a unit without eta.
    across = _pair(replace(layer, e=0 * layer.e), g, energies, 0.0)
    share = np.array([1 / classes, 1, 1 / classes, 1, 1 / classes])
    return Response(
        share * found.averages + (1 - share) * across.averages,
        share[:, None] * found.slopes + (1 - share)[:, None] * across.slopes,
        min(found.determinant, across.determinant),
    )


def backward_noise(layer: Layer, classes: int) -> Number:
    """N_dd."""
    return layer.e**2 * layer.k_d + classes * layer.gamma * layer.slope_variance


def quadratic(
    layer: Layer, g: Number, energies: np.ndarray, n_dd: Number
) -> tuple[tuple[Number, Number, Number], tuple[Number, Number]]:
    """Q_pp, Q_pd, Q_dd and the multipliers lp, ld."""
    a, b, c, e = energies
    f1, bend = layer.f1, layer.e * layer.f2
    q_pp = g * layer.n_pp + a * f1**2
    q_pd = g * layer.e * layer.k_x + a * f1 * bend
    q_dd = g * n_dd + a * bend**2 + e * f1**2
    return (q_pp, q_pd, q_dd), (layer.forward + c, layer.backward + b)


def _pair(layer: Layer, g: Number, energies: np.ndarray, n_dd: Number) -> Response:
    (q_pp, q_pd, q_dd), (lp, ld) = quadratic(layer, g, energies, n_dd)
    f1, bend, n_pp, n_pd = layer.f1, layer.e * layer.f2, layer.n_pp, layer.e * layer.k_x
    det = (1 - q_pp * lp) * (1 - q_dd * ld) - q_pd**2 * lp * ld
    # (1 - L Q)^-1, H and P by their entries
    k_pp, k_pd, k_dp, k_dd = (1 - ld * q_dd) / det, lp * q_pd / det, ld * q_pd / det, (1 - lp * q_pp) / det
    h_pp, h_pd, h_dd = k_pp * lp, k_pd * ld, k_dd * ld
    p_pp, p_pd, p_dd = q_pp * k_pp + q_pd * k_dp, q_pd * k_dd + q_pp * k_pd, q_pd * k_pd + q_dd * k_dd

    def form(p: Number, d: Number) -> Number:
        """With N on both sides."""
        return n_pp * p**2 + 2 * n_pd * p * d + n_dd * d**2

    hu = h_pp * f1 + h_pd * bend, h_pd * f1 + h_dd * bend
    ku = k_pp * f1 + k_dp * bend, k_pd * f1 + k_dd * bend
    averages = (p_pp, p_dd, f1 * hu[0] + bend * hu[1], f1**2 * h_dd, n_pp * h_pp + 2 * n_pd * h_pd + n_dd * h_dd)
    # N H, for the trace of its square
    nh_pp, nh_pd = n_pp * h_pp + n_pd * h_pd, n_pp * h_pd + n_pd * h_dd
    nh_dp, nh_dd = n_pd * h_pp + n_dd * h_pd, n_pd * h_pd + n_dd * h_dd
    square = nh_pp**2 + 2 * nh_pd * nh_dp + nh_dd**2
    by_g = (form(k_pp, k_dp), form(k_pd, k_dd), form(*hu), f1**2 * form(h_pd, h_dd), square)

    def by(h: tuple[Number, Number], p: tuple[Number, Number]) -> tuple[Number, ...]:
        """By an energy that adds h h^T to H and p p^T to P."""
        return p[0] ** 2, p[1] ** 2, (f1 * h[0] + bend * h[1]) ** 2, (f1 * h[1]) ** 2, form(*h)

    slopes = (
        by_g,
        by(hu, ku),
        by((k_pd, k_dd), (p_pd, p_dd)),
        by((k_pp, k_dp), (p_pp, p_pd)),
        by((f1 * h_pd, f1 * h_dd), (f1 * k_dp, f1 * k_dd)),
    )
    # Not by a matrix product, whose threads would wait for each other where several processes run.
    means = np.einsum("iju,u->ij", np.array([averages, *slopes]), layer.weights)
    return Response(means[0], means[1:].T, float(np.real(det).min()))


def critical(layer: Layer, g: float, energies: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """|eta|^2 from which a unit of the layer is an eigenvalue beyond z(g), and its determinant at eta = 0.

    The determinant is linear in |eta|^2, and 0 there. One number per xi; inf where no unit ever is, 0 where all are.
    """
    a, b, c, e = energies
    lp, ld = layer.forward + c, layer.backward + b
    forward = 1 - (g * layer.n_pp + a * layer.f1**2) * lp
    backward = 1 - (g * classes * layer.gamma * layer.slope_variance + e * layer.f1**2) * ld
    own = g * layer.k_d + a * layer.f2**2
    falls = ld * (forward * own + (g * layer.k_x + a * layer.f1 * layer.f2) ** 2 * lp)
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = np.where(falls > 0, forward * backward / falls, np.inf)
    return np.where((forward > 0) & (backward > 0), limit, 0.0), forward * backward
