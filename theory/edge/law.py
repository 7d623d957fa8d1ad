"""The edge of the limiting spectrum, and the growth like ln M."""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from scipy import optimize

from fimcheck.theory.edge import chain_rank, finite_rank, outliers, residual_rank, several
from fimcheck.theory.edge.accuracy import REFINED, enough_nodes, trace
from fimcheck.theory.edge.curve import Curve, SplitOff
from fimcheck.theory.edge.dyson import Dyson
from fimcheck.theory.edge.largest import Edge, GivenEdge, Leaving
from fimcheck.theory.edge.layer import Layer
from fimcheck.theory.edge.own_units import units_of
from fimcheck.theory.edge.residual import is_residual
from fimcheck.theory.edge.residual_dyson import Residual
from fimcheck.theory.edge.residual_units import ATOMS, residual, residual_of
from fimcheck.theory.edge.units import Change, EdgeError, as_it_is, is_normalized, units
from fimcheck.theory.network.chain import WideNetwork
from fimcheck.theory.network.composition import Composed

SURELY = 3.0
"""Units expected to have split off, from which the place of the largest is known without the end of the bulk."""

LARGEST = 30.0
"""Power of ten of the width up to which a unit that splits off is looked for."""

ROUGH = 0.02
"""How far the mean of the law of quasirandom units, whose fields are cut, may be from the trace."""

FINE = REFINED[-1]
"""Nodes of xi for the count of single units, most of them far out."""

SMALLEST_CUT = 4.0
"""Width of the extreme unit below which no bulk is looked for."""


@lru_cache(maxsize=512)
def edge(
    net: Composed,
    rho: float,
    *,
    classes: int = 1,
    width: float = np.inf,
    change: Change = as_it_is,
) -> Edge:
    """The edge of a numeric chain or residual network under mean subtraction, T = M/rho.

    classes: C; several outputs overlap at finite width, for which networks are drawn from the law of the units.
    width: M, at whose extreme unit the shared fields are cut, or at a less extreme one where that has split off. In the
    strict limit, for three layers or more, there is no finite edge unless no unit can split off: Gaussian output
    weights are unbounded. change: of the averages, to make a mistake on purpose. Raises EdgeError where no edge is
    derived, and where the solution fails its own checks: the equation has to converge, and mean and variance of the law
    have to be those known from the trace and from the fluctuations.

    >>> net = theory.WideNetwork(3, "tanh", last="mean", sigma_w2=2, sigma_b2=0.3, ratios=1)
    >>> round(edge.edge(net, rho=2.0, width=2000).place, 3)
    7.441
    """
    if not net.output.removed:
        raise EdgeError(
            f"last = {net.last!r}: unless the mean of the outputs is taken out the largest eigenvalue grows like M and "
            "is no edge. Take last='mean' or 'batch', or predict lambda_max."
        )
    if width < SMALLEST_CUT:
        raise EdgeError(f"M = {width:g} has to be at least {SMALLEST_CUT:g}: fewer units have no spectrum to speak of.")
    if is_residual(net):
        return _of_residual(net, rho, classes, width, change)
    assert isinstance(net, WideNetwork)
    nodes = enough_nodes(net, rho, classes)
    fine = change(units(net, rho, classes, nodes=FINE)).layers
    curve, (g, place, scale), cut, split = _bulk(net, rho, classes, width, change, nodes, fine)
    finer = units(net, rho, classes, cut[0], 2 * nodes - 1, cut[1])
    error = abs(Curve(Dyson(change(finer)))(g) - place)
    leaving = _leaving(net, curve, g) if classes == 1 else Leaving()
    excess = outliers.excess(curve, leaving.g or g, width, fine) if split > 1e-12 else 0.0
    overlaps, scale = 0.0, scale * classes ** (-2 / 3)
    if classes > 1:
        _refuse_leaving(net, rho, width)
    if classes > 1 and np.isfinite(width):
        if split >= SURELY:
            raise EdgeError(several.REFUSED)
        overlaps, uncertain, scale = several.raised(net, rho, classes, round(width), change)
        error = float(np.hypot(error, uncertain))
    return Edge(place, g, scale, error, width, min(cut), split, excess, *curve.moments(), leaving, overlaps)


def _of_residual(net: Composed, rho: float, classes: int, width: float, change: Change) -> Edge:
    """Twice as many units that stand for their law tell the error."""
    if classes != 1:
        raise EdgeError(f"C = {classes}: the edge of a residual network is derived for one output. Take one.")
    finer = residual(net, rho, 2 * ATOMS, width)
    law = finer.at_first(ATOMS)
    far = Curve(law).moments()[0] / trace(net, rho) - 1
    if not abs(far) < ROUGH:
        raise EdgeError(
            f"the solution fails its own check: the mean of the law is off by {far:.1e}. Take a larger width."
        )
    curve, (g, place, scale) = _lowest(change(law))
    fine, leaving = Curve(change(finer)), _leaving(net, curve, g)
    error = abs(fine(g) - place)
    if leaving.place is not None:
        error = abs((_leaving(net, fine, g).place or fine(g)) - leaving.place)
    return Edge(place, g, scale, error, width, width, 0.0, 0.0, *curve.moments(), leaving)


def _lowest(equation: Residual, near: float | None = None) -> tuple[Curve[Residual], tuple[float, float, float]]:
    """The curve with (g, z, scale) at its lowest point."""
    curve = Curve(equation)
    try:
        return curve, curve.minimum(near)
    except SplitOff:
        raise EdgeError(
            "a single unit splits off before the bulk ends, which is not derived for a residual network. Take smaller "
            "branches or another activation."
        ) from None


