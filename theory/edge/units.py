"""The units of a chain: those of every hidden layer, by their law or one by one, and what its layers share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from scipy import stats

from fimcheck.theory.edge.layer import Layer, eta_variance, layer_at, mean_field
from fimcheck.theory.network.chain import WideNetwork
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.elementwise import Phi
from fimcheck.theory.network.normalize import GroupNorm, LayerNorm, RMSNorm
from fimcheck.theory.network.orders import OrderParameters, numeric_order_parameters

XI_NODES, ETA_NODES = 49, 24
"""An odd number, so that one node lies at xi = 0, where a kink is seen best."""


PER_PLACE = (LayerNorm, RMSNorm, GroupNorm)
"""In a wide network they multiply by a number; the rest of their derivative is O(1/M)."""


class EdgeError(ValueError):
    """The edge is not derived for this network, or its equations have no solution here; the message says which."""


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
    orders = limit_orders(net)
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


def limit_orders(net: WideNetwork) -> OrderParameters:
    """The order parameters of the limit, where every layer tells samples apart."""
    orders = numeric_order_parameters(net, "proportional")
    for n in range(1, net.depth):
        if not orders.q1[n] > orders.q2[n]:
            raise EdgeError(
                f"layer {n}: q_1 = q_2 = {float(orders.q1[n]):.4g} to all digits, so all samples send the same and the "
                "matrix without their mean is zero from there on. Take a shallower network or a larger sigma_w2."
            )
    return orders


def joined(net: WideNetwork, orders: OrderParameters, rho: float, classes: int, layers: tuple[Layer, ...]) -> Units:
    """The hidden layers with what is shared."""
    alpha = [float(a) for a in net.ratios]
    gaps = tuple(
        width * float(orders.tq1[n + 1] - orders.tq2[n + 1]) * float(orders.hq1[n] - orders.hq2[n])
        for n, width in enumerate(alpha)
    )
    return Units(layers, alpha[0], float(orders.tq2[1]), classes, rho, gaps)


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
