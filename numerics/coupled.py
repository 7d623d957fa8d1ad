"""Contributions to the dual matrix under hidden batch normalization, where an output reaches every sample.

Row r = (k,t) then has a backward signal delta_r(s,i) at each sample s, and a weight matrix contributes
sum_{s,s'} (H H^T)_{ss'} delta_r(s) . delta_r'(s').
"""

import torch
from torch import Tensor

from numerics.network import RandomNetwork
from numerics.passes import Forward, Layer, coupled_backward
from numerics.sampling import Draw


def add_coupled_layers(g: Tensor, network: RandomNetwork, draw: Draw, run: Forward, memory: int) -> None:
    """Add the hidden layers' contributions to g (S, C*T, C*T) in place, before the last normalization,
    without 1/T.
    """
    _add_top_layer(g, network, draw, run)
    if len(run.layers) < 3:
        return
    blocks = torch.arange(g.shape[1], device=g.device).split(_rows_within(memory, network, run))
    factors = [_factor(layer) for layer in run.layers[:-2]]
    for number, rows in enumerate(blocks):
        own = _features(network, draw, run, factors, rows)
        for other_rows in blocks[: number + 1]:
            same = other_rows is rows
            other = own if same else _features(network, draw, run, factors, other_rows)
            block = torch.bmm(torch.cat(own, 2), torch.cat(other, 2).mT)
            first, second = slice(rows[0], rows[-1] + 1), slice(other_rows[0], other_rows[-1] + 1)
            g[:, first, second] += block
            if not same:
                g[:, second, first] += block.mT


def _add_top_layer(g: Tensor, network: RandomNetwork, draw: Draw, run: Forward) -> None:
    """Layer L-1 in closed form: its signal is delta_r(s,i) = a_r,i (delta_ts - 1/T - z_ti z_si / T) for r
    = (k,t).

    With K the centered H H^T, y = K z and q_i = z_i^T K z_i / T, the contribution of unit i to samples
    (t,t') is a_ti a_t'i (K_tt' - z_ti y_t'i/T - y_ti z_t'i/T + z_ti q_i z_t'i/T): products of (C T) x M
    matrices only.
    """
    seeds, samples, outputs = run.outputs.shape
    layer = run.layers[-2]
    assert layer.slope is not None
    assert layer.derivative is not None
    derivative = layer.derivative
    assert derivative.z is not None
    assert derivative.gain is not None
    z = derivative.z
    h = layer.inputs - layer.inputs.mean(1, keepdim=True)
    kernel = torch.bmm(h, h.mT)
    y = torch.bmm(kernel, z)
    y = (y - 0.5 * z * (z * y).mean(1, keepdim=True)) / samples
    at_y = draw.weights[-1].unsqueeze(2) * layer.slope.unsqueeze(1)
    a = at_y * derivative.gain.unsqueeze(1)
    rows = a.flatten(1, 2)
    g.view(seeds, outputs, samples, outputs, samples).add_(
        torch.bmm(rows, rows.mT).view(seeds, outputs, samples, outputs, samples) * kernel[:, None, :, None]
    )
    cross = torch.bmm((a * z.unsqueeze(1)).flatten(1, 2), (a * y.unsqueeze(1)).flatten(1, 2).mT)
    g -= cross
    g -= cross.mT
    if network.affine:
        for rows in (at_y.flatten(1, 2), (at_y * z.unsqueeze(1)).flatten(1, 2)):
            g += torch.bmm(rows, rows.mT)


def _factor(layer: Layer) -> Tensor:
    """Q with Q Q^T = H H^T on signals that sum to zero over samples, with as few columns as can be:
    (S,T,min(T,M)).

    Batch normalization removes constants over samples, so the inputs may be centered and biases
    contribute nothing.
    """
    h = layer.inputs - layer.inputs.mean(1, keepdim=True)
    if h.shape[2] <= h.shape[1]:
        return h
    kernel = torch.bmm(h, h.mT)
    finite = kernel.isfinite().all(-1).all(-1)
    values, vectors = torch.linalg.eigh(kernel.where(finite[:, None, None], 0.0))
    factor = vectors * values.clamp(min=0).sqrt().unsqueeze(1)
    return factor.where(finite[:, None, None], float("nan"))


def _features(
    network: RandomNetwork, draw: Draw, run: Forward, factors: list[Tensor], rows: Tensor
) -> list[Tensor]:
    """Matrices X of shape (S, rows, any) such that sum X X^T is the contribution of layers 1..L-2 to
    these rows.
    """
    features = []
    for signal in coupled_backward(draw, run, rows):
        if signal.layer == len(run.layers) - 1:
            continue
        # (S, rows*M, T) @ (S, T, Q): the weight gradient itself, or its square root's share when M > T.
        features.append((factors[signal.layer - 1].mT.unsqueeze(1) @ signal.at_u).flatten(2))
        if network.affine:
            layer = run.layers[signal.layer - 1]
            assert layer.derivative is not None
            assert layer.derivative.z is not None
            features.append(signal.at_y.sum(2))
            features.append((signal.at_y * layer.derivative.z.unsqueeze(1)).sum(2))
    return features


def _rows_within(memory: int, network: RandomNetwork, run: Forward) -> int:
    """How many rows keep two blocks' features and the signals of one within ``memory`` bytes; at least
    one.
    """
    seeds, samples, _ = run.outputs.shape
    hidden = network.widths[1:-1]
    numbers = seeds * samples * (2 * sum(hidden[:-1]) + 4 * max(hidden))
    return max(1, memory // (numbers * run.outputs.element_size()))
