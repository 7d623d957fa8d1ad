"""The edge for T = M/rho: exact moments, an independent route for linear networks, refusals."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import optimize

from fimcheck import theory
from fimcheck.theory.edge import (
    EdgeError,
    accuracy,
    density,
    distribution,
    edge,
    given_edge,
    logarithmic_slope,
    outliers,
    quantiles,
    splitting_width,
)
from fimcheck.theory.edge.curve import Curve, SplitOff
from fimcheck.theory.edge.dyson import Dyson
from fimcheck.theory.edge.largest import Leaving
from fimcheck.theory.edge.law import FINE, _bulk
from fimcheck.theory.edge.own_units import ORDERS
from fimcheck.theory.edge.prediction import EdgePrediction
from fimcheck.theory.edge.slips import SLIPS
from fimcheck.theory.edge.spectrum import _Downwards
from fimcheck.theory.edge.units import as_it_is, units


def chain(act: str, depth: int = 3, w2: float = 2.0, b2: float = 0.1, ratios: tuple[float, ...] | None = None):
    return theory.WideNetwork(depth, act, last="mean", sigma_w2=w2, sigma_b2=b2, ratios=ratios or (1,) * depth)


@pytest.mark.parametrize(
    ("net", "rho"),
    [
        (chain("relu"), 1.0),
        (chain("tanh", 3, 2.0, 0.3), 1.0),
        (chain("gelu", 4, 1.9, 0.05, (1, 0.6, 1.5, 0.8)), 2.0),
        (chain("tanh", 5, 2.0, 0.3, (1, 1.5, 0.7, 1, 0.5)), 2.0),
    ],
)
def test_the_first_two_moments_are_exact(net: theory.WideNetwork, rho: float) -> None:
    """Mean: the trace, rho alpha (kappa_1 - kappa_2). Variance: rho V, V the fluctuation variance derived elsewhere."""
    orders = theory.numeric_order_parameters(net, "proportional")
    trace = rho * float(net.alpha) * float(orders.kappa1 - orders.kappa2)
    mean, variance = Curve(Dyson(units(net, rho))).moments()
    assert mean == pytest.approx(trace, rel=1e-6)
    assert variance == pytest.approx(rho * theory.fluctuation_variance(net), rel=1e-6)


@pytest.mark.slow
def test_several_outputs_keep_mean_and_edge() -> None:
    """The mean does not know how many outputs there are, but for where |eta| is cut, and the edge hardly does."""
    net = chain("tanh", 3, 2.0, 0.3)
    one, three = (edge(net, 2.0, classes=classes, width=1000.0) for classes in (1, 3))
    assert three.moment == pytest.approx(one.moment, rel=1e-4)
    assert three.place == pytest.approx(one.place, rel=1e-3)
    assert three.place != pytest.approx(one.place, rel=1e-5)


def test_every_slip_moves_a_moment_or_the_edge() -> None:
    net, rho = chain("gelu", 4, 1.9, 0.05), 2.0
    right = edge(net, rho, width=1000.0)
    for name, (_, change) in SLIPS.items():
        try:
            assert abs(edge(net, rho, width=1000.0, change=change).place / right.place - 1) > 0.01, name
        except EdgeError:
            continue  # no edge at all


@pytest.mark.parametrize(
    ("net", "rho", "place"),
    [
        (chain("tanh", 3, 2.0, 0.3), 2.0, 7.441),
        (chain("gelu", 3, 1.9, 0.05), 2.0, 10.887),
        (chain("relu", 2, 2.0, 0.1), 2.0, 8.862),
        (chain("relu", 3, 2.0, 0.1), 4.0, 18.967),
    ],
)
def test_the_edge_of_an_independent_program(net: theory.WideNetwork, rho: float, place: float) -> None:
    """Other nodes and another iteration found these, with the same cut to the size of M = 2000."""
    assert edge(net, rho, width=2000.0).place == pytest.approx(place, rel=1e-3)


def test_a_linear_network_by_free_convolution() -> None:
    """Two linear layers without biases: P G P = c + (1/T) X (tq_1 + tq_2 W^T W) X^T, free of each other."""
    w2, rho = 1.3, 2.0
    net = chain("linear", 2, w2, 0.0)
    orders = theory.numeric_order_parameters(net, "proportional")
    shift = units(net, rho).shift
    t1, t2 = float(orders.tq2[1]), float(orders.tq2[2])

    def z(g: float) -> float:
        # R-transforms: X (t1 + w2 S) X^T/T with S = W^T W/M, Marchenko-Pastur of ratio 1.
        def inverse(h: float) -> float:  # E 1/(1 - h (t1 + t2 w2 s)) times the eigenvalue, s ~ Marchenko-Pastur
            s = np.linspace(0, np.pi, 4001)
            value = 2 - 2 * np.cos(s)
            weight = (1 + np.cos(s)) / np.pi  # sqrt((4 - x)/x)/(2 pi) dx at x = 2 - 2 cos s
            lam = t1 + t2 * w2 * value
            return float(np.trapezoid(weight * lam / (1 - h * lam), s))

        return shift + 1 / g + rho * inverse(g)

    top = 1 / (t1 + t2 * w2 * 4)
    found: Any = optimize.minimize_scalar(
        z, bounds=(1e-4 * top, 0.9999 * top), method="bounded", options={"xatol": 1e-10}
    )
    assert edge(net, rho).place == pytest.approx(found.fun, rel=2e-5)


def free_convolution(net: theory.WideNetwork, rho: float, z: complex) -> complex:
    """g(z) of a centered network, sigma_b = 0 and E phi = 0, layer by layer from the top (Fan and Wang, 2005.11879).

    Given the layer below, the units of a layer are independent with a covariance that is linear in the Gram matrix
    below, so that the Gram matrices X_l = H^l H^lT/T are eliminated one after the other: coefficients of 1, X_0, X_1..
    """
    orders = theory.numeric_order_parameters(net, "proportional")
    w2, alpha = float(net.sigma_w2), [float(a) for a in net.ratios]
    found = units(net, rho)
    slopes = [float(np.real(layer.mean(layer.f1))) for layer in found.layers]
    noises = [float(np.real(layer.mean(layer.n_pp))) for layer in found.layers]

    def trace(coefficients: list[complex], weights: list[complex]) -> complex:
        """(1/T) tr of sum_j weights[j] X_j times the inverse of sum_j coefficients[j] X_j, X_-1 = 1 first."""
        top = len(coefficients) - 2
        if top < 0:
            return weights[0] / coefficients[0]
        *below, last = coefficients
        own = weights[-1] / last
        rest = [w - own * c for w, c in zip(weights[:-1], below, strict=True)]
        covariance: list[complex] = [0.0] * (top + 1)
        if top == 0:
            covariance[0] = 1.0
        else:
            covariance[0] = noises[top - 1]
            covariance[top] += slopes[top - 1] ** 2 * w2 / (rho * alpha[top - 1])
        s = 1.0 / last + 0j
        for _ in range(400):
            added = [c + v / s for c, v in zip(below, covariance, strict=True)]
            new = (1 / last + trace(added, covariance)) / (rho * alpha[top])
            if abs(new - s) < 1e-13 * abs(s):
                break
            s = new
        return own + trace([c + v / s for c, v in zip(below, covariance, strict=True)], rest)

    tops = [float(orders.tq2[layer]) for layer in range(1, net.depth + 1)]
    return -trace([found.shift - z, *tops], [1.0 + 0j] + [0j] * net.depth)


@pytest.mark.parametrize(
    ("net", "rho"),
    [
        (chain("tanh", 2, 1.5, 0.0), 1.0),
        (chain("erf", 2, 2.5, 0.0, (1, 0.5)), 2.0),
        (chain("tanh", 3, 2.0, 0.0), 2.0),
        (chain("tanh", 3, 1.3, 0.0, (0.5, 1, 2)), 0.5),
    ],
)
def test_centered_networks_by_free_multiplicative_convolution(net: theory.WideNetwork, rho: float) -> None:
    found = units(net, rho)
    mean = Curve(Dyson(found)).moments()[0]
    for x in (0.5, 1.0, 1.7):
        z = mean * (x + 0.3j)
        assert _Downwards(found, mean, z.real)(z) == pytest.approx(free_convolution(net, rho, z), rel=1e-8)


def test_another_network_is_not_its_free_convolution() -> None:
    """The check above can fail: with biases the shared fields add a part that free convolution has not."""
    net, rho = chain("tanh", 3, 2.0, 0.3), 2.0
    found = units(net, rho)
    mean = Curve(Dyson(found)).moments()[0]
    z = mean * (1 + 0.3j)
    assert abs(_Downwards(found, mean, z.real)(z) / free_convolution(net, rho, z) - 1) > 1e-3


def test_the_density_has_mass_one_and_the_right_mean() -> None:
    net, rho = chain("tanh", 3, 2.0, 0.3), 2.0
    found = edge(net, rho, width=1000.0)
    points = np.linspace(0.0, found.place + 0.5, 400)
    shape = density(net, rho, points)
    assert np.all(shape > 0)
    mass = float(np.trapezoid(shape, points))
    assert mass == pytest.approx(1, abs=3e-3)  # of the trapezoidal rule over the steep ends
    assert float(np.trapezoid(shape * points, points)) == pytest.approx(found.moment, rel=3e-3)
    assert distribution(net, rho, found.place + 0.5) == pytest.approx(1, abs=1e-6)
    assert shape[points > found.place + 0.1].max() < 1e-3 * shape.max()


def test_the_distribution_is_the_integral_of_the_density() -> None:
    net, rho = chain("relu", 3, 2.0, 0.1), 2.0
    low, high = quantiles(net, rho, (3 / 9, 5 / 9))
    assert distribution(net, rho, high) == pytest.approx(5 / 9, abs=1e-5)
    points = np.linspace(low, high, 41)
    between = float(np.trapezoid(density(net, rho, points), points))
    assert between == pytest.approx(2 / 9, abs=1e-4)


def test_two_discretizations_give_the_error_of_the_edge() -> None:
    for net in (chain("tanh", 3, 2.0, 0.3), chain("gelu", 3, 1.9, 0.05), chain("relu")):
        found = edge(net, 2.0, width=1000.0)
        assert found.error < 1e-6 * found.place


def test_a_solution_that_fails_its_own_check_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "REFINED", (5, 7))
    with pytest.raises(EdgeError, match="its own check"):
        edge(chain("tanh", 3, 2.1, 0.3), 2.0, width=1000.0)


def given_units(net: theory.WideNetwork, width: int, largest: float) -> dict[str, np.ndarray]:
    """The shared fields of a network at quantiles of their laws, but for one unit of the last hidden layer."""
    orders = theory.numeric_order_parameters(net, "proportional")
    found = {name: np.array([float(v) for _, v in sorted(getattr(orders, name).items())]) for name in ORDERS}
    rng = np.random.default_rng(0)
    fields = []
    for layer in range(1, net.depth):
        q2, above = float(orders.q2[layer]), float(net.sigma_w2) * float(orders.tq2[layer + 1])
        eta = np.clip(rng.standard_normal(width), -2.5, 2.5)
        if layer == net.depth - 1:
            eta[0] = largest
        fields.append(np.stack([np.sqrt(q2) * rng.standard_normal(width), np.sqrt(above) * eta], 1))
    return found | {"shared": np.concatenate(fields)}


def test_a_unit_that_splits_off_is_the_largest_eigenvalue() -> None:
    """Places of an independent program, measured within 2% (ReLU, M = 800, |eta| = 5 to 8)."""
    net = chain("relu")
    assert given_edge(net, 1.0, given_units(net, 800, 2.0)).outlier is None
    places = []
    for eta, place in ((5.0, 9.50), (6.0, 11.05), (7.0, 13.21), (8.0, 15.85)):
        found = given_units(net, 800, eta)
        found["shared"][800, 0] = 0.0  # at the kink the slope varies most
        outlier = given_edge(net, 1.0, found).outlier
        assert outlier is not None
        places.append(outlier / place)
    assert np.allclose(places, 1, atol=0.04)


def test_no_edge_is_taken_where_the_curve_still_falls() -> None:
    """Beside a known edge Newton's steps settle on it from afar; where they cannot there is none."""
    curve = Curve(Dyson(units(chain("relu"), 1.0, 1, 1000.0)))
    g, place, _ = curve.minimum()
    assert curve.minimum(0.6 * g)[1] == pytest.approx(place, rel=1e-9)
    falling = Curve(Dyson(units(chain("relu"), 1.0, 1, 5e5)))  # cut so late that single units end the solution first
    with pytest.raises(SplitOff):
        falling.minimum()


