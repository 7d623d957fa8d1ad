"""Activations: hand-written slopes against autograd, special values, and what is refused."""

import math

import pytest
import torch

from fimcheck.numerics.activations import ACTIVATIONS, resolve_activation


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_is_the_derivative(name: str) -> None:
    phi = resolve_activation(name)
    # Past every kink and far into both tails, but on no kink.
    x = torch.cat([torch.linspace(-30.3, 30.1, 500), torch.linspace(-2.01, 2.02, 300)]).double().requires_grad_()
    (expected,) = torch.autograd.grad(phi.value(x).sum(), x)
    torch.testing.assert_close(phi.slope(x.detach()), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_is_the_difference_quotient(name: str) -> None:
    phi, x, step = resolve_activation(name), torch.linspace(-3.05, 3.03, 41, dtype=torch.float64), 1e-5
    quotient = (phi.value(x + step) - phi.value(x - step)) / (2 * step)
    torch.testing.assert_close(phi.slope(x), quotient, rtol=1e-7, atol=1e-8)


def test_values_at_points_worked_out_by_hand() -> None:
    x = torch.tensor([-2.0, 1.0], dtype=torch.float64)
    expected = {
        "linear": (-2, 1),
        "relu": (0, 1),
        "leaky_relu": (-0.02, 1),
        "abs": (2, 1),
        "erf": (-math.erf(2), math.erf(1)),
        "gelu": (-(1 - math.erf(2 / 2**0.5)), (1 + math.erf(1 / 2**0.5)) / 2),
        "sin": (-math.sin(2), math.sin(1)),
        "cos": (math.cos(2), math.cos(1)),
        "exp": (math.exp(-2), math.e),
        "gaussian": (math.exp(-2), math.exp(-0.5)),
        "tanh": (-math.tanh(2), math.tanh(1)),
        "sigmoid": (1 / (1 + math.exp(2)), 1 / (1 + math.exp(-1))),
        "softplus": (math.log1p(math.exp(-2)), math.log1p(math.e)),
        "silu": (-2 / (1 + math.exp(2)), 1 / (1 + math.exp(-1))),
        "elu": (math.exp(-2) - 1, 1),
        "selu": (1.0507009873554805 * 1.6732632423543772 * (math.exp(-2) - 1), 1.0507009873554805),
        "hard_tanh": (-1, 1),
        "relu6": (0, 1),
        "hermite_2": (3, 0),
        "hermite_3": (-2, -2),
        "square": (4, 1),
        "cube": (-8, 1),
    }
    assert set(expected) == set(ACTIVATIONS)
    for name, values in expected.items():
        torch.testing.assert_close(
            resolve_activation(name).value(x),
            torch.tensor(values, dtype=torch.float64),
            rtol=1e-13,
            atol=1e-15,
        )


def test_a_callable_is_differentiated() -> None:
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    slope = resolve_activation(lambda v: v * torch.sin(v)).slope(x)
    torch.testing.assert_close(slope, torch.sin(x) + x * torch.cos(x), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("swish", "activation 'swish' is unknown"),
        (3, "neither a name nor a function"),
        (lambda x: x.cumsum(0) if x.ndim else x, "not elementwise"),
        (lambda x: x.sum(), "not elementwise"),
        (lambda x: x.detach(), "fails"),
        (lambda x: x.numpy(), "fails"),
        (lambda _: 1.0, "fails"),
    ],
)
def test_unusable_activations_are_refused(bad: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        resolve_activation(bad)  # type: ignore[arg-type]
