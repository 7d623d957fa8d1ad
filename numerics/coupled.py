"""The faster route for chains whose every hidden layer is batch normalized: dense, batch, activation.

An output reaches every sample through the batch statistics: row r = (k,t) has a backward signal delta_r(i,s) at each
sample s, and a weight matrix contributes sum_{s,s'} (H H^T)_{ss'} sum_i delta_r(i,s) delta_r'(i,s') to the dual matrix.
Signals have the layout (S, units, samples, rows): a layer is then one product of W^T with an M x (T R) matrix, and what
a unit does to its own signal (slope, normalization, square root of H H^T) is one T x T matrix per unit.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fimcheck.numerics.network import Network
from fimcheck.numerics.normalizations import SAMPLES, Derivative, standardize
from fimcheck.numerics.passes import Forward
from fimcheck.numerics.sampling import Draw
from fimcheck.numerics.steps.elementwise import Elementwise
from fimcheck.numerics.steps.normalize import BatchNorm
from fimcheck.numerics.steps.weights import Dense

# Bytes of backward signals worked on at once, in buffers that are used again and again: fresh memory costs
# more than the arithmetic done in it.
BLOCK = 2**27


PATTERN = (Dense, BatchNorm, Elementwise)


def applies(network: Network) -> bool:
    """Whether the network is such a chain, of one position and the standard parametrization."""
    *hidden, _ = network.steps.steps
    layers = [hidden[i : i + 3] for i in range(0, len(hidden), 3)]
    fits = all(tuple(map(type, layer)) == PATTERN for layer in layers)
    plain = all(dense.param == "standard" and dense.rate == 1 for dense in network.dense.values())
    return bool(layers) and fits and plain and network.positions == 1


@dataclass(frozen=True)
class Layer:
    """Hidden layer l: inputs h^{l-1} (S,T,M_{l-1}), weights, the derivative of its normalization, whether scale and
    shift are parameters, and the slope phi'(normalized u^l) (S,T,M_l).
    """

    inputs: Tensor
    weight: Tensor
    derivative: Derivative
    affine: bool
    slope: Tensor

    @property
    def z(self) -> Tensor:
        """The standardized pre-activations (S,T,M_l)."""
        assert self.derivative.z is not None
        return self.derivative.z

    @property
    def gain(self) -> Tensor:
        """gamma/sd, (S,1,M_l)."""
        assert self.derivative.gain is not None
        return self.derivative.gain

    def pull(self, at_h: Tensor) -> Tensor:
        """d f_r / d u^l from d f_r / d h^l, both (S,M_l,T,R)."""
        return self.derivative.units_first()(at_h * self.slope.mT.unsqueeze(-1))


def hidden_layers(network: Network, drawn: Draw, run: Forward) -> list[Layer]:
    """The hidden layers from the values of their steps."""
    layers, values = [], [run.inputs, *run.trace.inside.values()]
    for i in range(0, len(network.steps.steps) - 1, 3):
        h, u, y = (value.squeeze(2) for value in values[i : i + 3])
        _, batch, phi = network.steps.steps[i : i + 3]
        assert isinstance(batch, BatchNorm)
        assert isinstance(phi, Elementwise)
        _, derivative = standardize(u, SAMPLES, batch.gamma)
        layers.append(Layer(h, drawn.numbers[f"{i + 1}.W"], derivative, batch.affine, phi.phi.slope(y)))
    return layers


class CoupledBackward:
    """Backward signals for blocks of rows, and what all blocks share: buffers, the top layer's Jacobians."""

    def __init__(self, layers: list[Layer], top: Tensor, rows: int) -> None:
        """``top``: the weights of the outputs; ``rows``: the most rows that one block will have."""
        self.layers = layers
        z, self.amplitude = _top_amplitude(layers[-1], top)
        seeds, samples, _ = z.shape
        z = z.mT
        self.jacobian = (z.unsqueeze(-1) * z.unsqueeze(-2)).add_(1).div_(-samples)
        self.jacobian.diagonal(dim1=-2, dim2=-1).add_(1)
        units = max(layer.z.shape[2] for layer in layers)
        self.buffers = [z.new_empty(seeds * units * samples * rows) for _ in range(2)]

    def buffer(self, which: int, *shape: int) -> Tensor:
        """One of the two buffers, in the given shape."""
        return self.buffers[which][: math.prod(shape)].view(shape)

    def top(self, rows: range) -> Tensor:
        """d f_r / d u^{L-1}, (S,M,T,R): a_ri (delta_ts - 1/T - z_ti z_si / T) for r = (k,t); in buffer 0."""
        samples = self.jacobian.shape[2]
        amplitude = self.amplitude[:, rows.start : rows.stop].mT.unsqueeze(2)
        result = self.buffer(0, *self.jacobian.shape[:3], len(rows))
        start = rows.start
        while start < rows.stop:
            stop = min(rows.stop, (start // samples + 1) * samples)  # one class
            part = slice(start - rows.start, stop - rows.start)
            own = self.jacobian[..., start % samples : start % samples + stop - start]
            torch.mul(own, amplitude[..., part], out=result[..., part])
            start = stop
        return result

    def below(self, rows: range) -> Iterator[tuple[int, Tensor]]:
        """(l, d f_r / d h^l) for l = L-2 down to 1, (S,M_l,T,R), in buffer 1; at l = 1 buffer 0 is free."""
        at_u = self.top(rows)
        for number in range(len(self.layers) - 1, 0, -1):
            weight = self.layers[number].weight.mT
            at_h = self.buffer(1, *weight.shape[:2], *at_u.shape[2:])
            torch.bmm(weight, at_u.flatten(2), out=at_h.flatten(2))
            yield number, at_h
            if number > 1:
                at_u = self.layers[number - 1].pull(at_h)


def add_layers(g: Tensor, network: Network, drawn: Draw, run: Forward, memory: int) -> None:
    """Add the hidden layers' share to g (S, C*T, C*T) in place, before the last normalization and 1/T."""
    layers, top = hidden_layers(network, drawn, run), drawn.weights[-1]
    _add_top_layer(g, layers[-1], top)
    if len(layers) == 1:
        return
    blocks, keep = _plan(memory, layers, g.shape[1])
    signals = CoupledBackward(layers, top, len(blocks[0]))
    factors = [_factor(layer) for layer in layers[:-1]]
    for first in range(0, len(blocks), keep):
        kept: dict[range, list[Tensor]] = {}
        for rows in blocks[first : first + keep]:
            own = _features(signals, factors, rows)
            # The features lie in a buffer that the next block will use.
            kept[rows] = [x.clone() for x in own] if len(blocks) > 1 else own
            for other, others in kept.items():
                _add_products(g, rows, other, kept[rows], others)
        for other in blocks[:first]:
            others = _features(signals, factors, other)
            for rows, own in kept.items():
                _add_products(g, rows, other, own, others)


def _add_products(g: Tensor, rows: range, other: range, own: list[Tensor], others: list[Tensor]) -> None:
    """Add sum own^T others to the two blocks of g, or to one, by halves of which one is mirrored."""
    for x, y in zip(own, others, strict=True):
        if other != rows:
            block = torch.bmm(x.mT, y)
            g[:, rows.start : rows.stop, other.start : other.stop] += block
            g[:, other.start : other.stop, rows.start : rows.stop] += block.mT
            continue
        half = len(rows) // 2
        middle = rows.start + half
        g[:, rows.start : middle, rows.start : middle] += torch.bmm(x[:, :, :half].mT, x[:, :, :half])
        lower = torch.bmm(x[:, :, half:].mT, x)
        g[:, middle : rows.stop, rows.start : rows.stop] += lower
        g[:, rows.start : middle, middle : rows.stop] += lower[:, :, :half].mT


def _top_amplitude(layer: Layer, top: Tensor) -> tuple[Tensor, Tensor]:
    """z of layer L-1 (S,T,M), and a_ri = W^L_ki phi'_ti gamma/sd_i (S, C*T, M)."""
    own = (layer.slope * layer.gain).unsqueeze(1)
    return layer.z, (top.unsqueeze(2) * own).flatten(1, 2)


def _add_top_layer(g: Tensor, layer: Layer, top: Tensor) -> None:
    """Layer L-1 in closed form: products of (C T) x M matrices only.

    With K the centered H H^T, y = K z and q_i = z_i^T K z_i / T, unit i contributes to samples (t,t')
    a_ti a_t'i (K_tt' - z_ti y_t'i/T - y_ti z_t'i/T + z_ti q_i z_t'i/T).
    """
    z, a = _top_amplitude(layer, top)
    samples, outputs = z.shape[1], top.shape[1]
    h = layer.inputs - layer.inputs.mean(1, keepdim=True)
    kernel = torch.bmm(h, h.mT)
    y = torch.bmm(kernel, z)
    y = (y - 0.5 * z * (z * y).mean(1, keepdim=True)) / samples
    g += torch.bmm(a, a.mT).mul_(kernel.repeat(1, outputs, outputs))
    cross = torch.bmm(a * z.repeat(1, outputs, 1), (a * y.repeat(1, outputs, 1)).mT)
    g -= cross
    g -= cross.mT
    if layer.affine:
        at_y = (top.unsqueeze(2) * layer.slope.unsqueeze(1)).flatten(1, 2)
        for rows in (at_y, at_y * z.repeat(1, outputs, 1)):
            g += torch.bmm(rows, rows.mT)


def _factor(layer: Layer) -> Tensor:
    """Per unit R_i with R_i^T R_i = (d u_i/d h_i)^T H H^T (d u_i/d h_i): (S,M_l,q,T), q = min(T, M_{l-1}).

    H is centered, which the normalization does anyway; so constants, and biases with them, contribute
    nothing. q is the smaller of two ways to write H H^T as a square: H itself, where R delta is the
    weight gradient of unit i, or the symmetric root of H H^T.
    """
    h = layer.inputs - layer.inputs.mean(1, keepdim=True)
    root = h.mT if h.shape[2] <= h.shape[1] else matrix_root(torch.bmm(h, h.mT))
    z = layer.z.mT
    factor = (z @ root.mT / -h.shape[1]).unsqueeze(-1) * z.unsqueeze(-2)
    unit = layer.slope.mT * layer.gain.mT
    return factor.add_(root.unsqueeze(1)).mul_(unit.unsqueeze(-2))


def matrix_root(kernel: Tensor) -> Tensor:
    """A matrix R with R^T R = kernel; nan where the kernel is not finite, which LAPACK would refuse."""
    finite = kernel.isfinite().all(-1).all(-1)[:, None, None]
    values, vectors = torch.linalg.eigh(kernel.where(finite, 0.0))
    return (vectors * values.clamp(min=0).sqrt().unsqueeze(1)).mT.where(finite, float("nan"))


def _features(signals: CoupledBackward, factors: list[Tensor], rows: range) -> list[Tensor]:
    """Matrices X (S,any,R) such that sum X^T X is the contribution of layers 1..L-2 to these rows."""
    features = []
    for number, at_h in signals.below(rows):
        factor, layer = factors[number - 1].flatten(0, 1), signals.layers[number - 1]
        shape = len(factor), factor.shape[1], len(rows)
        # At the lowest layer the signal above is used up, and its buffer free.
        out = signals.buffer(0, *shape) if number == 1 else factor.new_empty(shape)
        torch.bmm(factor, at_h.flatten(0, 1), out=out)
        features.append(out.view(len(at_h), -1, len(rows)))
        if layer.affine:
            for weight in (layer.slope, layer.slope * layer.z):
                features.append((weight.mT.unsqueeze(2) @ at_h).squeeze(2))
    return features


def _plan(memory: int, layers: list[Layer], rows: int) -> tuple[list[range], int]:
    """Blocks of rows to work on at once, and of how many blocks to keep the features within ``memory`` bytes.

    Features of blocks that are not kept are computed again, once per group of kept ones. The T x T matrices
    per unit come first; if they leave less than a quarter of the memory, the blocks take that quarter.
    """
    seeds, samples, _ = layers[0].z.shape
    hidden = [layer.z.shape[2] for layer in layers]
    unit = seeds * samples * layers[0].z.element_size()
    free = max(memory - unit * samples * sum(hidden), memory // 4)
    kept, working = unit * sum(hidden[:-1]), unit * (2 * max(hidden) + sum(hidden[:-1]))
    size = max(1, min(free // 2, BLOCK) // working)
    keep = max(1, (free - size * working) // (size * kept))
    return [range(start, min(start + size, rows)) for start in range(0, rows, size)], keep