@pytest.mark.slow
def test_units_that_split_off_grow_like_the_logarithm() -> None:
    """|x|: measured 8.55, 10.12, 10.64, 12.75 at M = 250, 500, 1000, 2000, four networks each."""
    net = chain("abs", 3, 1.0, 0.3)
    means = [edge(net, 1.0, width=width).mean(width) for width in (250.0, 1000.0, 2.0**20, 2.0**22)]
    assert np.all(np.diff(means) > 0)
    slope = (means[-1] - means[-2]) / np.log(4)
    assert slope == pytest.approx(logarithmic_slope(net), rel=0.15)
    assert 8.0 < means[0] < 9.5
    assert edge(net, 1.0, width=250.0).split > np.log(2)
    assert 5e4 < splitting_width(chain("relu"), 1.0) < 5e5
    assert splitting_width(chain("relu", 2), 1.0) == np.inf


@pytest.mark.parametrize(
    ("net", "powers"), [(chain("relu"), (5.75, 6, 6.25)), (chain("abs", 3, 1.0, 0.3), (1.75, 2, 2.25))]
)
def test_nothing_jumps_where_units_begin_to_split_off(net: theory.WideNetwork, powers: tuple[float, ...]) -> None:
    """At the middle width a point beside the end of the curve, which is not its lowest, was once taken for the edge."""
    low, middle, high = (edge(net, 1.0, width=10.0**power).mean(10.0**power) for power in powers)
    assert middle == pytest.approx((low + high) / 2, rel=0.02)


