"""The edge of several outputs at finite width, where the classes overlap: given a network's units, and on average."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fimcheck.theory.edge.curve import Curve, SplitOff
from fimcheck.theory.edge.dyson import Dyson
from fimcheck.theory.edge.largest import GivenEdge
from fimcheck.theory.edge.own_units import drawn_units
from fimcheck.theory.edge.several_dyson import ClassDyson, State, alike
from fimcheck.theory.edge.units import Change, EdgeError, as_it_is
from fimcheck.theory.network.chain import WideNetwork

PRECISION, ITERATIONS = 1e-8, 2000
"""Relative length of the last step to a solution, and the most of them."""

START, FAR, AROUND = 0.955, 0.05, 0.015
"""Where the search for the lowest point begins, in units of where it would be if the classes were alike; and how far
from its middle the ends of a parabola are, at first and in the end, relative."""

STEPS = 40
"""Parabolas at the most."""

CENTERED = 0.25
"""How far from the middle of its neighbours it may be, in units of how far they are: z'' changes between them."""

SPLITTING = 0.2
"""Margin of the most extreme unit, see `ClassDyson.margin`, below which the lowest point belongs to it and not to the
bulk: units made extreme on purpose leave 0.11 to 0.13, |x| 0.13 to 0.17, other networks 0.24 to 0.98. A choice."""

DRAWN, FEWEST, MOST = 4096, 4, 64
"""Units of a layer that are drawn for an average in all, and networks at the least and at the most."""

REFUSED = (
    "a single unit splits off before the bulk ends, which is not derived for several outputs. Take a larger width, or "
    "one output."
)


class Place(NamedTuple):
    """Where the largest eigenvalue of g is top: z, the trace of g over C, and the whole state."""

    top: float
    z: float
    trace: float
    state: State


class _Followed:
    """The solutions by the largest eigenvalue of g."""

    def __init__(self, equation: ClassDyson, begin: State) -> None:
        self.equation, self.begin = equation, begin
        self.known: dict[float, Place | None] = {}

    def at(self, top: float) -> Place | None:
        """That to which iterating the equation rises from one of a smaller eigenvalue; None where there is none."""
        if top not in self.known:
            self.known[top] = self._solved(top)
        return self.known[top]

    def _solved(self, top: float) -> Place | None:
        below = [place for place in self.known.values() if place is not None and place.top < top]
        state = max(below, key=lambda place: place.top).state if below else self.begin
        before = state.flat()
        for _ in range(ITERATIONS):
            state, z, determinant = self.equation.at(top, state)
            now = state.flat()
            if not determinant > 0:
                return None
            if np.abs(now - before).max() <= PRECISION * np.abs(now).max():
                return Place(top, z, float(state.g.trace()) / len(state.g), state)
            before = now
        return None


def lowest(curve: Curve[Dyson]) -> tuple[float, float, float]:
    """(trace of g over C, z, scale) at the lowest z: the edge of the units of one network. Raises SplitOff.

    curve: of the same units as if their classes were alike, where the search begins. The scale is that of C T
    eigenvalues, times C^(-2/3), so that it is used with T^(-2/3) as for one output.
    """
    found = curve.equation.found
    if_alike = _lowest_alike(curve)
    below = curve.solved(if_alike / 2)
    assert below is not None  # z falls there
    equation = ClassDyson(found)
    follow = _Followed(equation, alike(below.g, below.energies, found.classes))
    top, around = START * if_alike, FAR
    for _ in range(STEPS):
        one, middle, two = (follow.at(top * step) for step in (1 - around, 1.0, 1 + around))
        if one is None or middle is None or two is None:
            top *= 1 - around
            continue
        vertex, edge = _edge(one, middle, two, found.classes)
        if around == AROUND and abs(vertex / top - 1) < CENTERED * AROUND:
            if equation.margin(middle.state) < SPLITTING:
                raise SplitOff
            return edge
        top, around = min(max(vertex, one.top), two.top), AROUND if one.top < vertex < two.top else FAR
    raise SplitOff


def _lowest_alike(curve: Curve[Dyson]) -> float:
    """g at the lowest point for classes that are alike, or where it ends because a unit splits off."""
    try:
        return curve.minimum()[0]
    except SplitOff:
        return curve.end()


def _edge(one: Place, middle: Place, two: Place, classes: int) -> tuple[float, tuple[float, float, float]]:
    """Where the parabola through three places is lowest, and what `lowest` states there."""
    x = np.array([place.top for place in (one, middle, two)]) / middle.top - 1
    numbers = np.array([[place.z, place.trace] for place in (one, middle, two)])
    (a, by_square), (b, by_itself), (z, trace) = np.polyfit(x, numbers, 2).tolist()
    if not a > 0:  # far left of it
        return np.inf, (np.nan, np.nan, np.nan)
    vertex = -b / (2 * a)
    slope = by_itself + 2 * by_square * vertex
    scale = (a / slope**2) ** (1 / 3) * classes ** (-2 / 3)
    where = trace + by_itself * vertex + by_square * vertex**2
    return middle.top * (1 + vertex), (where, z - b**2 / (4 * a), scale)


@lru_cache(maxsize=64)
def raised(
    net: WideNetwork, rho: float, classes: int, width: int, change: Change = as_it_is
) -> tuple[float, float, float]:
    """By how much the overlaps of the classes raise the edge at width M, on average over networks; its standard error;
    and the scale, as in `lowest`.

    Networks are drawn from the law of the units. Each is compared with classes that are alike and have its own |eta|,
    and so tells the overlaps from the rest of what varies between networks.
    """
    rng = np.random.default_rng(0)
    found, scales = [], []
    for _ in range(min(max(FEWEST, DRAWN // width), MOST)):
        curve = Curve(Dyson(change(drawn_units(net, rho, classes, width, rng))))
        try:
            _, z, scale = lowest(curve)
            found.append(z - curve.minimum()[1])
        except SplitOff:
            raise EdgeError(REFUSED) from None
        scales.append(scale)
    return float(np.mean(found)), float(np.std(found, ddof=1)) / np.sqrt(len(found)), float(np.mean(scales))


def given(curve: Curve[Dyson]) -> GivenEdge:
    """The edge of one network given its units, several outputs; curve: see `lowest`."""
    try:
        g, place, scale = lowest(curve)
    except SplitOff:
        raise EdgeError(REFUSED) from None
    return GivenEdge(place, g, scale)
