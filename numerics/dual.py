"""The dual matrix G = J J^T / T of the Fisher matrix, exactly, without ever forming the Jacobian J.

F = (1/T) sum_{t,k} grad f_k(t) grad f_k(t)^T has the nonzero eigenvalues of G (Karakida, Akaho and Amari
2019, dual matrix F*). G is (C T) x (C T), rows k-major: index k*T + t. A weight matrix contributes (Delta
Delta^T) o (H H^T), Delta its backward signals and H its inputs; the last normalization multiplies from
both sides.
"""

import torch
from torch import Tensor

from numerics.coupled import add_coupled_layers
from numerics.memory import MEMORY
from numerics.network import RandomNetwork
from numerics.passes import Forward, Layer, backward, forward
from numerics.projection import project
from numerics.sampling import Draw


def gram(network: RandomNetwork, draw: Draw, memory: int = MEMORY) -> Tensor:
    """G of every drawn network, shape (S, C*T, C*T).

    ``memory`` bounds, in bytes, the backward signals under hidden batch normalization and the T x T matrices
    per hidden unit that they need; those matrices are made even if they alone take more. Less memory costs
    recomputation and changes no result.
    """
    return gram_of(network, draw, forward(network, draw), memory)


def gram_of(network: RandomNetwork, draw: Draw, run: Forward, memory: int = MEMORY) -> Tensor:
    """``gram`` for a forward pass that is at hand."""
    seeds, samples, outputs = run.outputs.shape
    g = run.outputs.new_zeros(seeds, outputs, samples, outputs, samples)
    if network.hidden == "batch":
        add_coupled_layers(g.view(seeds, outputs * samples, -1), network, draw, run, memory)
    else:
        _add_plain_layers(g, network, draw, run)
    _add_last_layer(g, network, run)
    if run.last is not None:
        project(g, run.last)
    _add_last_affine(g, network, run)
    g = g.view(seeds, outputs * samples, -1)
    if run.jacobian is not None:
        g = run.jacobian @ g @ run.jacobian.mT
    return g.div_(samples)


def input_gram(network: RandomNetwork, layer: Layer) -> Tensor:
    """H H^T, plus 1 for the biases if they are parameters: (S,T,T)."""
    kernel = torch.bmm(layer.inputs, layer.inputs.mT)
    return kernel.add_(1.0) if network.biases else kernel


def _add_plain_layers(g: Tensor, network: RandomNetwork, draw: Draw, run: Forward) -> None:
    seeds, samples, outputs = run.outputs.shape
    for signal in backward(draw, run):
        layer = run.layers[signal.layer - 1]
        kernel = input_gram(network, layer).unsqueeze(2)
        _add_strips(g, signal.at_u, kernel)
        if network.affine and layer.derivative is not None:
            _add_strips(g, signal.at_y, None)
            assert layer.derivative.z is not None
            z = layer.derivative.z.unsqueeze(1)
            _add_strips(g, (signal.at_y.view(seeds, outputs, samples, -1) * z).flatten(1, 2), None)
    for k in range(outputs):
        for j in range(k):
            g[:, k, :, j] = g[:, j, :, k].mT


def _add_strips(g: Tensor, rows: Tensor, kernel: Tensor | None) -> None:
    """Add rows rows^T, times ``kernel`` (S,T,1,T) in every class block, to the class blocks (k, j >= k)
    of g.
    """
    seeds, outputs, samples = g.shape[:3]
    for k in range(outputs):
        own = rows[:, k * samples : (k + 1) * samples]
        strip = torch.bmm(own, rows[:, k * samples :].mT).view(seeds, samples, outputs - k, samples)
        if kernel is None:
            g[:, k, :, k:] += strip
        else:
            g[:, k, :, k:].addcmul_(strip, kernel)


def _add_last_layer(g: Tensor, network: RandomNetwork, run: Forward) -> None:
    """The last weight matrix reaches its own class only."""
    kernel = input_gram(network, run.layers[-1])
    for k in range(g.shape[1]):
        g[:, k, :, k] += kernel


def _add_last_affine(g: Tensor, network: RandomNetwork, run: Forward) -> None:
    """The last scale and shift of class k reach class k only: d f_k(t) = z_k(t) d gamma_k + d beta_k."""
    if not network.affine or run.last is None or run.last.z is None:
        return
    for k in range(g.shape[1]):
        z = run.last.z[:, :, k]
        g[:, k, :, k] += z.unsqueeze(2) * z.unsqueeze(1) + 1
