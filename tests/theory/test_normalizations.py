"""Every combination of normalizations: exact in T tends to T -> infinity, and the two routes to numbers
agree.
"""

import numpy as np
import pytest

from fimcheck import theory

NUMBERS = {
    "M": 1000.0,
    "C": 5.0,
    "sigma_w2": 2.0,
    "sigma_b2": 0.1,
    "last_gamma": 1.5,
    "gamma": 0.8,
    "beta": 0.0,
}
NUMBERS |= {"alpha_0": 1.0, "alpha_1": 2.0, "alpha_2": 0.5, "T": 9.0}


def value(found: theory.Prediction, **numbers: float) -> float:
    numbers = NUMBERS | numbers
    return found.evaluate(**{name: numbers[name] for name in found.symbols})


@pytest.mark.parametrize("act", ["relu", "tanh", "cube"])
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_exact_batch_normalization_tends_to_its_limit(act: str, beta: float) -> None:
    net = theory.WideNetwork(3, act, hidden="batch", beta=beta)
    for quantity in ("m", "lambda_perp"):
        gaps = [
            value(theory.predict(net, quantity), T=T) / value(theory.predict(net, quantity, "infinite"), T=T) - 1
            for T in (1e3, 2e3)
        ]
        # The difference is of order 1/T: it halves when T doubles.
        assert abs(gaps[0]) < 0.05
        assert gaps[1] / gaps[0] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("hidden", ["none", "layer", "batch"])
@pytest.mark.parametrize("last", ["none", "mean", "batch", "layer"])
def test_numbers_equal_the_written_out_expression(hidden: str, last: str) -> None:
    for act in ("relu", "tanh"):
        net = theory.WideNetwork(3, act, hidden=hidden, last=last, beta=0)
        found = theory.predict(net, "m")
        written = found.expr.subs({s: NUMBERS[s.name] for s in found.expr.free_symbols})
        assert value(found) == pytest.approx(float(written), rel=1e-11)


def test_layer_normalized_outputs_have_the_trace_that_m_states() -> None:
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(5, 9)) + rng.normal(size=(5, 1))
    spectrum = theory.layer_output_spectrum(1.5, 0.4, 2.0, 1000.0, outputs, last_gamma=1.5)
    net = theory.WideNetwork(3, "relu", last="layer", ratios=(1, 1, 1))
    found = theory.predict(net, "m", given_outputs=True).formula
    inputs = {
        "kappa1": 1.5,
        "M": 1000.0,
        "C": 5.0,
        "last_gamma": 1.5,
        "R1": float(np.mean(1 / outputs.var(axis=0))),
    }
    assert spectrum.sum() / (2.0 * 1000.0**2) == pytest.approx(
        float(found.subs({s: inputs[s.name] for s in found.free_symbols})), rel=1e-12
    )
    assert np.all(spectrum > 0)
