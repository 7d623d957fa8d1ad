"""What a normalization does to a signal, and the derivative of that, written by hand.

Every normalization standardizes (or only centers) along some axes, and its Jacobian along them is a symmetric matrix,
(gain/sd)(I - 11^T/n - z z^T/n) with z the standardized signal and n how many numbers are standardized together. So one
function serves reverse and forward mode alike.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

HIDDEN_NORMALIZATIONS = ("none", "layer", "batch")
LAST_NORMALIZATIONS = ("none", "mean", "batch", "layer")
"""Those of the paper."""

Axes = tuple[int, ...]
UNITS, SAMPLES = (-1,), (-2,)
"""Axes of outputs (..., samples, units)."""


@dataclass(frozen=True)
class Derivative:
    """The Jacobian of a normalization at one point, applied to signals of the point's layout.

    ``axes`` are standardized together; ``z`` is the standardized signal, None where the normalization only centers;
    ``gain`` is gamma/sd with these axes kept at length 1, None for 1; ``centered``: whether the mean is subtracted.
    """

    axes: Axes
    z: Tensor | None = None
    gain: Tensor | None = None
    centered: bool = True

    def __call__(self, signal: Tensor) -> Tensor:
        """J v, which is also v J: extra leading axes of ``signal`` broadcast."""
        if self.z is None or self.gain is None:
            return signal - signal.mean(self.axes, keepdim=True)
        rest = signal - signal.mean(self.axes, keepdim=True) if self.centered else signal
        along = (signal * self.z).mean(self.axes, keepdim=True)
        return torch.addcmul(rest, self.z, along, value=-1).mul_(self.gain)

    def unsqueeze(self, dim: int) -> "Derivative":
        """The same Jacobian with a broadcast axis at ``dim`` (counted from the left)."""
        z = None if self.z is None else self.z.unsqueeze(dim)
        gain = None if self.gain is None else self.gain.unsqueeze(dim)
        return Derivative(self.axes, z, gain, self.centered)

    def units_first(self) -> "Derivative":
        """The same Jacobian for signals of layout (units, samples, rows); for normalization over samples."""
        assert self.axes == SAMPLES
        assert self.z is not None
        assert self.gain is not None
        return Derivative(SAMPLES, self.z.mT.unsqueeze(-1), self.gain.mT.unsqueeze(-1))


def standardize(
    u: Tensor, axes: Axes, gamma: float = 1.0, beta: float = 0.0, centered: bool = True
) -> tuple[Tensor, Derivative]:
    """gamma (u - mean)/sd + beta over some axes, sd biased, and its derivative; without ``centered`` the mean is kept
    and the root mean square takes the place of the sd.

    No epsilon is added: a constant signal gives nan, and rounding errors of its mean are not taken for a signal.
    """
    mean = u.mean(axes, keepdim=True)
    rest = u - mean if centered else u
    sd = rest.square().mean(axes, keepdim=True).sqrt()
    sd = sd.where(sd > 8 * torch.finfo(u.dtype).eps * mean.abs(), float("nan")) if centered else sd
    z = rest / sd
    value = z if gamma == 1 and beta == 0 else gamma * z + beta
    return value, Derivative(axes, z, gamma / sd, centered)
