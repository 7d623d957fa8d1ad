"""The edge for T = M/rho: exact moments, an independent route for linear networks, refusals."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize

from fimcheck import theory
from fimcheck.theory.edge import EdgeError, density, edge, logarithmic_slope
from fimcheck.theory.edge.law import _Curve
from fimcheck.theory.edge.prediction import SLIPS, EdgePrediction
from fimcheck.theory.edge.units import units


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
    mean, variance = _Curve(units(net, rho)).moments()
    assert mean == pytest.approx(trace, rel=1e-6)
    assert variance == pytest.approx(rho * theory.fluctuation_variance(net), rel=1e-6)


def test_every_slip_moves_a_moment_or_the_edge() -> None:
    net, rho = chain("gelu", 4, 1.9, 0.05), 2.0
    right = edge(net, rho, 1, 1000.0)
    for name, (_, change) in SLIPS.items():
        try:
            assert abs(edge(net, rho, 1, 1000.0, change).place / right.place - 1) > 0.01, name
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
    assert edge(net, rho, 1, 2000.0).place == pytest.approx(place, rel=1e-3)


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
    found = optimize.minimize_scalar(z, bounds=(1e-4 * top, 0.9999 * top), method="bounded", options={"xatol": 1e-10})
    assert edge(net, rho).place == pytest.approx(found.fun, rel=2e-5)


def test_the_density_has_mass_one_and_the_right_mean() -> None:
    net, rho = chain("tanh", 3, 2.0, 0.3), 2.0
    found = edge(net, rho, 1, 1000.0)
    points = np.linspace(-1.0, found.place + 1.0, 120)
    shape = density(net, rho, points, width=1000.0, away=5e-3)
    assert np.all(shape > 0)
    mass = float(np.trapezoid(shape, points))
    assert mass == pytest.approx(1, abs=0.02)  # the Lorentzian tails of 5e-3 reach beyond the window
    assert float(np.trapezoid(shape * points, points)) / mass == pytest.approx(found.moment, rel=0.005)
    beyond = points > found.place + 0.3
    assert shape[beyond].max() < 0.02 * shape.max()


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


def test_where_it_is_not_derived_it_is_refused() -> None:
    for net, given, named in (
        (theory.WideNetwork(3, "relu", "layer", "mean"), False, "plain chain"),
        (theory.WideNetwork(3, "relu", "batch", "mean"), False, "plain chain"),
        (theory.WideNetwork(3, "relu", last="batch"), False, "given the outputs"),
    ):
        with pytest.raises(EdgeError, match=named):
            theory.predict(net, "lambda_max", "proportional", given)
    with pytest.raises(EdgeError, match="no regular edge"):
        edge(chain("abs", 3, 1.0, 0.3), 2.0, 1, 2000.0)
    with pytest.raises(EdgeError, match="positive number"):
        edge(chain("relu"), float("nan"))


def test_growth_like_the_logarithm_only_where_a_unit_can_split_off() -> None:
    assert logarithmic_slope(chain("relu", 2)) == 0
    assert logarithmic_slope(chain("relu")) == pytest.approx(0.36, abs=0.005)
    assert logarithmic_slope(chain("tanh", 3, 2.0, 0.3)) == pytest.approx(0.028, abs=0.0005)
    assert logarithmic_slope(chain("abs", 3, 1.0, 0.3)) == pytest.approx(1.70, abs=0.005)
