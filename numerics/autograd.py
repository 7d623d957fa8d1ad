"""The slow obvious route to the dual matrix: torch's own layers, torch's own derivatives, the whole Jacobian.

Everything the fast route writes by hand is left to torch here (forward pass, normalization layers,
backward pass), so that agreement of the two means something. Memory is C T P numbers: for small networks.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor

from numerics.network import RandomNetwork
from numerics.sampling import Draw

Parameters = dict[str, Tensor]


def slow_gram(network: RandomNetwork, draw: Draw) -> Tensor:
    """G = J J^T / T of every drawn network from its full Jacobian, shape (S, C*T, C*T), rows k*T + t."""
    samples = draw.inputs.shape[1]
    j = slow_jacobian(network, draw)
    return j @ j.mT / samples


def slow_jacobian(network: RandomNetwork, draw: Draw) -> Tensor:
    """The Jacobian d f_k(t) / d theta by ``torch.func.jacrev``, shape (S, C*T, P); its column order is
    unspecified.
    """
    jacobians = []
    for seed in range(draw.inputs.shape[0]):
        inputs = draw.inputs[seed]

        def outputs(free: Parameters, seed: int = seed, inputs: Tensor = inputs) -> Tensor:
            return network_outputs(network, draw, seed, inputs, free).T.flatten()

        blocks = torch.func.jacrev(outputs)(free_parameters(network, draw, seed))
        jacobians.append(torch.cat([block.flatten(1) for block in blocks.values()], 1))
    return torch.stack(jacobians)


def slow_outputs(network: RandomNetwork, draw: Draw) -> Tensor:
    """The outputs (S,T,C) from torch's own layers."""
    runs = [
        network_outputs(network, draw, seed, draw.inputs[seed], free_parameters(network, draw, seed))
        for seed in range(draw.inputs.shape[0])
    ]
    return torch.stack(runs)


def free_parameters(network: RandomNetwork, draw: Draw, seed: int) -> Parameters:
    """The parameters that are in the Fisher matrix, by name."""
    free = {f"weight{n}": weight[seed] for n, weight in enumerate(draw.weights, 1)}
    if network.biases:
        free |= {f"bias{n}": bias[seed] for n, bias in enumerate(draw.biases, 1)}
    if network.affine:
        like = draw.inputs[seed].new_ones
        if network.hidden != "none":
            for n, width in enumerate(network.widths[1:-1], 1):
                free |= {f"gamma{n}": network.gamma * like(width), f"beta{n}": network.beta * like(width)}
        if network.last in ("batch", "layer"):
            width = network.outputs
            free |= {
                f"gamma{network.depth}": network.last_gamma * like(width),
                f"beta{network.depth}": 0 * like(width),
            }
    return free


def network_outputs(network: RandomNetwork, draw: Draw, seed: int, h: Tensor, free: Parameters) -> Tensor:
    """The outputs (T,C) for inputs h (T,M_0); parameters that are not free are the drawn ones."""
    below = None
    for n in range(1, network.depth + 1):
        last = n == network.depth
        bias = free.get(f"bias{n}", draw.biases[n - 1][seed])
        u = functional.linear(h, free[f"weight{n}"], bias)
        width = u.shape[1]
        gamma = free.get(f"gamma{n}", u.new_full((width,), network.last_gamma if last else network.gamma))
        beta = free.get(f"beta{n}", u.new_full((width,), 0.0 if last else network.beta))
        name = network.last if last else network.hidden
        if last and network.output_definition is not None:
            u = network.output_definition(u, network.last_gamma)
        elif not last and network.definition is not None:
            u = below = network.definition(u, network.gamma, network.beta, below)
        elif name == "mean":
            u = u - u.mean(0)
        elif name == "batch":
            # torch's batch_norm refuses eps = 0.
            variance, mean = torch.var_mean(u, 0, correction=0)
            u = gamma * (u - mean) / variance.sqrt() + beta
        elif name == "layer":
            u = functional.layer_norm(u, (width,), gamma, beta, eps=0.0)
        h = u if last else network.phi.value(u)
    return h
