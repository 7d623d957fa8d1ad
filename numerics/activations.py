"""Activations as torch functions, each with a hand-written derivative.

The derivative is the weak one; at a kink it takes the value torch's autograd takes (0 for ReLU and abs,
the left slope for leaky ReLU), which no continuous distribution can see.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fimcheck.numerics.difference import check_derivative

Function = Callable[[Tensor], Tensor]

PROBE = 300
"""Numbers that the derivative of an added activation is tried at."""

LEAKY_SLOPE = 0.01
# Klambauer et al. 2017 (Self-Normalizing Neural Networks), the values torch uses.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@dataclass(frozen=True)
class Activation:
    """An elementwise function phi and its derivative, both mapping a tensor of any shape to the same
    shape.
    """

    name: str
    value: Function
    slope: Function


def _normal_pdf(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _sigmoid_slope(x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 - s)


def _silu_slope(x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 + x * (1 - s))


def _elu_slope(x: Tensor) -> Tensor:
    # The clamp keeps exp finite on the branch that where() throws away.
    return torch.where(x > 0, 1.0, torch.exp(x.clamp(max=0)))


FUNCTIONS: dict[str, tuple[Function, Function]] = {
    "linear": (lambda x: x.clone(), torch.ones_like),
    # The sign of what is left: turning booleans into numbers takes several times as long.
    "relu": (torch.relu, lambda x: torch.relu(x).sign_()),
    "leaky_relu": (
        lambda x: torch.where(x > 0, x, LEAKY_SLOPE * x),
        lambda x: torch.where(x > 0, 1.0, torch.full_like(x, LEAKY_SLOPE)),
    ),
    "abs": (torch.abs, torch.sign),
    "erf": (torch.erf, lambda x: torch.exp(-x * x) * (2 / math.sqrt(math.pi))),
    "gelu": (
        lambda x: x * torch.special.ndtr(x),
        lambda x: torch.special.ndtr(x) + x * _normal_pdf(x),
    ),
    "sin": (torch.sin, torch.cos),
    "cos": (torch.cos, lambda x: -torch.sin(x)),
    "exp": (torch.exp, torch.exp),
    "gaussian": (lambda x: torch.exp(-0.5 * x * x), lambda x: -x * torch.exp(-0.5 * x * x)),
    "tanh": (torch.tanh, lambda x: 1 - torch.tanh(x) ** 2),
    "sigmoid": (torch.sigmoid, _sigmoid_slope),
    # torch's own softplus turns linear above 20 and is off by 2e-9 there.
    "softplus": (lambda x: torch.logaddexp(x, torch.zeros_like(x)), torch.sigmoid),
    "silu": (lambda x: x * torch.sigmoid(x), _silu_slope),
    "elu": (lambda x: torch.where(x > 0, x, torch.expm1(x.clamp(max=0))), _elu_slope),
    "selu": (
        lambda x: SELU_SCALE * torch.where(x > 0, x, SELU_ALPHA * torch.expm1(x.clamp(max=0))),
        lambda x: SELU_SCALE * torch.where(x > 0, 1.0, SELU_ALPHA * torch.exp(x.clamp(max=0))),
    ),
    "hard_tanh": (lambda x: x.clamp(-1, 1), lambda x: (x.abs() < 1).to(x.dtype)),
    "relu6": (lambda x: x.clamp(0, 6), lambda x: ((x > 0) & (x < 6)).to(x.dtype)),
    "hermite_2": (lambda x: x * x - 1, lambda x: 2 * x),
    "hermite_3": (lambda x: x * (x * x - 3), lambda x: 3 * (x * x - 1)),
    "square": (torch.square, lambda x: 2 * x),
    "cube": (lambda x: x * x * x, lambda x: 3 * x * x),
}

ACTIVATIONS: tuple[str, ...] = tuple(FUNCTIONS)


def add_activation(name: str, value: Function, slope: Function | None = None) -> None:
    """Add an elementwise torch function under a new name; its derivative comes from autograd where none is given.

    >>> numerics.add_activation("cubed", lambda u: u**3, lambda u: 3 * u**2)
    >>> "cubed" in numerics.activations.FUNCTIONS
    True
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"activation name {name!r}: it must be one word, since settings name it; use letters")
    if name in FUNCTIONS:
        raise ValueError(f"activation {name!r} exists already; choose another name than {', '.join(FUNCTIONS)}")
    found = resolve_activation(value)
    derivative = slope or found.slope
    points = 2 * torch.randn(PROBE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    check_derivative(f"activation {name!r}", value, points, lambda x, u: u * derivative(x))
    FUNCTIONS[name] = value, derivative


def _slope_by_autograd(value: Function) -> Function:
    def slope(x: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(value(leaf).sum(), leaf)[0]

    return slope


def resolve_activation(activation: str | Function) -> Activation:
    """The activation of a name in ``ACTIVATIONS``, or of any elementwise torch function.

    A callable is differentiated by autograd. It is tried on seven numbers first and refused with a
    ``ValueError`` if it changes the shape, mixes entries or is not differentiable.
    """
    if isinstance(activation, str):
        if activation not in FUNCTIONS:
            raise ValueError(
                f"activation {activation!r} is unknown: use one of {', '.join(ACTIVATIONS)}, "
                "or pass an elementwise torch function"
            )
        value, slope = FUNCTIONS[activation]
        return Activation(activation, value, slope)
    if not callable(activation):
        raise ValueError(
            f"activation {activation!r} is neither a name nor a function: use one of "
            f"{', '.join(ACTIVATIONS)}, or pass an elementwise torch function"
        )
    name = getattr(activation, "__name__", type(activation).__name__)
    probe = torch.linspace(-2.1, 2.3, 7, dtype=torch.float64)
    try:
        whole = activation(probe)
        parts = torch.stack([activation(x) for x in probe])
        derived = Activation(name, activation, _slope_by_autograd(activation))
        derived.slope(probe)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"activation {name} fails on a float64 tensor ({error}): pass an elementwise function made of "
            "differentiable torch operations"
        ) from error
    if whole.shape != probe.shape or not torch.allclose(whole, parts, rtol=1e-12, atol=0, equal_nan=True):
        raise ValueError(
            f"activation {name} is not elementwise: entry i of its result must depend on entry i of its "
            "argument only; pass a function such as torch.tanh"
        )
    return derived
