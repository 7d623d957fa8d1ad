"""Fixed points, critical lines and depth."""

import numpy as np
import pytest

from fimcheck import theory
from fimcheck.theory.network import phase
from fimcheck.theory.network.expectations import Numbers
from fimcheck.theory.symbols import p


def test_samples_that_depth_has_aligned_stay_aligned() -> None:
    """Where expectations are interpolated a covariance may come out above its variance by rounding."""
    phi, variance = theory.activation("tanh").phi, np.array([0.3, 0.7])
    same = Numbers().same(phi, variance, 0.0)
    assert Numbers().pair(phi, variance, variance * (1 + 1e-12), 0.0) == pytest.approx(same, rel=1e-11)


@pytest.mark.parametrize(
    ("name", "weight", "bias", "expected"), [("tanh", 1.5, 0.1, "ordered"), ("tanh", 3.0, 0.1, "chaotic")]
)
def test_depth_scales_are_those_of_the_recursion(name: str, weight: float, bias: float, expected: str) -> None:
    found = phase.fixed_point(name, weight, bias)
    assert found.phase == expected
    net = theory.WideNetwork(110, name, sigma_w2=weight, sigma_b2=bias, ratios=(1,) * 110)
    orders = theory.numeric_order_parameters(net)
    correlation = np.array([orders.q2[layer] / orders.q1[layer] for layer in range(1, 111)], float)
    gaps = np.abs(correlation - found.correlation)
    assert -1 / np.log(gaps[90] / gaps[89]) == pytest.approx(found.correlation_depth, rel=1e-3)
    assert float(orders.q1[110]) == pytest.approx(found.variance, rel=1e-9)
    assert float(orders.tq1[80] / orders.tq1[81]) == pytest.approx(found.chi1, rel=1e-6)


def test_kappas_of_a_deep_network() -> None:
    found = phase.fixed_point("relu", 1.5, 0.2)
    net = theory.WideNetwork(60, "relu", sigma_w2=1.5, sigma_b2=0.2, ratios=(1,) * 60)
    assert theory.predict(net, "m").evaluate(M=1.0, C=1.0) == pytest.approx(found.kappas(60)[0], rel=1e-4)


def test_critical_weights() -> None:
    assert phase.critical_weight("relu", 0.0) == pytest.approx(2.0, rel=1e-12)
    for name, slope in (("tanh", 1.0), ("erf", 2 / np.pi**0.5), ("gelu", 0.5)):  # the end of the line, at q* = 0
        assert phase.critical_weight(name, 0.0) == pytest.approx(slope**-2, rel=1e-12)
        # The line leaves its end like 2 bias^(1/3) at most.
        assert phase.critical_weight(name, 1e-10) == pytest.approx(slope**-2, rel=1e-3)
    weight = phase.critical_weight("erf", 0.1)
    assert phase.fixed_point("erf", weight, 0.1).chi1 == pytest.approx(1.0, abs=1e-9)
    line_weight, line_bias = phase.critical_line("erf")
    q = phase.fixed_point("erf", weight, 0.1).variance
    assert float(line_weight.subs(p, q)) == pytest.approx(weight, rel=1e-8)
    assert float(line_bias.subs(p, q)) == pytest.approx(0.1, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "weight", "bias", "fate"), [("relu", 3.0, 0.1, "grows"), ("tanh", 0.5, 0.0, "vanishes")]
)
def test_no_fixed_point_is_said(name: str, weight: float, bias: float, fate: str) -> None:
    with pytest.raises(phase.NoFixedPoint, match=fate):
        phase.fixed_point(name, weight, bias)


def test_no_critical_weight_is_said() -> None:
    with pytest.raises(phase.NoFixedPoint, match="No critical sigma_w2"):
        phase.critical_weight("relu", 0.1)
