"""The quantities that can be measured, and which network has which.

Of the Fisher matrix F with P parameters, through the dual matrix G, with gamma = last_gamma and d = T-1, or T-2 under
batch normalization of the outputs, which removes two directions:

- m = tr F/P; s = tr F^2/P; lambda_max; lambda_top: mean of the C largest eigenvalues; gap: between the two largest.
- lambda_1: mean over classes k of 1^T G_kk 1 / T; lambda_perp: (tr G - C lambda_1)/(C d). Not under layer normalization
  of the outputs.
- quantiles: where k/10 of the C d eigenvalues that are left lie below, k = 2..9.
- Order parameters: `numerics.orders`. tq1, tq2, kappa1, kappa2 exist where hidden normalizations do not couple samples,
  c_I and c_1 where they do, as batch does. shared: what the samples share at every activation's units.
- Overlaps after every step, K, mean, tq, Th: `numerics.overlaps`. A composition has these, and no layers.
- Output statistics, sd biased and over the axis of the last normalization: Q1 = mean_k gamma^2/sd_k^2, Q2 = mean_k
  gamma^4/sd_k^4, Qmax = max_k gamma^2/sd_k^2 under batch, R1 = mean_t 1/sd(t)^2 under layer normalization.
- outputs: after the last normalization; raw_outputs: before it.
- alignment: `numerics.eigenspace`. stable_rate: largest stable learning rate, `numerics.descent`.
"""

from fimcheck.numerics import orders, overlaps
from fimcheck.numerics.chain import RandomNetwork
from fimcheck.numerics.network import Network

NUMBERS = ("m", "s", "lambda_max", "lambda_top", "gap", "lambda_1", "lambda_perp")
"""Numbers of the spectrum."""
QUANTILES = "quantiles"
MATRIX = (*NUMBERS, QUANTILES)
"""Read off the dual matrix."""
LEADING = {"lambda_max": lambda classes: 1, "gap": lambda classes: 2, "lambda_top": lambda classes: classes}  # noqa: ARG005
"""How many of the largest eigenvalues a quantity is made of, by the number of classes; the others are sums over all, or
means over directions that are fixed beforehand."""
FIXED_BY = {
    "m": (("lambda_1", "lambda_perp"), ("Th",)),
    "lambda_1": (("m", "lambda_perp"), ("Th",)),
    "lambda_perp": (("m", "lambda_1"), ("Th",)),
    "Th": (("m", "lambda_1"), ("m", "lambda_perp"), ("lambda_1", "lambda_perp")),
    "outputs": (("raw_outputs",),),
    **dict.fromkeys(("Q1", "Q2", "Qmax", "R1"), (("raw_outputs",),)),
}
"""Quantities that are functions of others of the same network."""
SHARED = "shared"
OUTPUT_STATISTICS = {"Q1": "batch", "Q2": "batch", "Qmax": "batch", "R1": "layer"}
"""Statistics of the outputs, and the normalization that has them."""
ORDERS = (*orders.FORWARD_ORDERS, *orders.BACKWARD_ORDERS, *orders.COUPLED_ORDERS)
PER_LAYER = tuple(orders.FIRST_LAYER)
"""One number per layer of a chain."""
PER_NETWORK = (*NUMBERS, *(q for q in ORDERS if q not in PER_LAYER), *OUTPUT_STATISTICS, "alignment", "stable_rate")
"""One number per network."""
QUANTITIES = (*PER_NETWORK, *PER_LAYER, QUANTILES, SHARED, *overlaps.OVERLAPS, "outputs", "raw_outputs")


def check(network: Network, quantity: str) -> None:
    """Refuse a quantity that does not exist, or that this network does not have."""
    if quantity not in QUANTITIES:
        raise ValueError(f"quantity {quantity!r} is unknown: use some of {', '.join(QUANTITIES)}")
    if reason := _missing(network, quantity):
        about = f"hidden = {network.hidden!r}" if isinstance(network, RandomNetwork) else "a composed network"
        raise ValueError(f"quantity {quantity!r} does not exist for {about}, last = {network.last!r}: {reason}")


def _missing(network: Network, quantity: str) -> str | None:
    """Why the network does not have this quantity, None if it does."""
    if reason := network.output.missing.get(quantity):
        return reason
    if quantity in OUTPUT_STATISTICS and OUTPUT_STATISTICS[quantity] != network.last:
        return f"it belongs to last = {OUTPUT_STATISTICS[quantity]!r}"
    if not isinstance(network, RandomNetwork):
        if quantity == SHARED:
            whole = len(list(orders.activated(network.steps))) == len(network.dense) - 1 and not network.couples_samples
            return None if whole else "every dense step but one has to see an activation, and no step several samples"
        return "ask for its overlaps, " + ", ".join(overlaps.OVERLAPS) if quantity in ORDERS else None
    if quantity in (*orders.BACKWARD_ORDERS, SHARED) and network.couples_samples:
        return f"with hidden = {network.hidden!r} a derivative reaches every sample; ask for c_I and c_1"
    if quantity in orders.COUPLED_ORDERS and not network.couples_samples:
        return "it belongs to hidden = 'batch' and others that couple samples; ask for tq1 and tq2"
    return None
