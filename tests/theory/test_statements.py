"""Statements: scalings, regimes, conditions, errors, source code and book."""

import inspect
import math

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from fimcheck import theory
from fimcheck.theory.network import limits, outputs
from fimcheck.theory.network.predict import inverse_chi_square
from fimcheck.theory.symbols import T, kappa1, kappa2
from fimcheck.theory.writing import latex

NUMBERS = {"M": 1000.0, "T": 30.0, "C": 1.0, "sigma_w2": 2.0, "sigma_b2": 0.1, "last_gamma": 1.5, "c_2": 0.0}
NUMBERS |= {"alpha_0": 1.0, "alpha_1": 2.0, "alpha_2": 0.5, "gamma": 1.2, "beta": 0.2, "rho": 2.0, "Q1": 1.1}


def value(found: theory.Prediction, **numbers: float) -> float:
    return found.evaluate(**{name: (NUMBERS | numbers)[name] for name in found.symbols})


def exponents(net: theory.WideNetwork) -> tuple[str, str]:
    """Exponent of lambda_max in M at fixed T and, or as bounds, at T proportional to M."""
    fixed = theory.predict(net, "lambda_max", "infinite")
    first = f"M^{fixed.scaling('M')} T^{fixed.scaling('T')}"
    try:
        return first, str(theory.predict(net, "lambda_max", "proportional").scaling("M"))
    except ValueError:
        names = ("lambda_max_lower", "lambda_max_upper")
        bounds = [str(theory.predict(net, name, "proportional").scaling("M")) for name in names]
        return first, " to ".join(bounds)


@pytest.mark.parametrize(
    ("act", "hidden", "last", "expected"),
    [
        ("relu", "none", "none", ("M^1 T^0", "1")),
        ("relu", "layer", "none", ("M^1 T^0", "1")),
        ("relu", "batch", "none", ("M^1 T^0", "1")),
        ("tanh", "batch", "none", ("M^1 T^-1", "0 to 1/2")),
        ("relu", "none", "mean", ("M^1 T^-1", "0")),
        ("relu", "layer", "mean", ("M^1 T^-1", "0")),
        ("tanh", "none", "batch", ("M^1 T^-1", "0 to 1/2")),
        ("relu", "batch", "batch", ("M^1 T^-1", "0 to 1/2")),
    ],
)
def test_the_table_of_scalings_is_derived(act: str, hidden: str, last: str, expected: tuple[str, str]) -> None:
    net = theory.WideNetwork(3, act, hidden, last, beta=0)
    assert exponents(net) == expected


def test_a_wrong_spectrum_changes_the_derived_exponent() -> None:
    assert limits.leading(outputs.SHARED, T)[0] == 0
    assert limits.leading(outputs.SHARED.subs(kappa2, 0), T)[0] == -1
    assert limits.leading(outputs.SHARED * T, T)[0] == 1


def test_traces_are_those_of_the_matrix() -> None:
    """m and s against the T x T block written out."""
    k1, k2, samples, width, alpha = 1.5, 0.4, 7, 100.0, 2.0
    block = alpha * width / samples * ((k1 - k2) * np.eye(samples) + k2)
    centering = np.eye(samples) - 1 / samples
    values = {"kappa1": k1, "kappa2": k2, "T": samples, "M": width, "alpha": alpha, "C": 3.0}
    for last, matrix in (("none", block), ("mean", centering @ block @ centering)):
        net = theory.WideNetwork(3, "relu", last=last)
        expected = {"m": 3 * np.trace(matrix), "s": 3 * np.trace(matrix @ matrix)}
        for quantity, trace in expected.items():
            formula = theory.predict(net, quantity).formula
            number = float(formula.subs({s: values[s.name] for s in formula.free_symbols}))
            assert number == pytest.approx(trace / (alpha * width**2), rel=1e-12)
        largest = theory.predict(net, "lambda_max").formula
        number = float(largest.subs({s: values[s.name] for s in largest.free_symbols}))
        assert number == pytest.approx(np.linalg.eigvalsh(matrix)[-1], rel=1e-12)


def test_batch_normalized_output_removes_two_directions() -> None:
    k1, k2, samples, width, alpha = 1.5, 0.4, 7, 100.0, 2.0
    block = alpha * width / samples * ((k1 - k2) * np.eye(samples) + k2)
    rng = np.random.default_rng(0)
    f = rng.normal(size=samples)
    z = (f - f.mean()) / f.std()
    jacobian = (np.eye(samples) - 1 / samples - np.outer(z, z) / samples) * 1.5 / f.std()
    matrix = jacobian @ block @ jacobian
    q1 = 1.5**2 / f.var()
    net = theory.WideNetwork(3, "relu", last="batch")
    values = {"kappa1": k1, "kappa2": k2, "T": samples, "M": width, "alpha": alpha, "C": 1.0}
    values |= {"Q1": q1, "Q2": q1**2, "Qmax": q1}
    expected = {
        "m": np.trace(matrix) / (alpha * width**2),
        "s": np.trace(matrix @ matrix) / (alpha * width**2),
        "lambda_max": np.linalg.eigvalsh(matrix)[-1],
    }
    for quantity, truth in expected.items():
        formula = theory.predict(net, quantity, given_outputs=True).formula
        assert float(formula.subs({s: values[s.name] for s in formula.free_symbols})) == pytest.approx(truth, rel=1e-12)


