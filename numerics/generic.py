"""The dual matrix for any added normalization that couples samples: every signal, with no structure assumed.

Row r = (k,t) of the Jacobian has a backward signal delta_r(s,i) at each sample s. A weight matrix contributes
sum_{s,s'} (H H^T)_{ss'} sum_i delta_r(s,i) delta_r'(s',i), a product of features R delta_r with R^T R = H H^T.
Written for generality: hidden batch normalization has a route of its own in ``numerics.coupled``.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from numerics.coupled import matrix_root
from numerics.network import RandomNetwork
from numerics.passes import Forward
from numerics.sampling import Draw


class Signals:
    """Backward signals of networks whose hidden normalization was added, for blocks of rows."""

    def __init__(self, draw: Draw, run: Forward) -> None:
        self.draw, self.run = draw, run

    def of(self, rows: range) -> Iterator[tuple[int, Tensor]]:
        """(l, d f_r / d u^l) for l = L-1 down to 1, f before the last normalization, (S,R,T,M_l)."""
        samples = self.run.outputs.shape[1]
        index = torch.arange(rows.start, rows.stop, device=self.run.outputs.device)
        # The top weights reach the row's own sample only.
        at = torch.nn.functional.one_hot(index % samples, samples).to(self.run.outputs.dtype)
        signal = self.draw.weights[-1][:, index // samples].unsqueeze(2) * at.unsqueeze(-1)
        carried = None
        for number in range(len(self.run.layers) - 1, 0, -1):
            layer = self.run.layers[number - 1]
            assert layer.slope is not None
            at_y = signal * layer.slope.unsqueeze(1)
            at_u, carried = layer.pull(at_y if carried is None else at_y + carried)
            yield number, at_u
            if number > 1:
                signal = at_u @ self.draw.weights[number - 1].unsqueeze(1)


def add_generic_layers(g: Tensor, network: RandomNetwork, draw: Draw, run: Forward, memory: int) -> None:
    """Add the hidden layers' share to g (S, C*T, C*T) in place, before the last normalization and 1/T.

    ``memory`` bounds the features of two blocks of rows, in bytes; more blocks mean that features are computed
    again.
    """
    signals = Signals(draw, run)
    roots = [_root(network, layer.inputs) for layer in run.layers[:-1]]

    def features(rows: range) -> list[Tensor]:
        return [(roots[number - 1].unsqueeze(1) @ at_u).flatten(2) for number, at_u in signals.of(rows)]

    row = draw.inputs.shape[0] * sum(root.shape[1] * m for root, m in zip(roots, network.widths[1:-1], strict=True))
    size = max(1, memory // (4 * row * draw.inputs.element_size()))
    blocks = [range(start, min(start + size, g.shape[1])) for start in range(0, g.shape[1], size)]
    for i, rows in enumerate(blocks):
        own = features(rows)
        for other in blocks[: i + 1]:
            others = own if other == rows else features(other)
            for x, y in zip(own, others, strict=True):
                block = x @ y.mT
                g[:, rows.start : rows.stop, other.start : other.stop] += block
                if other != rows:
                    g[:, other.start : other.stop, rows.start : rows.stop] += block.mT


def _root(network: RandomNetwork, inputs: Tensor) -> Tensor:
    """R with R^T R = H H^T, plus 1 for the biases if they are parameters: (S,q,T)."""
    h = torch.cat([inputs, torch.ones_like(inputs[..., :1])], -1) if network.biases else inputs
    return h.mT if h.shape[2] <= h.shape[1] else matrix_root(h @ h.mT)
