"""The paper's network, as anybody would write it in torch."""

import torch
from torch import nn


def build(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


def batch(samples: int, generator: torch.Generator, width: int) -> torch.Tensor:
    return torch.randn(samples, width, generator=generator)