def _leaving(net: Composed, curve: Curve[Any], g: float) -> Leaving:
    """What terms of finite rank do. With two layers it is the lengths of the inputs alone, which a normalization of the
    units takes away; with more it is not derived behind a normalization."""
    if isinstance(net, WideNetwork):
        return Leaving() if is_normalized(net) else finite_rank.leaving(curve, g, chain_rank.sums)
    plain = curve.equation.alike is not None
    return finite_rank.leaving(curve, g, residual_rank.sums) if plain else Leaving()


def _refuse_leaving(net: WideNetwork, rho: float, width: float) -> None:
    """Of several outputs it is not derived what terms of finite rank do: refuse them where one output has an eigenvalue
    that they take out of the bulk."""
    if edge(net, rho, width=width).leaving.place is not None:
        raise EdgeError(
            "terms of finite rank take an eigenvalue out of the bulk of one output, and are not derived for several. "
            "Take C = 1."
        )


def _bulk(
    net: WideNetwork, rho: float, classes: int, width: float, change: Change, nodes: int, fine: Sequence[Layer]
) -> tuple[Curve[Dyson], tuple[float, float, float], tuple[float, float], float]:
    """The curve, (g, z, scale) at its lowest point, where |eta| and xi were cut, how many units are expected beyond.

    Or at its end, with scale 0. fine: the layers whose units are counted.
    """
    cut, g = [width, np.inf], None
    while True:
        curve = Curve(Dyson(change(units(net, rho, classes, cut[0], nodes, cut[1]))))
        try:
            lowest = curve.minimum(g)
            split = 0.0 if np.isinf(width) else width * outliers.beyond(curve, lowest[0], fine)
            return curve, lowest, (cut[0], cut[1]), split
        except SplitOff:
            if np.isinf(width):
                raise EdgeError(
                    "the spectrum has no regular edge here: a single unit splits off before the bulk ends, and where "
                    "it lies depends on the width. Give a finite width."
                ) from None
        g = curve.end(g)
        split = width * outliers.beyond(curve, g, fine)
        if split >= SURELY:
            return curve, (g, curve(g), 0.0), (cut[0], cut[1]), split
        at = curve.solved(g)
        assert at is not None  # its end
        by_eta, by_xi = curve.equation.extremes(at)
        which = int(by_xi > by_eta)
        cut[which] = min(cut[which], 2 * width) / 2
        if cut[which] < SMALLEST_CUT:
            raise EdgeError(f"the spectrum has no regular edge at M = {width:g}; take a larger width.")


def given_edge(
    net: Composed,
    rho: float,
    measured: Mapping[str, np.ndarray],
    near: float | None = None,
    change: Change = as_it_is,
) -> GivenEdge:
    """The edge of one network given what its samples share; measured: see `units_of`, and `residual_of` for a
    residual network. near: a guess of g there, of one output."""
    if is_residual(net):
        bulk, (g, place, scale) = _lowest(change(residual_of(net, rho, measured)), near)
        return GivenEdge(place, g, scale, leaving=_leaving(net, bulk, g))
    assert isinstance(net, WideNetwork)
    found = change(units_of(net, rho, measured))
    if found.classes > 1:
        _refuse_leaving(net, rho, round(found.layers[0].e.size / found.layers[0].alpha))
        return several.given(Curve(Dyson(found)))
    curve, (g, place, scale), unit = outliers.bulk(found, near)
    return GivenEdge(place, g, scale, unit, _leaving(net, curve, g))


def logarithmic_slope(net: WideNetwork) -> float:
    """kappa_log: lambda_max ~ kappa_log ln M in the end, for three layers or more and Gaussian output weights.

    2 max_l (alpha_{l-1}/alpha_l) hq_2^{l-1} sigma_w2 tq_2^{l+1} sup_xi Var phi'. Where phi' is bounded: else units of
    large xi split off too.

    >>> net = theory.WideNetwork(3, "relu", last="mean", sigma_w2=2, sigma_b2=0.1, ratios=1)
    >>> round(edge.logarithmic_slope(net), 2)
    0.36
    """
    found = units(net, 1.0)
    return max(2 * layer.backward * layer.above * float(layer.slope_variance.max()) for layer in found.layers)


def splitting_width(net: WideNetwork, rho: float, classes: int = 1) -> float:
    """Width M, to a tenth, from which half of the networks or more have a unit that has split off; inf: not below 1e30.

    The smallest that is looked at where units leave before the bulk ends at any width.

    >>> net = theory.WideNetwork(2, "relu", last="mean", sigma_w2=2, sigma_b2=0.1, ratios=1)
    >>> edge.splitting_width(net, 1.0)
    inf
    """

    nodes, fine = enough_nodes(net, rho, classes), units(net, rho, classes, nodes=FINE).layers

    @cache
    def above(power: float) -> float:
        split = _bulk(net, rho, classes, 10.0**power, as_it_is, nodes, fine)[-1]
        return float(np.log(max(split, 1e-300) / np.log(2)))

    low = high = float(np.log10(SMALLEST_CUT))
    while above(high) < 0:
        if high == LARGEST:
            return np.inf
        low, high = high, min(high + 2, LARGEST)
    if high == low:
        return 10.0**low
    found: Any = optimize.brentq(above, low, high, xtol=0.02)
    return 10.0 ** float(found)