@pytest.mark.parametrize("net", [chain("relu"), chain("abs", 3, 1.0, 0.3)])
def test_the_excess_is_the_integral_of_the_chance(net: theory.WideNetwork) -> None:
    """Of what has split off, by a scan of 1000 places; with 60 of them it was up to 3% off."""
    width = 1e3
    nodes, fine = accuracy.enough_nodes(net, 1.0, 1), units(net, 1.0, 1, nodes=FINE).layers
    curve, (g, _, _), _, _ = _bulk(net, 1.0, 1, width, as_it_is, nodes, fine)
    places = g * np.linspace(0.02, 1, 1000)
    chances = [-np.expm1(-width * outliers.beyond(curve, float(place), fine)) for place in places]
    scanned = -np.trapezoid(chances, [curve(float(place)) for place in places])
    assert outliers.excess(curve, g, width, fine) == pytest.approx(scanned, rel=3e-4)


def test_of_two_layers_units_of_large_mean_field_split_off() -> None:
    """|x| is linear where |xi| is large, and a linear unit is an eigenvalue before the bulk ends: at M = 256, T = M
    measured 5.35(5), 4 to 6% above the limit, which its units give too. Once this was refused at every width."""
    net = chain("abs", 2)
    edges = [edge(net, 1.0, width=width) for width in (256.0, 1e4, 1e8)]
    places = [e.mean(np.inf) for e in edges]
    assert np.all(np.diff(places) > 0)
    assert places[0] == pytest.approx(5.1, abs=0.1)
    assert edges[-1].split > np.log(2)
    curve = Curve(Dyson(units(net, 1.0)))
    ends = [curve(g) for g in np.linspace(0.38, 0.49, 100)]
    assert places[-1] < min(ends)  # where a unit of infinite xi is an eigenvalue
    with pytest.raises(EdgeError, match="Give a finite width"):
        edge(net, 1.0)


