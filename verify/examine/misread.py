"""What a prediction would be if it had been read wrongly: an index shifted or reversed, forward taken for backward.

Each is a factor with a name: the order parameter, or the sum of them, as misread over the right one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fimcheck import theory
from fimcheck.theory.network.expectations import Numbers
from fimcheck.verify.claims.claim import Claim
from fimcheck.verify.claims.kinds import OrderClaim, order_parameters
from fimcheck.verify.claims.setting import Setting


def misreadings(claim: Claim, setting: Setting) -> dict[str, float]:
    """Factors by name; none for networks of steps, whose order parameters have no layers."""
    if claim.network or setting.steps:
        return {}
    orders = order_parameters(setting.wide(), claim.samples, setting.samples)
    layer = claim.layer if isinstance(claim, OrderClaim) else None
    if layer is not None and claim.quantity in _SERIES:
        return dict(_of_layer(orders, claim.quantity, layer))
    if layer is None:
        return dict(_of_sums(orders, setting.ratios))
    return {}


_SERIES = {"hq1": "hq2", "hq2": "hq1", "q1": "q2", "q2": "q1", "tq1": "tq2", "tq2": "tq1"}
"""Order parameters of a layer, and for each the one of the other relation: one sample with itself, or two samples."""
_OPPOSITE = {
    "hq1": ("backward for forward", "tq1", 1),
    "hq2": ("backward for forward", "tq2", 1),
    "tq1": ("forward for backward", "hq1", -1),
    "tq2": ("forward for backward", "hq2", -1),
}
"""What runs the other way, and how many layers on."""


def _of_layer(orders: theory.OrderParameters, name: str, layer: int) -> Iterator[tuple[str, float]]:
    """Factors of an order parameter of one layer."""
    series: Mapping[int, float] = getattr(orders, name)
    own = float(series[layer])
    others = {f"{name} of layer {layer + shift} for that of {layer}": series.get(layer + shift) for shift in (1, -1)}
    others[f"{name} with the layers counted from the outputs"] = series.get(min(series) + max(series) - layer)
    if name in _OPPOSITE:
        words, opposite, shift = _OPPOSITE[name]
        others[words] = getattr(orders, opposite).get(layer + shift)
    other = _SERIES[name]
    others[f"{other} for {name}"] = getattr(orders, other)[layer]
    for words, value in others.items():
        if value is not None and value > 0 and own > 0:
            yield words, float(value) / own


_SUMS: dict[str, tuple[slice, slice]] = {
    "the backward overlaps one layer too low": (slice(1, None), slice(None, -1)),
    "the backward overlaps one layer too high": (slice(None, -1), slice(1, None)),
    "the backward overlaps in reversed order": (slice(None), slice(None, None, -1)),
    "without the first layer": (slice(1, None), slice(1, None)),
    "without the last layer": (slice(None, -1), slice(None, -1)),
}
"""Which forward overlaps are multiplied with which backward ones."""


def _of_sums(orders: theory.OrderParameters, ratios: Sequence[float]) -> Iterator[tuple[str, float]]:
    """Factors of kappa_1, kappa_2 and their difference: each is a sum over layers of the width before the layer times
    the forward overlap there times the backward one behind it.
    """
    layers = sorted(orders.tq1)
    forward = np.array([[float(h[n - 1]) for n in layers] for h in (orders.hq1, orders.hq2)])
    backward = np.array([[float(t[n]) for n in layers] for t in (orders.tq1, orders.tq2)])
    widths = np.array(ratios)
    read = {"": (forward, backward, widths)}
    for words, (before, behind) in _SUMS.items():
        read[words] = forward[:, before], backward[:, behind], widths[before]
    read["forward overlaps alone"] = forward, np.ones_like(backward), widths
    read["backward overlaps alone"] = np.ones_like(forward), backward, widths
    read["all layers of equal width"] = forward, backward, np.full_like(widths, widths.mean())
    kappas = {words: (h * t * a).sum(axis=1) for words, (h, t, a) in read.items()}
    for words, (one, two) in kappas.items():
        right = kappas[""]
        for name, wrong, own in (
            ("kappa_1", one, right[0]),
            ("kappa_2", two, right[1]),
            ("kappa_1 - kappa_2", one - two, right[0] - right[1]),
        ):
            if words and wrong > 0 and own > 0:
                yield f"{name}, {words}", float(wrong / own)


def averages(claim: Claim, setting: Setting) -> dict[str, float]:
    """Averages of phi at the layer of a claim, or at the last hidden one: what a formula may have one too many of."""
    if claim.network or setting.steps or setting.hidden != "none":
        return {}
    orders = order_parameters(setting.wide(), claim.samples, setting.samples)
    layer = claim.layer if isinstance(claim, OrderClaim) else None
    if layer is None or layer not in orders.q1 or layer == setting.depth:
        layer = setting.depth - 1
    phi, q1 = theory.activation(setting.activation).phi, float(orders.q1[layer])
    mean = float(Numbers().mean(phi, q1, 0.0))
    known = {"E[phi^2]": float(orders.hq1[layer]), "E[phi'^2]": float(Numbers().same(phi.derivative(), q1, 0.0))}
    return known | ({"|E[phi]|": abs(mean)} if abs(mean) > 1e-12 else {})
