"""Predictions against values worked out elsewhere and against the written-out expression."""

import pytest

from fimcheck import theory

NUMBERS = {"M": 1000.0, "T": 30.0, "C": 1.0, "sigma_w2": 2.0, "sigma_b2": 0.1, "last_gamma": 1.5}
NUMBERS |= {"alpha_0": 1.0, "alpha_1": 2.0, "alpha_2": 0.5}


def test_relu_order_parameters() -> None:
    net = theory.WideNetwork(3, "relu", sigma_w2=2, sigma_b2=0.1, ratios=(1, 1, 1))
    found = theory.order_parameters(net)
    assert float(found.kappa1) == pytest.approx(1.575, abs=1e-7)
    assert float(found.kappa2) == pytest.approx(0.4014942, abs=1e-7)


@pytest.mark.parametrize("last", ["none", "mean", "batch"])
@pytest.mark.parametrize("act", ["linear", "relu", "erf", "tanh"])
def test_numbers_equal_the_written_out_expression(act: str, last: str) -> None:
    for quantity in ("m", "s", "lambda_max", "lambda_1", "lambda_perp", "lambda_top"):
        found = theory.predict(theory.WideNetwork(3, act, last=last), quantity)
        numbers = {name: NUMBERS[name] for name in found.symbols}
        written = found.expr.subs({s: NUMBERS[s.name] for s in found.expr.free_symbols})
        assert found.evaluate(**numbers) == pytest.approx(float(written), rel=1e-12)


@pytest.mark.parametrize("name", ["relu", "tanh", "square"])
def test_overlaps_beyond_float64_are_told_and_give_no_number(name: str) -> None:
    """The square of an overlap overflows before the overlap does, and 1 / inf would be a wrong 0."""
    prediction = theory.predict(theory.WideNetwork(depth=3, activation=name), "m")
    numbers = {"sigma_b2": 0.1, "M": 100.0, "C": 2.0, "alpha_0": 1.0, "alpha_1": 1.0, "alpha_2": 1.0}
    with pytest.raises(OverflowError, match="before phi: its square exceeds float64"):
        prediction.evaluate(sigma_w2=1e200, **numbers)
