"""The units of one network, one by one: as they were measured, or drawn from their law."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fimcheck.theory.edge.layer import NEGLIGIBLE, Layer, eta_variance, layer_at, mean_field
from fimcheck.theory.edge.units import EdgeError, Units, check_derived, is_normalized, joined, limit_orders
from fimcheck.theory.network.chain import WideNetwork
from fimcheck.theory.network.orders import OrderParameters

ORDERS = ("hq1", "hq2", "q1", "q2", "tq1", "tq2")
"""Order parameters that `units_of` needs."""


def units_of(net: WideNetwork, rho: float, measured: Mapping[str, np.ndarray]) -> Units:
    """The units of one given finite network: what its samples share, in the place of its distribution.

    measured: order parameters hq1, hq2 of layers 0..L-1 and q1, q2, tq1, tq2 of layers 1..L, (L,), and shared
    (units of all hidden layers, 1 + C): the means over the samples of u_i and of sqrt(M_l) d f_k / d phi_i.
    """
    check_derived(net, rho)
    if is_normalized(net):
        raise EdgeError(f"hidden = {net.hidden}: the edge given the units of a network is stated for hidden = none.")
    orders = limit_orders(net)
    own = {name: dict(zip(sorted(getattr(orders, name)), map(float, measured[name]), strict=True)) for name in ORDERS}
    # Where the limit has none it is noise.
    own["hq2"] = {n: value if float(orders.hq2[n]) > NEGLIGIBLE else 0.0 for n, value in own["hq2"].items()}
    alpha = [float(a) for a in net.ratios]
    shares = np.cumsum(alpha[1:]) / sum(alpha[1:])
    shared = np.split(measured["shared"], np.rint(shares[:-1] * len(measured["shared"])).astype(int))
    centers, fields = zip(*((layer[:, 0], layer[:, 1:]) for layer in shared), strict=True)
    return _units(net, replace(orders, **own), rho, centers, fields)


def drawn_units(net: WideNetwork, rho: float, classes: int, width: int, rng: np.random.Generator) -> Units:
    """The units of a network of finite width, drawn from their law, with the order parameters of the limit.

    A layer's eta have the covariance over the classes that the units above gave.
    """
    orders = limit_orders(net)
    sizes = [max(1, round(width * float(alpha))) for alpha in net.ratios[1:]]
    places = [mean_field(net, orders, number)[1:] for number in range(1, net.depth)]
    centers = [mean + sd * rng.standard_normal(size) for (mean, sd), size in zip(places, sizes, strict=True)]
    fields = [np.zeros((size, classes)) for size in sizes]
    overlap = np.eye(classes)
    for i, layer in reversed(list(enumerate(_units(net, orders, rho, centers, fields).layers))):
        covariance = eta_variance(net, orders, i + 1) * overlap
        # Of rank less than C where the layer above has fewer units than there are classes.
        fields[i] = rng.multivariate_normal(np.zeros(classes), covariance, sizes[i], method="eigh")
        overlap = in_units_of_mean(mean_outer(layer, layer.f1**2, fields[i]))
    return _units(net, orders, rho, centers, fields)


def mean_outer(layer: Layer, values: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Average over the units of values times eta eta^T, (C, C)."""
    return np.einsum("u,ui,uj->ij", layer.weights * values, eta, eta)


def in_units_of_mean(matrix: np.ndarray) -> np.ndarray:
    """A matrix over the classes in units of its mean over them; that of classes alike where it is zero."""
    mean = matrix.trace() / len(matrix)
    return matrix / mean if mean > 0 else np.eye(len(matrix))


def _units(
    net: WideNetwork, orders: OrderParameters, rho: float, centers: Sequence[np.ndarray], fields: Sequence[np.ndarray]
) -> Units:
    """centers, fields: of the units of every hidden layer, (units,) and (units, C)."""
    lengths = [np.linalg.norm(eta, axis=1) for eta in fields]
    layers = tuple(
        layer_at(net, orders, number, own, e, np.full(len(own), 1 / len(own)))
        for number, (own, e) in enumerate(zip(centers, lengths, strict=True), 1)
    )
    directions = tuple(eta / np.where(e > 0, e, 1.0)[:, None] for eta, e in zip(fields, lengths, strict=True))
    return replace(joined(net, orders, rho, fields[0].shape[1], layers), directions=directions)
