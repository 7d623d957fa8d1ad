"""Normalizing steps: each standardizes along some axes of its signal (S, T, N, M)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fimcheck.numerics.normalizations import UNITS, Axes, standardize
from fimcheck.numerics.steps.step import Meeting, NetworkError, Rows, Shape, Step, Trace, Visit, register


@dataclass(frozen=True)
class Normalization(Step):
    """gamma z + beta, z standardized along ``axes``. affine: whether one scale and one shift a unit are parameters."""

    axes: ClassVar[Axes] = UNITS
    centered: ClassVar[bool] = True

    gamma: float = 1.0
    beta: float = 0.0
    affine: bool = False

    def split(self, x: Tensor) -> Tensor:
        """The signal with what is standardized together along ``axes``."""
        return x

    def joined(self, x: Tensor) -> Tensor:
        """The inverse of `split`."""
        return x

    def weights(self, shape: Shape) -> int:
        """Scale and shift of every unit."""
        return 2 * shape.units * self.affine

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:  # noqa: ARG002
        """One symmetric matrix in both directions."""
        value, derivative = standardize(self.split(x), self.axes, self.gamma, self.beta, self.centered)
        assert derivative.z is not None
        z, through = self.joined(derivative.z).unsqueeze(1), derivative.unsqueeze(1)
        nothing = x[..., :0]  # scale and shift meet no inputs: their shares are those of biases

        def pull(rows: Rows, visit: Visit) -> Rows:
            if self.affine:
                visit(Meeting(f"{path}.gamma", nothing, rows.with_values(rows.values * z), 0.0, 1.0))
                visit(Meeting(f"{path}.beta", nothing, rows, 0.0, 1.0))
            rows = rows.over_samples(x.shape[1]) if self.couples_samples else rows
            return rows.with_values(self.joined(through(self.split(rows.values))))

        def push(tangent: Tensor, moved: Mapping[str, Tensor]) -> Tensor:
            result = self.joined(through(self.split(tangent)))
            return result + z * moved[f"{path}.gamma"] + moved[f"{path}.beta"] if self.affine else result

        return Trace(self.joined(value), pull, push)

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:
        """Torch's own normalization, then scale and shift."""
        gamma, beta = given.get(f"{path}.gamma", self.gamma), given.get(f"{path}.beta", self.beta)
        return gamma * self.standardized_slowly(x) + beta

    def standardized_slowly(self, x: Tensor) -> Tensor:
        """z from torch's own functions."""
        raise NotImplementedError


@register
@dataclass(frozen=True)
class LayerNorm(Normalization):
    """Over all units of each place."""

    name: ClassVar[str] = "layer"

    def shape(self, shape: Shape, path: str) -> Shape:
        """Kept; refuses a single unit, whose deviation from itself is 0."""
        if shape.units < 2:
            raise NetworkError(
                f"step {path}: layer normalization over {shape.units} unit divides by zero; use two or more"
            )
        return shape

    def standardized_slowly(self, x: Tensor) -> Tensor:
        """By torch's layer_norm."""
        return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=0.0)


@register
@dataclass(frozen=True)
class GroupNorm(Normalization):
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

    def split(self, x: Tensor) -> Tensor:
        """Groups apart."""
        return x.unflatten(-1, (self.groups, -1))

    def joined(self, x: Tensor) -> Tensor:
        """All units in a row."""
        return x.flatten(-2)

    def standardized_slowly(self, x: Tensor) -> Tensor:
        """By torch's group_norm, places as a batch."""
        return torch.nn.functional.group_norm(x.flatten(0, -2), self.groups, eps=0.0).view(x.shape)


@register
@dataclass(frozen=True)
class RMSNorm(Normalization):
    """gamma times the units over their root mean square."""

    name: ClassVar[str] = "rms"
    centered: ClassVar[bool] = False

    def standardized_slowly(self, x: Tensor) -> Tensor:
        """By torch's rms_norm."""
        return torch.nn.functional.rms_norm(x, x.shape[-1:], eps=0.0)


@register
@dataclass(frozen=True)
class BatchNorm(Normalization):
    """Every unit over all samples and positions of the batch."""

    name: ClassVar[str] = "batch"
    axes: ClassVar[Axes] = (-3, -2)
    couples_samples: ClassVar[bool] = True

    def shape(self, shape: Shape, path: str) -> Shape:
        """Kept; refuses a single place, whose deviation from itself is 0. Of two the values are +1 and -1."""
        if shape.samples * shape.positions < 2:
            raise NetworkError(f"step {path}: batch normalization over one place divides by zero; use two or more")
        return shape

    def standardized_slowly(self, x: Tensor) -> Tensor:
        """By torch's var_mean over places; its batch_norm refuses eps = 0."""
        variance, mean = torch.var_mean(x, (-3, -2), correction=0, keepdim=True)
        return (x - mean) * variance.rsqrt()
