"""What one unit of each hidden layer does to samples that share its mean field: averages given that field.

A unit of layer l sees u(t) = sqrt(q_2) xi + w(t) with w of variance v = q_1 - q_2, and the backward signal
g_k(t) = eta_k + gamma_k(t), eta_k ~ N(0, sigma_w2 tq_2) shared by the samples. Given xi and eta the activation and
its slope act as their best linear approximations in w plus independent noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from scipy import stats

from fimcheck.theory.gaussian.quadrature import moments_around
from fimcheck.theory.network.chain import WideNetwork
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.elementwise import Phi, slope_of
from fimcheck.theory.network.normalize import GroupNorm, LayerNorm, RMSNorm
from fimcheck.theory.network.orders import OrderParameters, numeric_order_parameters

XI_NODES, ETA_NODES = 49, 24
"""An odd number, so that one node lies at xi = 0, where a kink is seen best."""


PER_PLACE = (LayerNorm, RMSNorm, GroupNorm)
"""In a wide network they multiply by a number; the rest of their derivative is O(1/M)."""


class EdgeError(ValueError):
    """The edge is not derived for this network, or its equations have no solution here; the message says which."""


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


@dataclass(frozen=True)
class Units:
    """All hidden layers, and what is shared: alpha_0, tq_2 of layer 1, C, rho, and of every weight layer
    alpha_{l-1} (tq_1^l - tq_2^l) (hq_1^{l-1} - hq_2^{l-1})."""

    layers: tuple[Layer, ...]
    alpha_0: float
    first: float
    classes: int
    rho: float
    gaps: tuple[float, ...]
    directions: tuple[np.ndarray, ...] = ()
    """Of eta of the units of every hidden layer, (units, C), where they are known one by one."""

    @property
    def shift(self) -> float:
        """The diagonal shift c."""
        return self.rho * sum(self.gaps)

    @property
    def alphas(self) -> list[float]:
        """alpha_0..alpha_{L-1}."""
        return [self.alpha_0, *(layer.alpha for layer in self.layers)]

    @property
    def fields(self) -> list[np.ndarray]:
        """eta of the units of every hidden layer, (units, C), where they are known one by one."""
        return [layer.e[:, None] * own for layer, own in zip(self.layers, self.directions, strict=True)]


Change = Callable[[Any], Any]
"""Of the averages of a chain, `Units`, or of a residual network, to make a mistake on purpose."""


def as_it_is(found: Any) -> Any:
    """No change."""
    return found


def is_plain(net: Composed) -> TypeGuard[WideNetwork]:
    """Whether it is a chain of dense weights, normalizations over units and activations, which it is derived for."""
    return isinstance(net, WideNetwork) and all(type(s) in (Dense, Phi, *PER_PLACE) for s in net.steps.steps)


def is_normalized(net: WideNetwork) -> bool:
    """Whether its hidden layers are normalized."""
    return any(type(step) in PER_PLACE for step in net.steps.steps)


def units(
    net: WideNetwork,
    rho: float,
    classes: int = 1,
    width: float = np.inf,
    nodes: int = XI_NODES,
    xi_width: float = np.inf,
) -> Units:
    """The averages of a chain without hidden batch normalization, all of whose parameters are numbers.

    width, xi_width: |eta| and xi are cut where one unit in so many lies beyond; inf for the whole law. nodes: of xi.
    """
    check_derived(net, rho)
    orders = numeric_order_parameters(net, "proportional")
    (xi, weight_xi), (e, weight_e) = _normal(nodes, xi_width), _length(classes, width)
    weights = weight_xi[:, None] * weight_e[None, :]
    layers = tuple(
        layer_at(net, orders, n, mean + sd * xi[:, None], np.sqrt(eta_variance(net, orders, n)) * e[None, :], weights)
        for n, (_, mean, sd) in enumerate((mean_field(net, orders, n) for n in range(1, net.depth)), 1)
    )
    return joined(net, orders, rho, classes, layers)


def check_derived(net: WideNetwork, rho: float) -> None:
    """Raise EdgeError where the units of a network are not known."""
    if not is_plain(net):
        raise EdgeError(
            "the edge for T proportional to M is derived for a chain of dense weights and activations, whose hidden "
            "layers may be normalized over their units; over the batch they may not. Take hidden = none or layer."
        )
    if not rho > 0 or not np.isfinite(rho):
        raise EdgeError(f"rho = {rho}: M/T has to be a positive number.")


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


def joined(net: WideNetwork, orders: OrderParameters, rho: float, classes: int, layers: tuple[Layer, ...]) -> Units:
    """The hidden layers with what is shared."""
    alpha = [float(a) for a in net.ratios]
    gaps = tuple(
        width * float(orders.tq1[n + 1] - orders.tq2[n + 1]) * float(orders.hq1[n] - orders.hq2[n])
        for n, width in enumerate(alpha)
    )
    return Units(layers, alpha[0], float(orders.tq2[1]), classes, rho, gaps)


def layer_at(
    net: WideNetwork, orders: OrderParameters, number: int, centers: np.ndarray, e: np.ndarray, weights: np.ndarray
) -> Layer:
    """Hidden layer ``number`` at units of mean field ``centers`` and backward field of length ``e``."""
    act = net.activation
    phi, slope = act.phi, slope_of(act)
    kinks = tuple(sorted({float(b) for b in (*phi.breaks, *slope.breaks)}))
    functions = (phi, lambda u: phi(u) ** 2, slope, lambda u: slope(u) ** 2, lambda u: phi(u) * slope(u))
    # E phi'' = E[phi' w]/v needs no second derivative; w = u - center. Likewise E phi''' = E[phi' (w^2 - v)]/v^2.
    functions = (*functions, lambda u: slope(u) * u, lambda u: slope(u) * u**2, lambda u: phi(u) * slope(u) * u)
    functions = (*functions, lambda u: phi(u) ** 3, lambda u: phi(u) ** 4, lambda u: phi(u) ** 2 * slope(u))
    gain, mean, _ = mean_field(net, orders, number)
    q1, q2, below = float(orders.q1[number]), float(orders.q2[number]), float(orders.hq2[number - 1])
    v = gain * (q1 - q2)
    around = moments_around(functions, kinks, centers.ravel(), v)
    first, square, d, d_square, mixed, weighted, twice, mixed_weighted, cube, fourth, square_d = (
        m.reshape(centers.shape) for m in around
    )
    bend = (weighted - centers * d) / v
    spread, d_spread = square - first**2, d_square - d**2
    # Of the square of phi - E phi.
    square_1 = 2 * (mixed - first * d)
    square_2 = 2 * (mixed_weighted - centers * mixed - first * v * bend) / v
    third, skew = cube - 3 * first * square + 2 * first**3, square_d - 2 * first * mixed + first**2 * d
    pull = float(net.sigma_w2) * below / q2 if q2 > 0 else 0.0
    alpha = [float(a) for a in net.ratios]
    return Layer(
        f1=d,
        f2=bend,
        n_pp=spread - v * d**2,
        k_x=mixed - first * d - v * d * bend,
        k_d=d_spread - v * bend**2,
        slope_variance=d_spread,
        e=e,
        weights=weights,
        gamma=float(net.sigma_w2) * float(orders.tq1[number + 1] - orders.tq2[number + 1]),
        forward=float(orders.tq2[number + 1]),
        # Layer 1 has no backward part: the overlaps of the inputs are zero but for their own fluctuations.
        backward=gain * alpha[number - 1] / alpha[number] * below if number > 1 else 0.0,
        alpha=alpha[number],
        above=eta_variance(net, orders, number),
        weight=gain * float(net.sigma_w2),
        f3=(twice - 2 * centers * weighted + centers**2 * d - v * d) / v**2,
        level=first,
        pull=pull * (centers - mean),
        pull_left=pull * (q2 - float(net.sigma_w2) * below),
        square_1=square_1,
        square_2=square_2,
        square_left=fourth - 4 * first * cube + 6 * first**2 * square - 3 * first**4 - spread**2 - v * square_1**2,
        square_phi=third - v * d * square_1,
        square_slope=skew - spread * d - v * square_1 * bend,
    )


def _normal(nodes: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of N(0, 1), cut where one in ``width`` lies beyond on either side."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    x = (9.0 if np.isinf(width) else float(stats.norm.isf(0.5 / width))) * points
    w = weights * stats.norm.pdf(x)
    return x, w / w.sum()


def _length(classes: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the length of a standard normal vector, cut where one in ``width`` lies beyond."""
    reach = 9.0 if np.isinf(width) else float(stats.chi.isf(1 / width, classes))
    points, weights = np.polynomial.legendre.leggauss(ETA_NODES)
    x = reach * (points + 1) / 2
    w = weights * stats.chi.pdf(x, classes)
    return x, w / w.sum()
