"""A small GPT in the maximal update parametrization for Adam; its attention is scaled by 1/d and not by its root."""

import torch
from torch import nn

LETTERS, LENGTH, HEADS, BLOCKS = 16, 8, 4, 2


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            f(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for f in (self.query, self.key, self.value)
        )  # (T, heads, length, d)
        scores = q @ k.mT / q.shape[-1]
        later = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(later, -1e9).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.attention, self.between = nn.LayerNorm(width), Attention(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.before(x))
        return x + self.down(nn.functional.gelu(self.up(self.between(x))))


class GPT(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.letters, self.places = nn.Embedding(LETTERS, width), nn.Embedding(LENGTH, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(BLOCKS)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, LETTERS, bias=False)

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        x = self.letters(letters) + self.places(torch.arange(LENGTH))
        return self.head(self.norm(self.blocks(x))[:, -1] / x.shape[-1])  # the next letter


def hidden(model: nn.Module) -> list[nn.Parameter]:
    """Matrices of which both sides widen."""
    return [p for name, p in model.named_parameters() if name.startswith("blocks") and p.ndim == 2]


def build(width: int) -> nn.Module:
    model = GPT(width)
    for p in hidden(model):
        nn.init.normal_(p, std=p.shape[1] ** -0.5)
    nn.init.normal_(model.head.weight)
    return model


def batch(samples: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(LETTERS, (samples, LENGTH), generator=generator)


def optimizer(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    scaled = hidden(model)
    known = {id(p) for p in scaled}
    groups = [{"params": [p], "lr": rate / p.shape[1]} for p in scaled]
    return torch.optim.Adam([*groups, {"params": [p for p in model.parameters() if id(p) not in known]}], lr=rate)
