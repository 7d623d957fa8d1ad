"""Order parameters of a finite network, measured from the network alone.

Forward (one sample, index 1; two different samples, index 2): hq^l = h_t . h_s / M_l for l = 0..L-1 and
q^l = u_t . u_s / M_l for l = 1..L, u before its normalization. Backward: tq^l = sum_i delta_i(t)
delta_i(s), delta = d f_k / d u^l, for l = 1..L, f before the last normalization. All are averaged over
samples (or pairs t != s) and classes k. (Karakida, Akaho and Amari 2019, section 2: the macroscopic
variables.)

Under hidden batch normalization the derivative of f_k(t) reaches every sample s, so tq^l does not exist.
The same role is played by c_I^l = mean_k sum_{t,s} |delta_kt(s)|^2 / (T-1) and c_1^l = mean_k sum_s
|sum_t delta_kt(s)|^2 / (T-1), l = 1..L-1, which give the layer's share of tr G and of the eigenvalue
along the all-ones direction.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from numerics.coupled import CoupledBackward, pull
from numerics.network import RandomNetwork
from numerics.passes import Forward, backward
from numerics.sampling import Draw

FORWARD_ORDERS = ("hq1", "hq2", "q1", "q2")
BACKWARD_ORDERS = ("tq1", "tq2", "kappa1", "kappa2")
COUPLED_ORDERS = ("c_I", "c_1")


def forward_orders(run: Forward) -> dict[str, Tensor]:
    """hq1, hq2 of shape (S, L), l = 0..L-1; q1, q2 of shape (S, L), l = 1..L."""
    same_h, pair_h = zip(*(_overlaps(layer.inputs) for layer in run.layers), strict=True)
    same_u, pair_u = zip(*(_overlaps(layer.u) for layer in run.layers), strict=True)
    values = {"hq1": same_h, "hq2": pair_h, "q1": same_u, "q2": pair_u}
    return {name: torch.stack(parts, 1) for name, parts in values.items()}


def backward_orders(network: RandomNetwork, draw: Draw, run: Forward) -> dict[str, Tensor]:
    """tq1, tq2 of shape (S, L), l = 1..L; kappa1, kappa2 of shape (S,), for networks whose samples do not
    couple.

    kappa_a = sum_l (alpha_{l-1}/alpha) tq_a^l hq_a^{l-1} with alpha_l = M_l / M_{L-1}: the width M is, by
    convention, that of the last hidden layer.
    """
    outputs, samples = run.outputs.shape[2], run.outputs.shape[1]
    ones = run.outputs.new_ones(run.outputs.shape[0])
    same, pair = [ones], [ones]
    for signal in backward(draw, run):
        units = signal.at_u.shape[-1]
        classes = signal.at_u.view(-1, samples, units)
        values = (units * v.view(-1, outputs).mean(1) for v in _overlaps(classes))
        for parts, value in zip((same, pair), values, strict=True):
            parts.insert(0, value)
    orders = forward_orders(run)
    tq1, tq2 = torch.stack(same, 1), torch.stack(pair, 1)
    into = tq1.new_tensor(network.widths[:-1])
    scale = network.widths[-2] / sum(a * b for a, b in zip(network.widths[:-2], network.widths[1:-1], strict=True))
    return {
        "tq1": tq1,
        "tq2": tq2,
        "kappa1": scale * (tq1 * orders["hq1"] * into).sum(1),
        "kappa2": scale * (tq2 * orders["hq2"] * into).sum(1),
    }


def coupled_orders(draw: Draw, run: Forward) -> dict[str, Tensor]:
    """c_I, c_1 of shape (S, L-1), l = 1..L-1, for networks whose hidden normalization couples the samples."""
    seeds, samples, outputs = run.outputs.shape
    c_i = run.outputs.new_zeros(seeds, len(run.layers) - 1)
    c_1 = torch.zeros_like(c_i)
    source = CoupledBackward(draw, run, samples)
    for k in range(outputs):
        for number, at_u in _signals(source, range(k * samples, (k + 1) * samples)):
            c_i[:, number - 1] += at_u.square().sum((1, 2, 3))
            c_1[:, number - 1] += at_u.sum(3).square().sum((1, 2))
    scale = 1 / (outputs * (samples - 1))
    return {"c_I": scale * c_i, "c_1": scale * c_1}


def _signals(source: CoupledBackward, rows: range) -> Iterator[tuple[int, Tensor]]:
    """(l, d f_r / d u^l) for every hidden layer, (S,M_l,T,R)."""
    for number, at_h in source.below(rows):
        yield number, pull(source.run.layers[number - 1], at_h)
    yield len(source.run.layers) - 1, source.top(rows)


def _overlaps(h: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over samples of |h_t|^2/M and mean over pairs t != s of h_t . h_s/M, for h (B,T,M)."""
    samples, units = h.shape[1:]
    squares = h.square().sum((1, 2))
    total = h.sum(1).square().sum(1)
    return squares / (samples * units), (total - squares) / (units * samples * (samples - 1))
