"""The second route to the derivative of a function that a user adds: a difference of its values."""

from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 1e-5, 1e-6
TOLERANCE = 1e-6


def check_derivative(
    what: str,
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    gradient: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> None:
    """Raise ``ValueError`` where the derivative of a function at x, by autograd or as given, is not that of its values.

    gradient: from x and a cotangent of the values. Entries near a kink or a jump, where two differences part, are left
    out.
    """
    generator = torch.Generator().manual_seed(1)
    v = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    one, two = ((function(x + step * v) - function(x - step * v)) / (2 * step) for step in STEPS)
    size = one.abs().mean() + torch.finfo(x.dtype).tiny
    good = (one - two).abs() <= 1e-4 * (two.abs() + size)
    u = torch.where(good, torch.randn(two.shape, generator=generator, dtype=x.dtype), 0.0)
    if not bool(good.any()):
        return
    if gradient is None:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (found,) = torch.autograd.grad(function(leaf.clone()), leaf, u)
    else:
        found = gradient(x, u)
    by_derivative, by_values = float((found * v).sum()), float((u * two).sum())
    # Its own error: the two differences part by rounding, 1e-16 over the step, and by curvature.
    room = TOLERANCE * float((u * two).norm() + size) + 4 * float((u * (one - two)).norm())
    if abs(by_derivative - by_values) > room:
        raise ValueError(
            f"{what}: its derivative is not that of its values: along a random direction at random signals the "
            f"derivative gives {by_derivative:.6g} and a difference of the values {by_values:.6g}; give it the "
            "derivative of what it computes"
        )
