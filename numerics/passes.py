"""One forward pass and hand-written backward passes, batched over seeds (leading axis S)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from numerics.network import RandomNetwork
from numerics.normalizations import Derivative, normalize
from numerics.sampling import Draw


@dataclass(frozen=True)
class Layer:
    """What the backward pass needs of layer l: inputs h^{l-1} (S,T,M_{l-1}), pre-activations u^l (S,T,M_l).

    Hidden layers also keep the derivative of the normalization (None for the identity) and the slope
    phi'(normalized u^l) (S,T,M_l); both are None for the output layer.
    """

    inputs: Tensor
    u: Tensor
    derivative: Derivative | None
    slope: Tensor | None

    def pull(self, at_y: Tensor) -> Tensor:
        """Signals (S,R,T,M) at the normalized u^l taken back to u^l."""
        return at_y if self.derivative is None else self.derivative.unsqueeze(1)(at_y)


@dataclass(frozen=True)
class Forward:
    """A forward pass: layers[l-1] for l = 1..L, the outputs (S,T,C) and the derivative of the last
    normalization: of a built-in one as ``last``, of an added one as the matrix ``jacobian`` (S, C*T, C*T).
    """

    layers: tuple[Layer, ...]
    outputs: Tensor
    last: Derivative | None
    jacobian: Tensor | None = None


def forward(network: RandomNetwork, draw: Draw) -> Forward:
    """Run the sampled networks on their inputs, batch statistics taken over the T samples."""
    h, layers = draw.inputs, []
    for weight, bias in zip(draw.weights[:-1], draw.biases[:-1], strict=True):
        u = torch.baddbmm(bias.unsqueeze(1), h, weight.mT)
        y, derivative = normalize(network.hidden, u, network.gamma, network.beta)
        layers.append(Layer(h, u, derivative, network.phi.slope(y)))
        h = network.phi.value(y)
    u = torch.baddbmm(draw.biases[-1].unsqueeze(1), h, draw.weights[-1].mT)
    layers.append(Layer(h, u, None, None))
    if network.output_definition is not None:
        outputs, jacobian = network.output_definition.jacobian(u, network.last_gamma)
        return Forward(tuple(layers), outputs, None, jacobian)
    outputs, last = normalize(network.last, u, network.last_gamma, 0.0)
    return Forward(tuple(layers), outputs, last)


@dataclass(frozen=True)
class Signal:
    """Backward signals of hidden layer l for the R = C*T rows (k,t), where samples do not couple.

    at_y: d f_k(t) / d y^l(t), y the normalized pre-activation; at_u: d f_k(t) / d u^l(t); f before the last
    normalization. Shape (S,R,M_l).
    """

    layer: int
    at_y: Tensor
    at_u: Tensor


def backward(draw: Draw, run: Forward) -> Iterator[Signal]:
    """Signals of layers L-1 down to 1 for all C*T rows, k-major, for networks whose samples do not couple."""
    seeds, samples, outputs = run.outputs.shape
    # The top weight's rows are the same for every sample: (S,C,1,M).
    signal = draw.weights[-1].unsqueeze(2)
    for number in range(len(run.layers) - 1, 0, -1):
        layer = run.layers[number - 1]
        assert layer.slope is not None
        at_y = signal * layer.slope.unsqueeze(1)
        at_u = layer.pull(at_y)
        at_y, at_u = (v.reshape(seeds, outputs * samples, -1) for v in (at_y, at_u))
        yield Signal(number, at_y, at_u)
        if number > 1:
            signal = torch.bmm(at_u, draw.weights[number - 1]).view(seeds, outputs, samples, -1)
