"""The nodes with which the equation gives the mean and variance that are known otherwise."""

from functools import lru_cache

import numpy as np

from fimcheck.theory.edge.curve import Curve
from fimcheck.theory.edge.dyson import Dyson
from fimcheck.theory.edge.units import XI_NODES, EdgeError, is_normalized, units
from fimcheck.theory.network.chain import WideNetwork
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.fluctuations import fluctuation_variance
from fimcheck.theory.network.orders import numeric_order_parameters

EXACT = 1e-6
"""How far mean and variance of the law may be from those of the trace and of the fluctuations, which are known."""

REFINED = (XI_NODES, 2 * XI_NODES - 1, 4 * XI_NODES - 3, 8 * XI_NODES - 7)
"""Nodes of xi: the fewest with which they are not."""


def trace(net: Composed, rho: float) -> float:
    """Mean of the law from the trace: rho alpha (kappa_1 - kappa_2)."""
    orders = numeric_order_parameters(net, "proportional")
    return rho * float(net.alpha) * float(orders.kappa1 - orders.kappa2)


@lru_cache(maxsize=64)
def enough_nodes(net: WideNetwork, rho: float, classes: int) -> int:
    """How many nodes of xi give the law's mean and, for one output, variance exactly; EdgeError where none do."""
    known = [trace(net, rho)]
    # Where hidden layers are normalized or there are several outputs the variance is not derived by another route.
    known += [rho * fluctuation_variance(net)] if classes == 1 and not is_normalized(net) else []
    far = np.inf
    for nodes in REFINED:
        found = Curve(Dyson(units(net, rho, classes, nodes=nodes))).moments()[: len(known)]
        far = float(np.max(np.abs(np.array(found) / known - 1)))
        if far < EXACT:
            return nodes
    raise EdgeError(
        f"the solution fails its own check: mean or variance of the law are off by {far:.1e}, more than {EXACT:.0e}. "
        "The activation or the overlaps vary too fast for the quadrature; take a shallower network."
    )