def test_moments_of_inverse_chi_square_are_derived() -> None:
    assert sp.simplify(inverse_chi_square(1, T) - 1 / (T - 3)) == 0
    assert sp.simplify(inverse_chi_square(2, T) - 1 / ((T - 3) * (T - 5))) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.WideNetwork(1), "depth = 1.*at least 2"),
        (lambda: theory.WideNetwork(3, "relu", "bach"), "hidden = 'bach'"),
        (lambda: theory.WideNetwork(3, last="group"), "last = 'group'"),
        (lambda: theory.WideNetwork(3, sigma_w2=0), "sigma_w2 = 0: it must be positive"),
        (lambda: theory.WideNetwork(3, sigma_b2=-0.1), "sigma_b2 = -0.1: a variance is not negative"),
        (lambda: theory.WideNetwork(3, sigma_w2=math.nan), "not a finite real number"),
        (lambda: theory.WideNetwork(3, sigma_w2="2"), "not a finite real number"),
        (lambda: theory.WideNetwork(3, gamma=0), "gamma = 0"),
        (lambda: theory.WideNetwork(3, ratios=(1, 1)), "2 entries"),
        (lambda: theory.WideNetwork(3, ratios=(1, -1, 1)), r"ratios\[1\]"),
        (lambda: theory.predict(theory.WideNetwork(3), "lambda"), "Choose one of m, s"),
        (lambda: theory.predict(theory.WideNetwork(3), "m", "some"), "samples = 'some'"),
        (
            lambda: theory.predict(theory.WideNetwork(3), "m", given_outputs=True),
            "given_outputs has no meaning",
        ),
        (
            lambda: theory.predict(theory.WideNetwork(3, hidden="batch", last="mean"), "lambda_max", "proportional"),
            "lambda_max_lower",
        ),
        (
            lambda: theory.predict(theory.WideNetwork(3), "lambda_max_upper", "proportional"),
            'ask for "lambda_max"',
        ),
        (lambda: theory.predict(theory.WideNetwork(3, last="layer"), "s"), "output_spectrum"),
        (lambda: value(theory.predict(theory.WideNetwork(3, last="mean"), "m"), T=1.0), "T .?= 1"),
        (lambda: value(theory.predict(theory.WideNetwork(3, last="batch"), "s"), T=5.0), "5 < T|T > 5"),
        (
            lambda: value(theory.predict(theory.WideNetwork(3, last="batch"), "lambda_max"), C=2.0),
            "given_outputs=True",
        ),
        (lambda: value(theory.predict(theory.WideNetwork(3), "m"), C=0.0), "C = 0.0 has to be positive"),
        (lambda: theory.predict(theory.WideNetwork(3), "m").evaluate(C=1), "needs a value for M"),
        (lambda: theory.predict(theory.WideNetwork(3), "s").evaluate(**NUMBERS), "does not depend on"),
    ],
)
def test_errors_name_value_rule_and_remedy(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("last", ["batch", "layer"])
def test_numbers_given_to_the_network_are_used(last: str) -> None:
    fixed = {"sigma_w2": 2.0, "sigma_b2": 0.1, "gamma": 1.2, "beta": 0.2, "last_gamma": 1.5}
    symbolic = theory.predict(theory.WideNetwork(3, "relu", "layer", last), "m")
    numeric = theory.predict(theory.WideNetwork(3, "relu", "layer", last, ratios=(1, 2, 0.5), **fixed), "m")
    assert set(numeric.symbols) == set(symbolic.symbols) - set(fixed) - {"alpha_0", "alpha_1", "alpha_2"}
    assert value(numeric, C=4.0) == pytest.approx(value(symbolic, C=4.0), rel=1e-12)
    other = theory.predict(
        theory.WideNetwork(3, "relu", "layer", last, ratios=(1, 2, 0.5), **fixed | {"last_gamma": 3}), "m"
    )
    assert value(other, C=4.0) == pytest.approx(4 * value(numeric, C=4.0), rel=1e-12)


def test_arrays_broadcast() -> None:
    found = theory.predict(theory.WideNetwork(3, "relu", last="mean", ratios=(1, 1, 1), sigma_b2=0.1), "lambda_max")
    grid = found.evaluate(M=np.array([100.0, 200.0])[:, None], T=10.0, sigma_w2=np.array([1.0, 2.0, 3.0]))
    assert grid.shape == (2, 3)
    assert grid[1, 2] == pytest.approx(found.evaluate(M=200, T=10, sigma_w2=3))


@pytest.mark.parametrize(
    ("act", "hidden", "last"),
    [
        ("relu", "none", "none"),
        ("tanh", "none", "mean"),
        ("elu", "layer", "batch"),
        ("relu", "batch", "mean"),
    ],
)
def test_the_python_source_runs_alone(act: str, hidden: str, last: str) -> None:
    net = theory.WideNetwork(3, act, hidden, last, beta=0 if hidden == "batch" else theory.symbols.beta)
    found = theory.predict(net, "lambda_max")
    source = found.python()
    assert "theory" not in source
    space: dict[str, object] = {}
    exec(compile(source, "generated", "exec"), space)
    function = space["lambda_max"]
    numbers = {name: NUMBERS[name] for name in inspect.signature(function).parameters}  # type: ignore[arg-type]
    assert function(**numbers) == pytest.approx(value(found), rel=1e-9)  # type: ignore[operator]


def test_steps_lead_to_the_statement() -> None:
    found = theory.predict(theory.WideNetwork(2, "relu", last="mean"), "lambda_max")
    text = "\n".join(found.steps())
    for part in (
        "Price's theorem",
        "the direction (1, .., 1) is removed",
        str(found.formula),
        str(found.expr),
    ):
        assert part in text


def test_public_objects_show_as_latex() -> None:
    net = theory.WideNetwork(2, "tanh")
    found = theory.predict(net, "m")
    shown = (net, theory.order_parameters(net), found, net.activation)
    assert all(thing._repr_latex_().startswith(("$", r"\begin{align*}")) for thing in shown)
    assert r"\sigma_w^2" in found.latex()
    assert r"\mathbb{E}" in found.latex()


def test_the_book_holds_what_is_derived() -> None:
    text = theory.book(("relu", "tanh"), certificates=False)
    assert r"\operatorname{asin}{\left(\frac{c}{p} \right)}" in text
    assert "(quadrature)" in text
    assert text.count("### relu, hidden") == 12
    bound = theory.predict(theory.WideNetwork(3, "relu", last="mean"), "lambda_max_upper", "proportional")
    assert f"| ${latex.formula(bound)}$ | proportional | 1/2 |" in text


def test_a_symbolic_slope_is_a_parameter() -> None:
    a = sp.Symbol("a", real=True)
    net = theory.WideNetwork(3, theory.leaky_relu(a))
    found = theory.predict(net, "lambda_max")
    assert "a" in found.symbols
    plain = value(theory.predict(theory.WideNetwork(3, "leaky_relu"), "lambda_max"))
    assert found.evaluate(a=0.01, **{n: NUMBERS[n] for n in found.symbols if n != "a"}) == pytest.approx(
        plain, rel=1e-12
    )


@settings(derandomize=True, deadline=None, database=None, max_examples=25)
@given(st.integers(2, 6), st.floats(0.2, 4), st.floats(0, 1), st.floats(0.5, 2))
def test_relu_is_homogeneous_in_the_weights(depth: int, weight: float, bias: float, factor: float) -> None:
    """Scaling sigma_w2 by r and sigma_b2 by r^l per layer only rescales; with sigma_b2 = 0, kappa scales as
    r^(L-1).
    """
    ratios = (1,) * depth
    base = theory.WideNetwork(depth, "relu", sigma_w2=weight, sigma_b2=0, ratios=ratios)
    scaled = theory.WideNetwork(depth, "relu", sigma_w2=weight * factor, sigma_b2=0, ratios=ratios)
    one, two = (theory.numeric_order_parameters(net) for net in (base, scaled))
    assert two.kappa1 == pytest.approx(one.kappa1 * factor ** (depth - 1), rel=1e-10)
    assert two.kappa2 == pytest.approx(one.kappa2 * factor ** (depth - 1), rel=1e-10)
    biased = theory.numeric_order_parameters(
        theory.WideNetwork(depth, "relu", sigma_w2=weight, sigma_b2=bias, ratios=ratios)
    )
    assert 0 <= biased.kappa2 <= biased.kappa1
    assert biased.kappa2 >= one.kappa2 * (1 - 1e-12)


@pytest.mark.parametrize("act", ["tanh", "erf", "sin", "cube"])
def test_an_odd_activation_without_bias_is_centered(act: str) -> None:
    net = theory.WideNetwork(4, act, sigma_b2=0)
    assert theory.order_parameters(net).kappa2 == 0
    assert kappa2 not in theory.predict(net, "lambda_max").formula.free_symbols
    assert kappa1 in theory.predict(net, "lambda_max").formula.free_symbols
    assert kappa2 in theory.predict(theory.WideNetwork(4, act), "lambda_max").formula.free_symbols
