"""The Dyson equation: its derivatives, Newton's method against plain iteration, the lowest point against a scan."""

from dataclasses import replace

import numpy as np
import pytest

from fimcheck import theory
from fimcheck.theory.edge import EdgeError, edge, given_edge
from fimcheck.theory.edge.curve import Curve
from fimcheck.theory.edge.dyson import Dyson, Resolvent
from fimcheck.theory.edge.layer import Layer
from fimcheck.theory.edge.own_units import ORDERS, units_of
from fimcheck.theory.edge.units import Units, units


def chain(act: str, depth: int = 3, w2: float = 2.0, b2: float = 0.1) -> theory.WideNetwork:
    return theory.WideNetwork(depth, act, last="mean", sigma_w2=w2, sigma_b2=b2, ratios=1)


NETS = [chain("relu", 2), chain("relu"), chain("gelu", 4, 1.9, 0.05), chain("abs", 3, 1.0, 0.3)]


def sampled(net: theory.WideNetwork, width: int, seed: int = 0) -> dict[str, np.ndarray]:
    """What the samples of one network share, drawn from the laws of the limit."""
    orders = theory.numeric_order_parameters(net, "proportional")
    rng = np.random.default_rng(seed)
    fields = [
        rng.standard_normal((width, 2)) * np.sqrt([orders.q2[n], float(net.sigma_w2) * orders.tq2[n + 1]])
        for n in range(1, net.depth)
    ]
    found = {name: np.array([float(v) for _, v in sorted(getattr(orders, name).items())]) for name in ORDERS}
    return found | {"shared": np.concatenate(fields)}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("turn", [1.0, np.exp(-0.4j)])
def test_derivatives_are_those_by_differences(net: theory.WideNetwork, classes: int, turn: complex) -> None:
    equation = Dyson(units(net, 2.0, classes, 200.0))
    numbers = turn * np.array([0.05, *np.linspace(0.1, 0.2, equation.size)])
    by = equation.at(numbers[0], numbers[1:])[1]
    for i, step in enumerate(1e-6 * np.eye(len(numbers))):
        high, low = (equation.at(*(lambda v: (v[0], v[1:]))(numbers + s * step))[0] for s in (1, -1))
        assert by[:, i] == pytest.approx((high - low) / 2e-6, rel=1e-6, abs=1e-8)


def iterated(found: Units, g: float) -> np.ndarray:
    """The obvious way: the equation over and over, from nothing."""
    equation = Dyson(found)
    energies = np.zeros(equation.size)
    for _ in range(20_000):
        new = equation.at(g, energies)[0][1:]
        if np.abs(new - energies).max() < 1e-14:
            break
        energies = new
    return energies


@pytest.mark.parametrize("net", NETS)
def test_newton_finds_what_iteration_finds(net: theory.WideNetwork) -> None:
    for found in (units(net, 1.0, 1, 100.0), units_of(net, 1.0, sampled(net, 64))):
        curve = Curve(Dyson(found))
        end = curve.end()
        for share in (0.01, 0.5, 0.9, 0.99):
            direct = curve.equation.solved(share * end)
            assert direct is not None
            assert direct.energies == pytest.approx(iterated(found, share * end), rel=1e-9, abs=1e-12)


def test_there_is_no_solution_beyond_the_end() -> None:
    """Newton's method would find another solution there, or a negative one; iteration finds none."""
    curve = Curve(Dyson(units(chain("relu"), 1.0, 1, 100.0)))
    end = curve.end()
    assert curve.solved(1.5 * end) is None
    assert curve(10 * end) == np.inf
    assert curve.margin(10 * end) == 0


@pytest.mark.parametrize("net", NETS[:3])
def test_the_lowest_point_is_that_of_a_scan(net: theory.WideNetwork) -> None:
    """Of the units of one network: once the second derivative came from points so far apart that it was 5% off."""
    found = units_of(net, 1.0, sampled(net, 48, 3))
    given = given_edge(net, 1.0, sampled(net, 48, 3))
    assert given.outlier is None
    curve = Curve(Dyson(found))
    points = given.g * np.linspace(0.7, 1.05, 701)
    heights = np.array([curve(g) for g in points])
    assert given.place == pytest.approx(heights.min(), rel=1e-6)
    low, middle, high = (curve(given.g * (1 + h)) for h in (-1e-3, 0, 1e-3))
    curvature = (low - 2 * middle + high) / (1e-3 * given.g) ** 2
    assert given.scale == pytest.approx((curvature / 2) ** (1 / 3), rel=1e-3)


def test_a_resolvent_that_is_not_found_is_an_error() -> None:
    equation = Dyson(units(chain("relu"), 1.0))
    begin = Resolvent(1j, -1j, np.zeros(equation.size))
    with pytest.raises(EdgeError, match="did not converge"):
        begin.at(equation, 2.0 - 0.5j)  # below the axis g has another sign


def test_a_network_without_variation_has_no_law() -> None:
    def still(found: Units) -> Units:
        def dead(layer: Layer) -> Layer:
            return replace(layer, **{name: 0 * getattr(layer, name) for name in ("f1", "n_pp", "k_x", "k_d", "gamma")})

        return replace(found, layers=tuple(map(dead, found.layers)), first=0.0)

    with pytest.raises(EdgeError, match="no law"):
        edge(chain("relu"), 1.0, width=100.0, change=still)
