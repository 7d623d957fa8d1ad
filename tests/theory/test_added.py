"""Rules, Jacobians and activations that are added by name."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import sympy as sp

from fimcheck import theory
from fimcheck.theory import symbols
from fimcheck.theory.gaussian.activations import named
from fimcheck.theory.network.normalize import LayerNorm
from fimcheck.theory.network.outputs import OUTPUTS
from fimcheck.theory.network.state import mapped
from fimcheck.theory.network.step import STEPS


class MyLayer(LayerNorm):
    """Layer normalization once more."""


@dataclass(frozen=True)
class MeanOnly(theory.Step):
    """Centering over the batch: every signal stays Gaussian."""

    couples_samples = True
    fewest_places = 5

    gamma: Any = symbols.gamma
    beta: Any = symbols.beta

    def apply(self, state, run, path):
        n = run.samples * state.positions

        def centred(t):
            spread = self.gamma**2 * (t.same - t.other)
            return state.alike(spread * (1 - 1 / n), -spread / n)

        K = centred(state.K).map(lambda K: K + self.beta**2)
        return replace(state, K=K, mean=self.beta, tangent=mapped(state.tangent, centred))


def layer_jacobian(outputs: np.ndarray, last_gamma: float) -> np.ndarray:
    classes, samples = outputs.shape
    full = np.zeros((classes, samples, classes, samples))
    for t, f in enumerate(outputs.T):
        z = (f - f.mean()) / f.std()
        full[:, t, :, t] = last_gamma / f.std() * (np.eye(classes) - 1 / classes - np.outer(z, z) / classes)
    return full.reshape(outputs.size, outputs.size)


@pytest.fixture(autouse=True)
def added() -> Iterator[None]:
    theory.add_step("my_layer", MyLayer)
    theory.add_step("my_mean_only", MeanOnly)
    theory.add_output_normalization("my_layer", layer_jacobian)
    yield
    for name in ("my_layer", "my_mean_only"):
        del STEPS[name]
    del OUTPUTS["my_layer"]


def numbers(hidden: str, activation: str = "relu", **values: float) -> theory.OrderParameters:
    given: dict[str, Any] = {"sigma_w2": 1.7, "sigma_b2": 0.3, "gamma": 0.8, "beta": 0.4} | values
    return theory.numeric_order_parameters(theory.WideNetwork(4, activation, hidden, ratios=[1, 2, 1, 1], **given), T=6)


def test_a_built_in_rule_added_again_gives_the_same() -> None:
    one, two = numbers("layer"), numbers("my_layer")
    for name in ("hq1", "hq2", "q1", "q2", "tq1", "tq2", "kappa1", "kappa2"):
        assert getattr(one, name) == getattr(two, name)
    net = theory.WideNetwork(3, hidden="my_layer")
    assert theory.predict(net, "m").expr == theory.predict(theory.WideNetwork(3, hidden="layer"), "m").expr
    assert "my_layer" in theory.predict(net, "m").source


def test_expressions_and_numbers_agree_for_added_rules() -> None:
    for hidden in ("my_layer", "my_mean_only"):
        values: dict[str, Any] = {"sigma_w2": 1.7, "sigma_b2": 0.3, "gamma": 0.8, "beta": 0}
        exact = theory.order_parameters(theory.WideNetwork(4, "relu", hidden, ratios=[1, 2, 1, 1], **values))
        for name in ("kappa1", "kappa2"):
            stated = float(sp.N(getattr(exact, name).subs(symbols.T, 6)))
            assert float(getattr(numbers(hidden, beta=0), name)) == pytest.approx(stated, rel=1e-12)


def test_a_rule_that_mixes_samples_depends_on_their_number() -> None:
    net = theory.WideNetwork(3, hidden="my_mean_only", beta=0)
    prediction = theory.predict(net, "lambda_1")
    assert "T" in prediction.symbols
    at = {"M": 100, "sigma_w2": 2, "sigma_b2": 0.1, "gamma": 1.1, "alpha_0": 1, "alpha_1": 1, "alpha_2": 1}
    prediction.evaluate(T=5, **at)
    with pytest.raises(ValueError, match="T > 4"):
        prediction.evaluate(T=4, **at)
    # T -> infinity takes 1/T to 0 in the rule: phi sees the variance gamma^2 (q_1 - q_2) = gamma^2 sigma_w2.
    limit = theory.order_parameters(net, "infinite")
    assert sp.simplify(limit.hq1[1] - symbols.gamma**2 * symbols.sigma_w2 / 2) == 0


def test_an_added_jacobian_can_be_layer_normalization() -> None:
    outputs = np.random.default_rng(3).normal(size=(5, 4))
    known = theory.layer_output_spectrum(1.6, 0.4, 2.0, 100, outputs, 0.7)
    found = theory.output_spectrum("my_layer", 1.6, 0.4, 2.0, 100, outputs, 0.7)
    assert found[: len(known)] == pytest.approx(known, rel=1e-12)
    assert found[len(known) :] == pytest.approx(0, abs=1e-10 * known[0])
    with pytest.raises(ValueError, match="output_spectrum"):
        theory.predict(theory.WideNetwork(3, last="my_layer"), "m")


def test_a_jacobian_of_the_wrong_shape_is_refused() -> None:
    theory.add_output_normalization("flat", lambda outputs, last_gamma: np.eye(3))
    try:
        with pytest.raises(ValueError, match="'flat' has shape"):
            theory.output_spectrum("flat", 1, 0.5, 1, 10, np.ones((5, 4)))
    finally:
        del OUTPUTS["flat"]


def test_an_added_activation_is_derived() -> None:
    theory.add_activation("my_erf", sp.erf(sp.Symbol("u", real=True)))
    try:
        one, two = (theory.order_parameters(theory.WideNetwork(2, name)).kappa1 for name in ("erf", "my_erf"))
        assert one == two
    finally:
        del theory.BUILTIN["my_erf"]
        named.cache_clear()


def test_bad_names_and_rules_are_refused() -> None:
    for name, rule in (("two words", "one word"), ("layer", "exists already")):
        with pytest.raises(ValueError, match=rule):
            theory.add_step(name, MyLayer)
        with pytest.raises(ValueError, match=rule):
            theory.add_output_normalization(name, layer_jacobian)
    with pytest.raises(ValueError, match="exists already"):
        theory.add_activation("relu", symbols.x)
    with pytest.raises(ValueError, match=r"class made of theory\.Step"):
        theory.add_step("new", MyLayer())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not a function"):
        theory.add_output_normalization("new", 3)  # type: ignore[arg-type]
    with pytest.raises(theory.ActivationError, match="faster than exponentials"):
        theory.add_activation("new", sp.exp(symbols.x**2))
    assert "new" not in theory.BUILTIN
