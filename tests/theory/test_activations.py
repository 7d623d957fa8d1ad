"""What is found of an activation, and what is refused."""

import pytest
import sympy as sp

from fimcheck import theory
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.symbols import x

z, other = sp.symbols("z other")


@pytest.mark.parametrize(
    ("name", "kinks", "parity", "growth", "degree"),
    [
        ("relu", (0,), "none", "polynomial", 1),
        ("abs", (0,), "even", "polynomial", 1),
        ("cube", (), "odd", "polynomial", 3),
        ("hermite_2", (), "even", "polynomial", None),
        ("hard_tanh", (-1, 1), "odd", "bounded", None),
        ("relu6", (0, 6), "none", "bounded", None),
        ("tanh", (), "odd", "bounded", None),
        ("cos", (), "even", "bounded", None),
        ("exp", (), "none", "exponential", None),
        ("softplus", (), "none", "polynomial", None),
        ("elu", (0,), "none", "polynomial", None),
    ],
)
def test_analysis(name: str, kinks: tuple[int, ...], parity: str, growth: str, degree: int | None) -> None:
    found = theory.activation(name)
    assert (found.kinks, found.parity, found.growth, found.degree) == (kinks, parity, growth, degree)


@pytest.mark.parametrize(
    ("expr", "reason"),
    [
        (sp.exp(z**2), "faster than exponentials"),
        (sp.exp(z**2 / 50), "faster than exponentials"),
        (1 / z, "undefined at x = 0"),
        (sp.log(z), "undefined at x = 0"),
        (sp.sqrt(sp.Abs(z)), "slope of it is infinite"),
        (sp.I * z, "not a finite real number"),
        (z + other, "free symbols: other, z"),
        (sp.Integer(3), "free symbols: none"),
        (sp.tan(z), "undefined"),
        (sp.Piecewise((z, z > 0)), "no value"),
        (sp.Abs(sp.sin(z)), "not a polynomial"),
        ("relo", "Known names: linear"),
        (3.0, "give a name"),
        ("__import__('os')", "Unknown activation"),
    ],
)
def test_refusals_name_the_reason(expr: object, reason: str) -> None:
    with pytest.raises(theory.ActivationError, match=reason):
        theory.activation(expr)  # type: ignore[arg-type]


def test_an_activation_that_jumps_has_no_slope_overlap() -> None:
    with pytest.raises(theory.ActivationError, match="jumps at x = 0"):
        theory.order_parameters(theory.WideNetwork(3, sp.sign(z)))


def test_weak_derivative_counts_every_jump() -> None:
    f = Function.from_expr(sp.Max(x, 0) + sp.Heaviside(x - 2) * 3)
    assert f.derivative().deltas == ((2, 3),)
    slope = Function.from_expr(sp.Min(sp.Max(x, 0), 6)).derivative()
    assert slope.branches == (0, 1, 0)
    assert slope.breaks == (0, 6)


def test_nested_kinks_are_all_found() -> None:
    f = Function.from_expr(sp.Max(sp.Abs(x) - 1, sp.Min(x, sp.Rational(1, 2))))
    assert set(f.breaks) >= {sp.Rational(-1, 2), sp.Rational(1, 2), sp.Rational(3, 2)}
    for at in (-3.0, -0.7, 0.2, 0.9, 4.0):
        value = float(sp.Max(sp.Abs(x) - 1, sp.Min(x, sp.Rational(1, 2))).subs(x, at))
        assert float(f.expr.subs(x, at)) == pytest.approx(value)
