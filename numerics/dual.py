"""The dual matrix G = J J^T / T of the Fisher matrix, exactly, without ever forming the Jacobian J.

F = (1/T) sum_{t,k} grad f_k(t) grad f_k(t)^T has the nonzero eigenvalues of G (Karakida, Akaho and Amari
2019, dual matrix F*). G is (C T) x (C T), rows k-major: index k*T + t. A weight matrix contributes (Delta
Delta^T) o (H H^T), Delta its backward signals and H its inputs; the last normalization multiplies from
both sides.
"""

import torch
from torch import Tensor

from fimcheck.numerics import coupled
from fimcheck.numerics.memory import MEMORY
from fimcheck.numerics.network import Network
from fimcheck.numerics.passes import Forward, backward, forward, top_rows
from fimcheck.numerics.projection import project
from fimcheck.numerics.sampling import Draw
from fimcheck.numerics.steps.step import Meeting


def gram(network: Network, drawn: Draw, memory: int = MEMORY) -> Tensor:
    """G of every drawn network, shape (S, C*T, C*T).

    ``memory`` bounds, in bytes, the backward signals of a chain under hidden batch normalization and the T x T matrices
    per hidden unit that they need; those matrices are made even if they alone take more. Less memory costs
    recomputation and changes no result.

    >>> net = numerics.RandomNetwork((8, 16, 16, 2), "relu")
    >>> numerics.gram(net, numerics.draw(net, 5, [0])).shape
    torch.Size([1, 10, 10])
    """
    return gram_of(network, drawn, forward(network, drawn), memory)


def gram_of(network: Network, drawn: Draw, run: Forward, memory: int = MEMORY) -> Tensor:
    """``gram`` for a forward pass that is at hand."""
    g = raw_gram(network, drawn, run, memory)
    seeds, classes, samples = g.shape[:3]
    if run.last is not None:
        project(g, run.last)
    if network.scaled_outputs:
        _add_last_affine(g, run)
    g = g.view(seeds, classes * samples, -1)
    if run.jacobian is not None:
        g = run.jacobian @ g @ run.jacobian.mT
    return g.div_(samples)


def raw_gram(network: Network, drawn: Draw, run: Forward, memory: int = MEMORY) -> Tensor:
    """J J^T of the raw outputs, (S, C, T, C, T)."""
    seeds, samples, classes = run.raw.shape
    g = run.raw.new_zeros(seeds, classes, samples, classes, samples)
    flat = g.view(seeds, classes * samples, -1)

    def add(met: Meeting) -> None:
        if met.rows.spread:
            _add_spread(flat, met)
        else:
            _add_blocks(g, met)

    if coupled.applies(network):
        coupled.add_layers(flat, network, drawn, run, memory)
        *_, x, _ = run.trace.inside.values()
        (path, top), *_ = reversed(network.dense.items())
        add(Meeting(path, x, top_rows(run), 1.0, float(top.biases)))
    else:
        backward(run, add)
    for k in range(classes):
        for j in range(k):
            g[:, k, :, j] = g[:, j, :, k].mT
    return g


def kernel(met: Meeting) -> Tensor:
    """What the places of two samples share through the inputs of a step: (S, T N, T N)."""
    x = met.inputs.flatten(1, 2)
    shared = torch.bmm(x, x.mT)
    shared = shared if met.weight == 1 else shared.mul_(met.weight)
    return shared.add_(met.bias) if met.bias else shared


def _add_blocks(g: Tensor, met: Meeting) -> None:
    """Class blocks (k, j >= k): overlaps of signals times overlaps of inputs, summed over positions."""
    seeds, classes, samples = g.shape[:3]
    positions = met.rows.values.shape[3]
    rows, shared = met.rows.values.flatten(2, 3), kernel(met).unsqueeze(2)
    for k in range(classes):
        strip = rows[:, k] @ rows[:, k:].flatten(1, 2).mT
        strip = strip.view(seeds, -1, positions, classes - k, strip.shape[1] // positions, positions)
        if positions == 1:
            g[:, k, :, k:].addcmul_(strip[:, :, 0, :, :, 0], shared)
        else:
            g[:, k, :, k:] += (strip * shared.view(seeds, samples, positions, 1, samples, positions)).sum((2, 5))


def _add_spread(g: Tensor, met: Meeting) -> None:
    """Rows that reach all samples: products of the weights' own gradients, or of signals with shared inputs."""
    rows, x = met.rows.values.flatten(2, 3), met.inputs.flatten(1, 2)
    places, fan_in = x.shape[1:]
    if fan_in + 1 < places:  # the gradients themselves are the smaller
        x = torch.cat([x * met.weight**0.5, torch.full_like(x[..., :1], met.bias**0.5)], -1)
        features = (x.mT.unsqueeze(1) @ rows).flatten(2)
        g += features @ features.mT
        return
    g += (kernel(met).unsqueeze(1) @ rows).flatten(2) @ rows.flatten(2).mT


def _add_last_affine(g: Tensor, run: Forward) -> None:
    """The last scale and shift of class k reach class k only: d f_k(t) = z_k(t) d gamma_k + d beta_k."""
    assert run.last is not None
    assert run.last.z is not None
    for k in range(g.shape[1]):
        z = run.last.z[:, :, k]
        g[:, k, :, k] += z.unsqueeze(2) * z.unsqueeze(1) + 1
