"""What each normalization does to a network, and the derivative of that, written by hand.

Signals have the layout (..., samples, units). Every normalization here standardizes (or only centers)
along one of these two axes, and its Jacobian along that axis is a symmetric matrix, (gain/sd)(I - 11^T/n
- z z^T/n) with z the standardized signal and n the length of the axis. So one function serves reverse and
forward mode alike.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

HIDDEN_NORMALIZATIONS = ("none", "layer", "batch")
LAST_NORMALIZATIONS = ("none", "mean", "batch", "layer")

UNITS, SAMPLES = -1, -2


@dataclass(frozen=True)
class Derivative:
    """The Jacobian of a normalization at one point, applied to signals of the point's layout.

    ``axis`` is the normalized axis; ``z`` the standardized signal, None where the normalization only centers;
    ``gain`` is gamma/sd with the axis kept at length 1, None for 1.
    """

    axis: int
    z: Tensor | None = None
    gain: Tensor | None = None

    def __call__(self, signal: Tensor) -> Tensor:
        """J v, which is also v J: extra leading axes of ``signal`` broadcast."""
        result = signal - signal.mean(self.axis, keepdim=True)
        if self.z is not None and self.gain is not None:
            result = result - self.z * (signal * self.z).mean(self.axis, keepdim=True)
            result = result * self.gain
        return result

    def unsqueeze(self, dim: int) -> "Derivative":
        """The same Jacobian with a broadcast axis at ``dim`` (counted from the left)."""
        z = None if self.z is None else self.z.unsqueeze(dim)
        gain = None if self.gain is None else self.gain.unsqueeze(dim)
        return Derivative(self.axis, z, gain)

    def units_first(self) -> "Derivative":
        """The same Jacobian for signals of layout (units, samples, rows); for normalization over samples."""
        assert self.axis == SAMPLES
        assert self.z is not None
        assert self.gain is not None
        return Derivative(SAMPLES, self.z.mT.unsqueeze(-1), self.gain.mT.unsqueeze(-1))


def normalize(name: str, u: Tensor, gamma: float, beta: float) -> tuple[Tensor, Derivative | None]:
    """The normalized signal and its derivative (None for the identity).

    none: u. mean: u minus its mean over samples. batch: gamma (u - mean)/sd + beta with mean and biased
    sd over samples, each unit on its own. layer: the same over units, each sample on its own. No epsilon
    is added to the
    variance: a constant signal gives nan, which the measurement reports.
    """
    if name == "none":
        return u, None
    axis = UNITS if name == "layer" else SAMPLES
    centered = u - u.mean(axis, keepdim=True)
    if name == "mean":
        return centered, Derivative(axis)
    sd = centered.square().mean(axis, keepdim=True).sqrt()
    # A constant signal leaves rounding errors of its mean, which must not be taken for a signal.
    rounding = 8 * torch.finfo(u.dtype).eps * u.abs().amax(axis, keepdim=True)
    sd = sd.where(sd > rounding, float("nan"))
    z = centered / sd
    return gamma * z + beta, Derivative(axis, z, gamma / sd)
