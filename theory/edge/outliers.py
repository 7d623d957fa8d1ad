"""Units that leave the bulk: one with a large |eta| is an eigenvalue of its own, at z(g) where its determinant is 0."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import optimize, stats

from fimcheck.theory.edge.curve import Curve, SplitOff
from fimcheck.theory.edge.dyson import Dyson
from fimcheck.theory.edge.layer import Layer
from fimcheck.theory.edge.units import EdgeError, Units

POINTS, FARTHEST = 24, 0.02
"""Places between the edge and far beyond at which the units there are counted, and the farthest, in units of g."""

NEAR = 0.6
"""Nearness, at the edge of all units together, below which none can be beyond that of the rest."""

MOST_APART = 0.2
"""Largest share of the units of a given network that may be set aside before there is no bulk to speak of."""


def beyond(curve: Curve[Dyson], g: float, layers: Sequence[Layer]) -> float:
    """Units that are expected to be eigenvalues beyond z(g), per unit of the width M; layers: a fine grid of xi."""
    at, equation, count = curve.solved(g), curve.equation, 0.0
    if at is None:
        return np.inf
    for layer, (limit, _) in zip(layers, equation.critical(at, layers), strict=True):
        tail = stats.chi.sf(np.broadcast_to(np.sqrt(limit / layer.above), layer.f1.shape), equation.found.classes)
        count += layer.alpha * float((layer.weights.sum(1, keepdims=True) * tail).sum())
    return count


def excess(curve: Curve[Dyson], g: float, width: float, layers: Sequence[Layer]) -> float:
    """By how much the largest unit that has split off exceeds the edge z(g), on average over networks of width M.

    The number beyond z is Poisson: the integral over z of the chance that there is one. layers: see `beyond`.
    """
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    total, half = 0.0, (1 - FARTHEST) / 2 * g
    for node, weight in zip(nodes, weights, strict=True):  # rising, so that each begins from the one before
        point = float(FARTHEST * g + half * (1 + node))
        at = curve.solved(point)
        assert at is not None  # left of the end
        chance = -np.expm1(-width * beyond(curve, point, layers))
        total += half * weight * (1 / point**2 - at.slope) * float(chance)  # -dz
    return total


def bulk(given: Units, near: float | None = None) -> tuple[Curve[Dyson], tuple[float, float, float], float | None]:
    """The curve of the units of a given network, (g, z, scale) at its edge, and the place of its leading unit if it has
    split off.

    The most extreme units are set aside one after another until the rest has a regular edge. near: a guess of g there.
    """
    aside: list[tuple[int, int]] = []
    while True:
        curve = _without(given, aside)
        try:
            lowest = curve.minimum(near)
            break
        except SplitOff:
            near = None
            aside.append(_nearest(given, curve, curve.end(), aside))
        if len(aside) > MOST_APART * min(layer.e.size for layer in given.layers):
            raise EdgeError("the units of this network have no bulk with a regular edge; take a larger width.")
    leading = _nearest(given, curve, lowest[0], [])
    if not aside and _nearness(given, curve, lowest[0], leading) < NEAR:
        return curve, lowest, None
    # Its own part in the bulk would hide that it has left it; the others are still in the bulk at its place.
    rest = _without(given, [leading])
    try:
        g = rest.minimum(lowest[0])[0]
    except SplitOff:
        g = rest.end()
    if _nearness(given, rest, g, leading) < 1 and not aside:
        return curve, lowest, None
    if _nearness(given, rest, g, leading) > 1:
        found: Any = optimize.brentq(lambda g: _nearness(given, rest, g, leading) - 1, 1e-2 * rest.scale, g)
        g = float(found)
    return curve, lowest, rest(g)


def _without(given: Units, aside: list[tuple[int, int]]) -> Curve[Dyson]:
    """The curve of a given network without some units, (layer, unit)."""
    layers = list(given.layers)
    for i, unit in aside:
        others = np.arange(layers[i].e.size) != unit
        layers[i] = layers[i].changed(lambda values, others=others: np.where(others, values, 0.0))
    return Curve(Dyson(replace(given, layers=tuple(layers))))


def _all(given: Units, curve: Curve[Dyson], g: float) -> list[np.ndarray]:
    """Nearness of all units, those set aside too."""
    at = curve.solved(g)
    assert at is not None  # a lowest point, an end, or left of them
    return [values.max(0) for values in curve.equation.nearness(at, given.layers)]


def _nearness(given: Units, curve: Curve[Dyson], g: float, unit: tuple[int, int]) -> float:
    """The same of one unit: above 1 it is an eigenvalue beyond z(g)."""
    return float(_all(given, curve, g)[unit[0]][unit[1]])


def _nearest(given: Units, curve: Curve[Dyson], g: float, aside: list[tuple[int, int]]) -> tuple[int, int]:
    """The unit, of those not set aside, that is nearest to splitting off or has gone farthest."""
    near = _all(given, curve, g)
    for i, unit in aside:
        near[i][unit] = 0.0
    layer = int(np.argmax([values.max() for values in near]))
    return layer, int(np.argmax(near[layer]))
