"""The slow obvious route to the dual matrix: torch's own layers, torch's own derivatives, the whole Jacobian.

Everything the fast route writes by hand is left to torch here (forward pass, normalization layers,
backward pass), so that agreement of the two means something. Memory is C T P numbers: for small networks.
"""

import torch
from torch import Tensor

from fimcheck.numerics.network import Network
from fimcheck.numerics.sampling import Draw

Parameters = dict[str, Tensor]


def slow_gram(network: Network, draw: Draw) -> Tensor:
    """G = J J^T / T of every drawn network from its full Jacobian, shape (S, C*T, C*T), rows k*T + t."""
    samples = draw.inputs.shape[1]
    j = slow_jacobian(network, draw)
    return j @ j.mT / samples


def slow_jacobian(network: Network, draw: Draw) -> Tensor:
    """The Jacobian d f_k(t) / d theta by ``torch.func.jacrev``, shape (S, C*T, P); its column order is
    unspecified.
    """
    every, free = parameters(network, draw), free_names(network, draw)
    jacobians = []
    for seed in range(draw.inputs.shape[0]):
        one = {name: p[seed : seed + 1] for name, p in every.items()}
        inputs = draw.inputs[seed : seed + 1]

        def outputs(moved: Parameters, one: Parameters = one, inputs: Tensor = inputs) -> Tensor:
            return network_outputs(network, inputs, one | moved)[0].T.flatten()

        blocks = torch.func.jacrev(outputs)({name: one[name] for name in free})
        jacobians.append(torch.cat([b.flatten(1) * network.rate(name) ** 0.5 for name, b in blocks.items()], 1))
    return torch.stack(jacobians)


def slow_outputs(network: Network, draw: Draw) -> Tensor:
    """The outputs (S,T,C) from torch's own layers."""
    return network_outputs(network, draw.inputs, parameters(network, draw))


def parameters(network: Network, draw: Draw) -> Parameters:
    """Every parameter of the networks by name, the seeds along the first axis, and masks."""
    return {**draw.numbers, **dict(network.trained(draw.numbers))}


def free_names(network: Network, draw: Draw) -> list[str]:
    """Names of the parameters that are in the Fisher matrix."""
    return [name for name, _ in network.trained(draw.numbers) if network.free(name)]


def network_outputs(network: Network, inputs: Tensor, named: Parameters) -> Tensor:
    """The outputs (S,T,C) for inputs (S,T,M_0) or (S,T,N,M_0) and all parameters."""
    return torch.func.vmap(lambda one, given: _outputs(network, one, given))(inputs, named)


def _outputs(network: Network, inputs: Tensor, given: Parameters) -> Tensor:
    """The outputs (T,C) of one network."""
    x = inputs.view(len(inputs), network.positions, network.inputs)
    raw = network.steps.slow(x, given, "").squeeze(1)
    return network.output.slow(raw, given.get("last.gamma", network.last_gamma), given.get("last.beta", 0.0))
