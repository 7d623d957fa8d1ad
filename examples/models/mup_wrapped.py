"""A network in the maximal update parametrization by the package mup (pip install mup), which brings its own Adam."""

import torch
from mup import MuReadout, set_base_shapes
from torch import nn


def unscaled(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), MuReadout(width, 1)
    )  # fmt: skip


def build(width: int) -> nn.Module:
    model = unscaled(width)
    set_base_shapes(model, unscaled(64), delta=unscaled(128))
    return model


def batch(samples: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(samples, 16, generator=generator)
