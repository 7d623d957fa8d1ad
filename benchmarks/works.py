"""The works that are timed, and the networks they are timed on: ReLU, three weight layers, no biases."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from numerics import Draw, RandomNetwork, draw


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

    @property
    def network(self) -> RandomNetwork:
        """The network, biases out of the Fisher matrix."""
        widths = (self.width, self.width, self.width, self.outputs)
        return RandomNetwork(widths, "relu", self.hidden, self.last, biases=False)

    def draw(self, dtype: str) -> Draw:
        """One network and its inputs."""
        return draw(self.network, self.samples, [1], dtype)

    def title(self) -> str:
        """A line for the table."""
        names = {"spectrum": "full spectrum", "moments": "m, s, lambda_max", "lambda_max": "lambda_max"}
        case = f"hidden {self.hidden}, last {self.last}"
        return f"{names[self.wanted]} (M={self.width}, T={self.samples}, C={self.outputs}), {case}"


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


def module(work: Work, drawn: Draw) -> nn.Sequential:
    """The drawn network as the module a peer gets."""
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
