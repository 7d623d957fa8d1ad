"""The works that are timed, and the networks they are timed on: ReLU, no biases; three weight layers, or steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from fimcheck.numerics import Composition, Draw, RandomNetwork, draw
from fimcheck.numerics.composition import Node
from fimcheck.verify.models.model import load


@dataclass(frozen=True)
class Built:
    """A torch model and its inputs."""

    module: nn.Module
    inputs: Tensor


@dataclass(frozen=True)
class Work:
    """What to compute (spectrum: all eigenvalues; moments: m, s and lambda_max; lambda_max) of which
    network.
    """

    wanted: str
    width: int
    samples: int
    outputs: int
    hidden: str = "none"
    last: str = "none"

    steps: tuple[Node, ...] = ()
    positions: int = 1
    model: str = ""
    """A file of examples/models that builds the network."""

    @property
    def convolutional(self) -> bool:
        """Whether it has convolutions."""
        return any(name == "conv" for name, _, _ in self.steps)

    @cached_property
    def network(self) -> RandomNetwork | Composition:
        """The network, biases out of the Fisher matrix."""
        if self.steps:
            return Composition(self.steps, self.width, self.width, self.outputs, self.positions, biases=False)
        widths = (self.width, self.width, self.width, self.outputs)
        return RandomNetwork(widths, "relu", self.hidden, self.last, biases=False)

    def draw(self, dtype: str) -> Draw | Built:
        """One network and its inputs."""
        if self.model:
            return _built(self, getattr(torch, dtype))
        return draw(self.network, self.samples, [1], dtype)

    def title(self) -> str:
        """A line for the table."""
        names = {"spectrum": "full spectrum", "moments": "m, s, lambda_max", "lambda_max": "lambda_max"}
        case = f"hidden {self.hidden}, last {self.last}"
        if self.model:
            case = f"examples/models/{self.model}.py"
        if self.steps:
            case = " ".join(name for name, _, _ in self.steps) + f", {self.positions} positions"
        return f"{names[self.wanted]} (M={self.width}, T={self.samples}, C={self.outputs}), {case}"


def _steps(words: str) -> tuple[Node, ...]:
    """Steps without parameters."""
    return tuple((word, {}, ()) for word in words.split())


BLOCK: Node = ("skip", {}, (_steps("layer relu dense"),))
RESIDUAL = (*_steps("dense"), BLOCK, BLOCK, BLOCK, *_steps("layer relu dense"))


def _built(work: Work, dtype: torch.dtype) -> Built:
    """The model of a file, batch statistics of the batch as in training: running ones stop functorch."""
    model = load(Path(__file__).parent.parent / "examples" / "models" / f"{work.model}.py")
    module, x = model.module(work.width, 1), model.inputs(work.samples, work.width, 1)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.track_running_stats, part.running_mean, part.running_var = False, None, None
            part.num_batches_tracked = None
    return Built(module.to(dtype), x.to(dtype) if x.is_floating_point() else x)


WORKS = {
    "plain-small": Work("spectrum", 512, 100, 2),
    "plain": Work("spectrum", 1000, 200, 10),
    "plain-moments": Work("moments", 1000, 200, 10),
    "plain-top": Work("lambda_max", 2000, 1000, 1),
    "hidden-layer": Work("spectrum", 512, 100, 2, "layer"),
    "last-mean": Work("spectrum", 512, 100, 2, last="mean"),
    "last-batch": Work("spectrum", 512, 100, 2, last="batch"),
    "last-layer": Work("spectrum", 512, 100, 3, last="layer"),
    "hidden-batch": Work("spectrum", 512, 100, 2, "batch"),
    "hidden-batch-top": Work("lambda_max", 1000, 200, 10, "batch"),
    "residual": Work("spectrum", 256, 64, 2, steps=RESIDUAL),
    "residual-positions": Work("spectrum", 256, 64, 2, steps=(*RESIDUAL[:-1], *_steps("pool dense")), positions=8),
    "convolutional": Work(
        "spectrum", 256, 64, 2, steps=_steps("conv relu conv relu conv relu pool dense"), positions=8
    ),
    "resnet": Work("spectrum", 32, 16, 4, model="resnet"),
    "gpt": Work("spectrum", 128, 32, 16, model="mup_gpt"),
}


class CenterOverSamples(nn.Module):
    """Mean subtraction."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


def _normalization(name: str, units: int) -> list[nn.Module]:
    if name == "mean":
        return [CenterOverSamples()]
    if name == "batch":  # torch refuses eps = 0; running statistics stop functorch
        return [nn.BatchNorm1d(units, eps=1e-30, affine=False, track_running_stats=False)]
    return [nn.LayerNorm(units, eps=0.0, elementwise_affine=False)] if name == "layer" else []


class Skip(nn.Sequential):
    """A branch added to its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class LayerNormalization(nn.Module):
    """Over the units. No parameters, and no class that a library looks up in a table: more of them run it."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:], eps=0.0)


class Pool(nn.Module):
    """The mean over the positions: torch's convolutions put them last, its linear layers before the units."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.axis)


def module(work: Work, drawn: Draw | Built) -> nn.Module:
    """The drawn network as the module a peer gets."""
    if isinstance(drawn, Built):
        return drawn.module
    if work.steps:
        weights = {name: value[0] for name, value in drawn.numbers.items()}
        return nn.Sequential(*_layers(work.steps, weights, "", -1 if work.convolutional else 1))
    return _chain(work, drawn)


def inputs(work: Work, drawn: Draw | Built) -> Tensor:
    """The inputs as that module takes them: (T, M_0), (T, N, M_0), or (T, M_0, N) for convolutions."""
    if isinstance(drawn, Built):
        return drawn.inputs
    x = drawn.inputs[0]
    if x.dim() == 2:
        return x
    return x[:, 0] if x.shape[1] == 1 else x.mT.contiguous() if work.convolutional else x


def _layers(steps: tuple[Node, ...], weights: dict[str, Tensor], path: str, positions: int) -> list[nn.Module]:
    """Torch's layers for steps without parameters. positions: their axis."""
    plain = {"relu": nn.ReLU, "layer": LayerNormalization, "pool": lambda: Pool(positions)}
    layers: list[nn.Module] = []
    for number, (name, _, branches) in enumerate(steps, 1):
        here = f"{path}{number}"
        if name in plain:
            layers.append(plain[name]())
        elif name == "skip":
            layers.append(Skip(*_layers(branches[0], weights, f"{here}.branch.", positions)))
        else:
            layers.append(_weighted(name, weights[f"{here}.W"]))
    return layers


def _weighted(name: str, weight: Tensor) -> nn.Module:
    out, into = weight.shape
    if name == "dense":
        layer = nn.Linear(into, out, bias=False)
    else:
        weight = weight.view(out, 3, into // 3).mT
        layer = nn.Conv1d(into // 3, out, 3, padding=1, padding_mode="circular", bias=False)
    layer.weight = nn.Parameter(weight.contiguous())
    return layer


def _chain(work: Work, drawn: Draw) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number, weight in enumerate(drawn.weights, 1):
        out, into = weight.shape[1:]
        linear = nn.Linear(into, out, bias=False).to(weight)
        with torch.no_grad():
            linear.weight.copy_(weight[0])
        last = number == len(drawn.weights)
        layers += [linear, *_normalization(work.last if last else work.hidden, out)]
        layers += [] if last else [nn.ReLU()]
    return nn.Sequential(*layers)
