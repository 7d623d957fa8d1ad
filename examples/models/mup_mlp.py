"""A network in the maximal update parametrization for Adam: readout times 1/width, hidden rates over the width."""

import torch
from torch import nn


class Readout(nn.Linear):
    """Weights of size one, multiplied by 1/width."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) / self.in_features


def build(width: int) -> nn.Module:
    first, hidden, last = nn.Linear(32, width), nn.Linear(width, width), Readout(width, 4)
    nn.init.normal_(first.weight, std=32**-0.5)
    nn.init.normal_(hidden.weight, std=width**-0.5)
    nn.init.normal_(last.weight)
    return nn.Sequential(first, nn.ReLU(), hidden, nn.ReLU(), last)


def batch(samples: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(samples, 32, generator=generator)


def optimizer(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    hidden = model[2].weight
    others = [p for p in model.parameters() if p is not hidden]
    return torch.optim.Adam([{"params": [hidden], "lr": rate / hidden.shape[1]}, {"params": others}], lr=rate)