def test_the_prediction_is_a_number_where_bounds_were_all() -> None:
    net = theory.WideNetwork(3, "relu", last="mean")
    found = theory.predict(net, "lambda_max", "proportional")
    assert isinstance(found, EdgePrediction)
    numbers = dict.fromkeys(("alpha_0", "alpha_1", "alpha_2", "C"), 1.0)
    numbers |= {"M": 1024.0, "rho": 2.0, "sigma_w2": 2.0, "sigma_b2": 0.1}
    value = found.evaluate(**numbers)
    low = theory.predict(net, "lambda_max_lower", "proportional")
    high = theory.predict(net, "lambda_max_upper", "proportional")
    assert low.evaluate(**{n: numbers[n] for n in low.symbols}) < value
    assert value < high.evaluate(**{n: {**numbers, "c_2": 0.0}[n] for n in high.symbols})
    rate = theory.predict(net, "stable_rate", "proportional").evaluate(**numbers)
    assert rate == pytest.approx(2 / value, rel=1e-12)
    assert replace(found, slip="no Tracy-Widom").evaluate(**numbers) > value
    batch = theory.predict(theory.WideNetwork(3, "relu", last="batch"), "lambda_max", "proportional", True)
    assert batch.evaluate(**numbers, Q1=3.0) == pytest.approx(3 * value, rel=1e-12)
    assert "Dyson" in "\n".join(found.steps())


