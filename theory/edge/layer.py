"""What one unit of each hidden layer does to samples that share its mean field: averages given that field.

A unit of layer l sees u(t) = sqrt(q_2) xi + w(t) with w of variance v = q_1 - q_2, and the backward signal
g_k(t) = eta_k + gamma_k(t), eta_k ~ N(0, sigma_w2 tq_2) shared by the samples. Given xi and eta the activation and
its slope act as their best linear approximations in w plus independent noise.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fimcheck.theory.gaussian.quadrature import moments_around
from fimcheck.theory.network.chain import WideNetwork
from fimcheck.theory.network.elementwise import Phi, slope_of
from fimcheck.theory.network.orders import OrderParameters

NEGLIGIBLE = 1e-12
"""Overlap of which there is none."""


@dataclass(frozen=True)
class Layer:
    """Averages of hidden layer l at some units, e = |eta| over the classes; weights sum to 1.

    Either a grid of (xi, e), or the units of one given network. f1, f2: E phi', E phi''. n_pp, k_x, k_d: variances and
    covariance of what the linear approximation leaves of phi and phi'. slope_variance: Var phi'. gamma:
    sigma_w2 (tq_1 - tq_2) of the layer above. forward, backward: tq_2 of the layer above and
    (alpha_{l-1}/alpha_l) hq_2 of the layer below. alpha: its width. above: sigma_w2 tq_2 of the layer above, the
    variance of eta. weight: sigma_w2 times the square of what a hidden normalization multiplies by.

    Of what all units of a layer share, see `finite_rank`. f3: E phi'''. level: E phi. pull: E of what the mean of the
    layer below sends to the unit given its mean field; pull_left: variance that leaves. Of (phi - E phi)^2: E of its
    first and second derivative, the variance that a linear approximation leaves, and the covariances of that with what
    is left of phi and of phi'.
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
    above: float
    weight: float
    f3: np.ndarray
    level: np.ndarray
    pull: np.ndarray
    pull_left: float
    square_1: np.ndarray
    square_2: np.ndarray
    square_left: np.ndarray
    square_phi: np.ndarray
    square_slope: np.ndarray

    def mean(self, values: np.ndarray) -> complex | float:
        """Average over the units."""
        return (values * self.weights).sum()

    def changed(self, change: Callable[[np.ndarray], np.ndarray]) -> "Layer":
        """With what stands for each unit changed alike."""
        arrays = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **{name: change(value) for name, value in arrays.items()})


def mean_field(net: WideNetwork, orders: OrderParameters, number: int) -> tuple[float, float, float]:
    """Of what the activation of hidden layer ``number`` sees: the square of the factor on the dense step's output, the
    mean, and the standard deviation of what its samples share."""
    phis = [i for i, step in enumerate(net.steps.steps) if type(step) is Phi]
    before = str(phis[number - 1])  # steps are numbered from 1
    K, mean = orders.K[before], float(orders.mean[before])
    q1, q2 = float(orders.q1[number]), float(orders.q2[number])
    square = float(K.same - K.other) / (q1 - q2)
    return square, mean, float(np.sqrt(max(square * q2, 0.0)))


def eta_variance(net: WideNetwork, orders: OrderParameters, number: int) -> float:
    """Variance of eta of hidden layer ``number``."""
    return float(net.sigma_w2) * float(orders.tq2[number + 1])


def layer_at(
    net: WideNetwork, orders: OrderParameters, number: int, centers: np.ndarray, e: np.ndarray, weights: np.ndarray
) -> Layer:
    """Hidden layer ``number`` at units of mean field ``centers`` and backward field of length ``e``."""
    gain, mean, _ = mean_field(net, orders, number)
    q1, q2, below = float(orders.q1[number]), float(orders.q2[number]), float(orders.hq2[number - 1])
    sent = float(net.sigma_w2) * below
    pull = sent / (sent + float(net.sigma_b2)) if sent > 0 else 0.0
    alpha = [float(a) for a in net.ratios]
    return Layer(
        **_averages(net, centers, gain * (q1 - q2)),
        e=e,
        weights=weights,
        gamma=float(net.sigma_w2) * float(orders.tq1[number + 1] - orders.tq2[number + 1]),
        forward=float(orders.tq2[number + 1]),
        # Layer 1 has no backward part: the overlaps of the inputs are zero but for their own fluctuations.
        backward=gain * alpha[number - 1] / alpha[number] * below if number > 1 else 0.0,
        alpha=alpha[number],
        above=eta_variance(net, orders, number),
        weight=gain * float(net.sigma_w2),
        pull=pull * (centers - mean),
        pull_left=pull * float(net.sigma_b2),
    )


def _averages(net: WideNetwork, centers: np.ndarray, v: float) -> dict[str, np.ndarray]:
    """Averages of a unit over w of variance v, by the names of `Layer`."""
    phi, slope = net.activation.phi, slope_of(net.activation)
    kinks = tuple(sorted({float(b) for b in (*phi.breaks, *slope.breaks)}))

    def integrands(u: np.ndarray) -> tuple[np.ndarray, ...]:
        p, d = phi(u), slope(u)
        return p, p**2, p**3, p**4, d, d**2, p * d, p**2 * d, d * u, d * u**2, p * d * u

    around = moments_around(integrands, kinks, centers.ravel(), v)
    p, p2, p3, p4, d, d2, pd, p2d, du, duu, pdu = (m.reshape(centers.shape) for m in around)
    # E phi'' = E[phi' w]/v needs no second derivative; w = u - center. Likewise E phi''' = E[phi' (w^2 - v)]/v^2.
    bend = (du - centers * d) / v
    spread, slope_variance = p2 - p**2, d2 - d**2
    square_1 = 2 * (pd - p * d)
    return {
        "f1": d,
        "f2": bend,
        "f3": (duu - 2 * centers * du + centers**2 * d - v * d) / v**2,
        "level": p,
        "n_pp": spread - v * d**2,
        "k_x": pd - p * d - v * d * bend,
        "k_d": slope_variance - v * bend**2,
        "slope_variance": slope_variance,
        "square_1": square_1,
        "square_2": 2 * (pdu - centers * pd - p * v * bend) / v,
        "square_left": p4 - 4 * p * p3 + 6 * p**2 * p2 - 3 * p**4 - spread**2 - v * square_1**2,
        "square_phi": p3 - 3 * p * p2 + 2 * p**3 - v * d * square_1,
        "square_slope": p2d - 2 * p * pd + p**2 * d - spread * d - v * square_1 * bend,
    }
