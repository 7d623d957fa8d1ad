"""Normalizing steps, with derivatives written by hand: each standardizes along some axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from numerics.steps.step import NetworkError, Rows, Shape, Step, Trace, Visit, linear, register


def standardized(x: Tensor, axes: tuple[int, ...], centered: bool = True) -> tuple[Tensor, Tensor]:
    """(z, sd) over some axes, biased; without ``centered`` the root mean square takes the place of the sd.

    No epsilon is added: a constant signal gives nan, and rounding errors of its mean are not taken for a signal.
    """
    rest = x - x.mean(axes, keepdim=True) if centered else x
    sd = rest.square().mean(axes, keepdim=True).sqrt()
    rounding = 8 * torch.finfo(x.dtype).eps * x.abs().amax(axes, keepdim=True)
    sd = sd.where(sd > rounding, float("nan"))
    return rest / sd, sd


def symmetric(v: Tensor, z: Tensor, gain: Tensor, axes: tuple[int, ...], centered: bool = True) -> Tensor:
    """gain (I - 1 1^T/n - z z^T/n) v, without the 1 1^T where the mean is not subtracted."""
    result = v - v.mean(axes, keepdim=True) if centered else v
    return (result - z * (v * z).mean(axes, keepdim=True)) * gain


@dataclass(frozen=True)
class PerPlace(Step):
    """gamma z + beta over the units of each place."""

    gamma: float = 1.0
    beta: float = 0.0

    def _split(self, x: Tensor) -> Tensor:
        """Units in the groups that are normalized apart, on the last axis."""
        return x.unsqueeze(-2)

    centered: ClassVar[bool] = True

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:  # noqa: ARG002
        """One symmetric matrix in both directions."""
        z, sd = standardized(self._split(x), (-1,), self.centered)
        own, gain = z.unsqueeze(1), (self.gamma / sd).unsqueeze(1)

        def through(v: Tensor) -> Tensor:
            return symmetric(self._split(v), own, gain, (-1,), self.centered).flatten(-2)

        return linear(self.gamma * z.flatten(-2) + self.beta, through, through)


@register
@dataclass(frozen=True)
class LayerNorm(PerPlace):
    """Over all units."""

    name: ClassVar[str] = "layer"

    def shape(self, shape: Shape, path: str) -> Shape:
        """Kept; refuses a single unit, whose deviation from itself is 0."""
        if shape.units < 2:
            raise NetworkError(
                f"step {path}: layer normalization over {shape.units} unit divides by zero; use two or more"
            )
        return shape

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:  # noqa: ARG002
        """By torch's layer_norm."""
        return self.gamma * torch.nn.functional.layer_norm(x, x.shape[-1:], eps=0.0) + self.beta


@register
@dataclass(frozen=True)
class GroupNorm(PerPlace):
    """Over the units of each of ``groups`` equal groups."""

    name: ClassVar[str] = "group"

    groups: int = 2

    def shape(self, shape: Shape, path: str) -> Shape:
        """Kept; refuses groups that are unequal or of one unit."""
        if shape.units % self.groups or shape.units // self.groups < 2:
            raise NetworkError(
                f"step {path}: {shape.units} units do not fall into {self.groups} groups of two or more; change groups"
            )
        return shape

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.groups, -1))

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:  # noqa: ARG002
        """By torch's group_norm, places as a batch."""
        flat = torch.nn.functional.group_norm(x.flatten(0, -2), self.groups, eps=0.0)
        return self.gamma * flat.view(x.shape) + self.beta


@register
@dataclass(frozen=True)
class RMSNorm(PerPlace):
    """gamma times the units over their root mean square."""

    name: ClassVar[str] = "rms"
    centered: ClassVar[bool] = False

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:  # noqa: ARG002
        """By torch's rms_norm."""
        return self.gamma * torch.nn.functional.rms_norm(x, x.shape[-1:], eps=0.0)


@register
@dataclass(frozen=True)
class BatchNorm(Step):
    """gamma z + beta for every unit over all samples and positions of the batch."""

    name: ClassVar[str] = "batch"
    couples_samples: ClassVar[bool] = True

    gamma: float = 1.0
    beta: float = 0.0

    def shape(self, shape: Shape, path: str) -> Shape:
        """Kept; refuses a batch of two places, which two normalized units make constant."""
        if shape.samples * shape.positions < 3:
            raise NetworkError(
                f"step {path}: batch normalization over {shape.samples * shape.positions} places leaves no direction; "
                "use three or more"
            )
        return shape

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:  # noqa: ARG002
        """One symmetric matrix in both directions, for signals at all samples."""
        axes = (-3, -2)
        z, sd = standardized(x, axes)
        own, gain = z.unsqueeze(1), (self.gamma / sd).unsqueeze(1)

        def pull(rows: Rows, visit: Visit) -> Rows:  # noqa: ARG001
            rows = rows.over_samples()
            return rows.with_values(symmetric(rows.values, own, gain, axes))

        def push(tangent: Tensor, moved: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG001
            return symmetric(tangent, own, gain, axes)

        return Trace(self.gamma * z + self.beta, pull, push)

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:  # noqa: ARG002
        """By torch's var_mean over places."""
        variance, mean = torch.var_mean(x, (-3, -2), correction=0, keepdim=True)
        return self.gamma * (x - mean) * variance.rsqrt() + self.beta