def test_an_edge_next_to_where_the_solution_ends_is_found() -> None:
    """z has its lowest point at g = 0.522 and ends at 0.545."""
    net = chain("relu", 3, 1.0, 0.3)
    found = edge(net, 1.0, width=1024.0)
    assert found.cut == 1024.0
    z = Curve(Dyson(units(net, 1.0, 1, 1024.0)))
    assert found.place == pytest.approx(min(z(g) for g in np.linspace(0.515, 0.53, 16)), rel=1e-4)


@pytest.mark.parametrize(("rho", "outlier"), [(0.25, 0.5960), (0.5, 0.8083), (1.0, None)])
def test_the_lengths_of_the_inputs_give_an_eigenvalue(rho: float, outlier: float | None) -> None:
    """cos without biases: at c + (theta + s)(theta + rho s)/theta, theta = (E phi'')^2/2, s = Var phi, if theta > s
    rho^(1/2); a program of its own found these."""
    net = theory.WideNetwork(2, "cos", last="mean", sigma_w2=1, sigma_b2=0, ratios=1)
    found = edge(net, rho, width=500.0)
    theta = np.exp(-1) / 2
    s = (1 + np.exp(-2)) / 2 - np.exp(-1)
    if outlier is None:
        assert found.leaving.place is None
        assert theta < s * rho**0.5
    else:
        assert found.leaving.place == pytest.approx(outlier, abs=1e-4)
        beyond = (theta + s) * (theta + rho * s) / theta
        assert found.leaving.place == pytest.approx(units(net, rho).shift + beyond, rel=1e-7)
        assert found.place < outlier < found.mean(500 / rho) < 1.01 * outlier


def test_lengths_play_no_part_where_they_cannot() -> None:
    """Odd activations have no curvature on average; a normalization of the units takes the lengths away."""
    assert edge(theory.WideNetwork(2, "erf", last="mean", sigma_w2=1, sigma_b2=0, ratios=1), 0.25).leaving == Leaving()
    normalized = theory.WideNetwork(2, "cos", "rms", "mean", sigma_w2=1, sigma_b2=0, ratios=1, gamma=1, beta=0)
    assert edge(normalized, 0.25).leaving == Leaving()


def test_where_it_is_not_derived_it_is_refused() -> None:
    for net, given, named in (
        (theory.WideNetwork(3, "relu", "batch", "mean"), False, "over their units"),
        (theory.WideNetwork(3, "relu", last="batch"), False, "given the outputs"),
    ):
        with pytest.raises(EdgeError, match=named):
            theory.predict(net, "lambda_max", "proportional", given)
    with pytest.raises(EdgeError, match="no regular edge"):
        edge(chain("abs", 3, 1.0, 0.3), 2.0)
    for classes in (1, 3):
        with pytest.raises(EdgeError, match="layer 15: q_1 = q_2"):
            edge(chain("sigmoid", 16, 1.2), 0.5, classes=classes, width=512.0)
    with pytest.raises(EdgeError, match="positive number"):
        edge(chain("relu"), float("nan"))


def test_idle_layer_normalization_leaves_the_edge() -> None:
    """gamma u/sqrt(q_1), with q_1 = gamma = 1: the edge of the same network without it."""
    alike = theory.WideNetwork(
        3, "linear", "layer", "mean", sigma_w2=1.0, sigma_b2=0.0, ratios=(1, 1, 1), gamma=1.0, beta=0.0
    )
    assert edge(alike, 2.0, width=500.0).place == pytest.approx(
        edge(chain("linear", 3, 1.0, 0.0), 2.0, width=500.0).place
    )


def test_a_shift_after_layer_normalization_moves_the_edge() -> None:
    places = [
        edge(
            theory.WideNetwork(
                3, "relu", "layer", "mean", sigma_w2=2, sigma_b2=0.1, ratios=(1, 1, 1), gamma=1.2, beta=beta
            ),
            2.0, width=500.0,
        ).place
        for beta in (0.0, 0.5)
    ]  # fmt: skip
    assert abs(places[1] / places[0] - 1) > 0.02


def test_no_logarithm_where_no_unit_can_split_off() -> None:
    assert logarithmic_slope(chain("relu", 2)) == 0
    assert logarithmic_slope(chain("relu")) == pytest.approx(0.36, abs=0.005)
    assert logarithmic_slope(chain("tanh", 3, 2.0, 0.3)) == pytest.approx(0.028, abs=0.0005)
    assert logarithmic_slope(chain("abs", 3, 1.0, 0.3)) == pytest.approx(1.70, abs=0.005)
