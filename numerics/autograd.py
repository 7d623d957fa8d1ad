"""The slow obvious route to the dual matrix: torch's own layers, torch's own derivatives, the whole Jacobian.

Everything the fast route writes by hand is left to torch here (forward pass, normalization layers,
backward pass), so that agreement of the two means something. Memory is C T P numbers: for small networks.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor

from numerics.composed import ComposedDraw
from numerics.composition import Composition
from numerics.network import RandomNetwork
from numerics.sampling import Draw

Parameters = dict[str, Tensor]


def slow_gram(network: RandomNetwork | Composition, draw: Draw | ComposedDraw) -> Tensor:
    """G = J J^T / T of every drawn network from its full Jacobian, shape (S, C*T, C*T), rows k*T + t."""
    samples = draw.inputs.shape[1]
    j = slow_jacobian(network, draw)
    return j @ j.mT / samples


def slow_jacobian(network: RandomNetwork | Composition, draw: Draw | ComposedDraw) -> Tensor:
    """The Jacobian d f_k(t) / d theta by ``torch.func.jacrev``, shape (S, C*T, P); its column order is
    unspecified.
    """
    every, free = parameters(network, draw), free_names(network)
    jacobians = []
    for seed in range(draw.inputs.shape[0]):
        one = {name: p[seed : seed + 1] for name, p in every.items()}
        inputs = draw.inputs[seed : seed + 1]

        def outputs(moved: Parameters, one: Parameters = one, inputs: Tensor = inputs) -> Tensor:
            return network_outputs(network, inputs, one | moved)[0].T.flatten()

        blocks = torch.func.jacrev(outputs)({name: one[name] for name in free})
        if isinstance(network, Composition):
            blocks = {name: block * network.rate(name) ** 0.5 for name, block in blocks.items()}
        jacobians.append(torch.cat([block.flatten(1) for block in blocks.values()], 1))
    return torch.stack(jacobians)


def slow_outputs(network: RandomNetwork | Composition, draw: Draw | ComposedDraw) -> Tensor:
    """The outputs (S,T,C) from torch's own layers."""
    return network_outputs(network, draw.inputs, parameters(network, draw))


def parameters(network: RandomNetwork | Composition, draw: Draw | ComposedDraw) -> Parameters:
    """Every parameter of the networks by name, the seeds along the first axis."""
    if isinstance(network, Composition):
        assert isinstance(draw, ComposedDraw)
        return dict(network.trained(draw.numbers))
    assert isinstance(draw, Draw)
    named = {f"weight{n}": weight for n, weight in enumerate(draw.weights, 1)}
    named |= {f"bias{n}": bias for n, bias in enumerate(draw.biases, 1)}
    for n, bias in enumerate(draw.biases, 1):
        last = n == network.depth
        named[f"gamma{n}"] = torch.full_like(bias, network.last_gamma if last else network.gamma)
        named[f"beta{n}"] = torch.full_like(bias, 0.0 if last else network.beta)
    return named


def free_names(network: RandomNetwork | Composition) -> list[str]:
    """Names of the parameters that are in the Fisher matrix."""
    if isinstance(network, Composition):
        return [f"{path}.{name}" for path, dense in network.dense.items() for name in ("W", *"b" * dense.biases)]
    layers = range(1, network.depth + 1)
    names = [f"weight{n}" for n in layers] + ([f"bias{n}" for n in layers] if network.biases else [])
    if network.affine:
        top = network.last in ("batch", "layer")
        scaled = [n for n in layers if (top if n == network.depth else network.hidden != "none")]
        names += [f"{name}{n}" for n in scaled for name in ("gamma", "beta")]
    return names


def network_outputs(network: RandomNetwork | Composition, h: Tensor, named: Parameters) -> Tensor:
    """The outputs (S,T,C) for inputs h (S,T,M_0), or (S,T,N,M_0) of a composed network, and all parameters."""
    if isinstance(network, Composition):
        return torch.func.vmap(lambda one, given: _composed_outputs(network, one, given))(h, named)
    for n in range(1, network.depth + 1):
        last = n == network.depth
        u = h @ named[f"weight{n}"].mT + named[f"bias{n}"].unsqueeze(1)
        gamma, beta = (named[f"{name}{n}"].unsqueeze(1) for name in ("gamma", "beta"))
        name = network.last if last else network.hidden
        added = network.output_definition
        if last and added is not None:
            u = added(u, network.last_gamma)
        elif name == "mean":
            u = u - u.mean(1, keepdim=True)
        elif name == "batch":
            # torch's batch_norm refuses eps = 0.
            variance, mean = torch.var_mean(u, 1, correction=0, keepdim=True)
            u = gamma * (u - mean) / variance.sqrt() + beta
        elif name == "layer":
            u = gamma * functional.layer_norm(u, u.shape[2:], eps=0.0) + beta
        h = u if last else network.phi.value(u)
    return h


def _composed_outputs(network: Composition, h: Tensor, given: Parameters) -> Tensor:
    """The outputs (T,C) of one composed network for inputs h (T,N,M_0)."""
    f = network.steps.slow(h, given, "").squeeze(1)
    if network.output_definition is not None:
        return network.output_definition(f, network.last_gamma)
    if network.last == "layer":
        return network.last_gamma * functional.layer_norm(f, f.shape[1:], eps=0.0)
    if network.last in ("mean", "batch"):
        f = f - f.mean(0, keepdim=True)
    return network.last_gamma * f / f.square().mean(0, keepdim=True).sqrt() if network.last == "batch" else f
