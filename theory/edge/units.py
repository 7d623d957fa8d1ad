"""What one unit of each hidden layer does to samples that share its mean field: averages given that field.

A unit of layer l sees u(t) = sqrt(q_2) xi + w(t) with w of variance v = q_1 - q_2, and the backward signal
g_k(t) = eta_k + gamma_k(t), eta_k ~ N(0, sigma_w2 tq_2) shared by the samples. Given xi and eta the activation and
its slope act as their best linear approximations in w plus independent noise.
"""

from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from scipy import stats

from fimcheck.theory.gaussian.quadrature import moments_around
from fimcheck.theory.network.chain import WideNetwork
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.elementwise import Phi, slope_of
from fimcheck.theory.network.orders import numeric_order_parameters

XI_NODES, ETA_NODES = 49, 24
"""An odd number, so that one node lies at xi = 0, where a kink is seen best."""


class EdgeError(ValueError):
    """The edge is not derived for this network, or its equations have no solution here; the message says which."""


@dataclass(frozen=True)
class Layer:
    """Averages of hidden layer l on a grid of (xi, e), e = |eta| over the classes; weights (xi, e) sum to 1.

    f1, f2: E phi', E phi''. n_pp, k_x, k_d: variances and covariance of what the linear approximation leaves of phi and
    phi'. slope_variance: Var phi'. gamma: sigma_w2 (tq_1 - tq_2) of the layer above. forward, backward: tq_2 of the
    layer above and (alpha_{l-1}/alpha_l) hq_2 of the layer below. alpha: its width.
    """

    f1: np.ndarray
    f2: np.ndarray
    n_pp: np.ndarray
    k_x: np.ndarray
    k_d: np.ndarray
    slope_variance: np.ndarray
    e: np.ndarray
    weights: np.ndarray
    gamma: float
    forward: float
    backward: float
    alpha: float

    def mean(self, values: np.ndarray) -> complex | float:
        """Average over the units."""
        return (values * self.weights).sum()


@dataclass(frozen=True)
class Units:
    """All hidden layers, and what is shared: sigma_w2, alpha_0, tq_2 of layer 1, C, rho and the diagonal shift c."""

    layers: tuple[Layer, ...]
    sigma_w2: float
    alpha_0: float
    first: float
    classes: int
    rho: float
    shift: float


def is_plain(net: Composed) -> TypeGuard[WideNetwork]:
    """Whether it is a chain of dense weights and activations, which the edge is derived for."""
    return isinstance(net, WideNetwork) and all(type(s) in (Dense, Phi) for s in net.steps.steps)


def units(net: WideNetwork, rho: float, classes: int = 1, width: float = np.inf) -> Units:
    """The averages of a chain without hidden normalization, all of whose parameters are numbers.

    width: |eta| is cut where one unit in so many lies beyond; inf for its whole distribution.
    """
    if not is_plain(net):
        raise EdgeError(
            "the edge for T proportional to M is derived for a chain of dense weights and activations, without "
            'normalization of the hidden layers. Leave hidden = "none".'
        )
    if not rho > 0 or not np.isfinite(rho):
        raise EdgeError(f"rho = {rho}: M/T has to be a positive number.")
    orders = numeric_order_parameters(net, "proportional")
    act = net.activation
    phi, slope = act.phi, slope_of(act)
    kinks = tuple(sorted({float(b) for b in (*phi.breaks, *slope.breaks)}))
    alpha = [float(a) for a in net.ratios]
    w2 = float(net.sigma_w2)
    layers, shift = [], 0.0
    for l in range(1, net.depth + 1):  # noqa: E741
        gaps = float(orders.tq1[l] - orders.tq2[l]) * float(orders.hq1[l - 1] - orders.hq2[l - 1])
        shift += rho * alpha[l - 1] * gaps
    for l in range(1, net.depth):  # noqa: E741
        q1, q2 = float(orders.q1[l]), float(orders.q2[l])
        v = q1 - q2
        xi, weight_xi = _normal()
        centers = np.sqrt(max(q2, 0.0)) * xi
        functions = (phi, lambda u: phi(u) ** 2, slope, lambda u: slope(u) ** 2, lambda u: phi(u) * slope(u))
        # E phi'' = E[phi' w]/v needs no second derivative; w = u - center.
        functions = (*functions, lambda u: slope(u) * u)
        first, square, d, d_square, mixed, weighted = moments_around(functions, kinks, centers, v)
        bend = (weighted - centers * d) / v
        spread, d_spread = square - first**2, d_square - d**2
        above = w2 * float(orders.tq2[l + 1])
        e, weight_e = _length(np.sqrt(above), classes, width)
        layers.append(
            Layer(
                f1=d[:, None],
                f2=bend[:, None],
                n_pp=(spread - v * d**2)[:, None],
                k_x=(mixed - first * d - v * d * bend)[:, None],
                k_d=(d_spread - v * bend**2)[:, None],
                slope_variance=d_spread[:, None],
                e=e[None, :],
                weights=weight_xi[:, None] * weight_e[None, :],
                gamma=w2 * float(orders.tq1[l + 1] - orders.tq2[l + 1]),
                forward=float(orders.tq2[l + 1]),
                backward=alpha[l - 1] / alpha[l] * float(orders.hq2[l - 1]),
                alpha=alpha[l],
            )
        )
    return Units(tuple(layers), w2, alpha[0], float(orders.tq2[1]), classes, rho, shift)


def _normal() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of N(0, 1)."""
    points, weights = np.polynomial.legendre.leggauss(XI_NODES)
    x = 9.0 * points
    w = weights * stats.norm.pdf(x)
    return x, w / w.sum()


def _length(scale: float, classes: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the length of a Gaussian vector over the classes, cut where one in ``width`` lies beyond."""
    reach = 9.0 if np.isinf(width) else float(stats.chi.isf(1 / width, classes))
    points, weights = np.polynomial.legendre.leggauss(ETA_NODES)
    x = reach * (points + 1) / 2
    w = weights * stats.chi.pdf(x, classes)
    return scale * x, w / w.sum()
