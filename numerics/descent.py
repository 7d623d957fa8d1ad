"""Gradient descent near a minimum: the largest learning rate at which it does not diverge, found by running it.

Labels are the network's own outputs, so the drawn parameters are a minimum of the loss
(1/2T) sum_t |f(t) - y(t)|^2 and its Hessian there is the Fisher matrix. Nothing here computes an eigenvalue.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from numerics.autograd import Parameters, free_parameters, network_outputs
from numerics.network import RandomNetwork
from numerics.sampling import Draw

# Distance of the start from the minimum, relative to the outputs: small enough that descent is linear to about
# this relative error, far above the rounding of float64.
OFFSET = 1e-6
# Growth that settles it: no mode below the threshold grows at all, and this is still far from nonlinear.
FAR = 100.0
ROUNDING = 1e-3
STEPS = 80
PRECISION = 0.005


def stable_rates(network: RandomNetwork, draw: Draw) -> Tensor:
    """The largest stable learning rate of every drawn network, (S,), to a relative ``PRECISION``; nan where the
    outputs are not finite. Refuses float32, whose rounding hides the start's distance from the minimum.
    """
    if draw.inputs.dtype != torch.float64:
        raise ValueError("dtype = 'float32': the largest stable learning rate needs dtype = 'float64'")
    return torch.stack([_stable_rate(network, draw, seed) for seed in range(draw.inputs.shape[0])])


def _stable_rate(network: RandomNetwork, draw: Draw, seed: int) -> Tensor:
    minimum = {name: p.detach().clone() for name, p in free_parameters(network, draw, seed).items()}

    def outputs(free: Parameters) -> Tensor:
        return network_outputs(network, draw, seed, draw.inputs[seed], free)

    with torch.no_grad():
        labels = outputs(minimum)
    if not bool(labels.isfinite().all()):
        return labels.new_tensor(float("nan"))

    def slopes(free: Parameters) -> tuple[Tensor, Parameters]:
        """Norm of the residual, and the gradient of the loss."""
        leaves = {name: p.requires_grad_() for name, p in free.items()}
        residual = outputs(leaves) - labels
        loss = residual.square().sum() / (2 * len(labels))
        found = torch.autograd.grad(loss, list(leaves.values()))
        return residual.detach().norm(), dict(zip(leaves, found, strict=True))

    # A start in the span of the gradients has a part along every eigenvector that descent can move.
    # The same random direction for every network: what a seed gives may not depend on its place in a batch.
    generator = torch.Generator().manual_seed(0)
    pull = torch.randn(labels.shape, dtype=labels.dtype, generator=generator).to(labels.device)
    leaves = {name: p.clone().requires_grad_() for name, p in minimum.items()}
    found = torch.autograd.grad((outputs(leaves) * pull).sum(), list(leaves.values()))
    length = torch.stack([d.square().sum() for d in found]).sum()
    shift = OFFSET * float(labels.norm() * pull.norm() / length)
    start = {name: p + shift * d for (name, p), d in zip(minimum.items(), found, strict=True)}

    def diverges(rate: float) -> bool:
        """Only a mode beyond the threshold can grow, so the residual grows in the second half or never."""
        free, first, halfway = {name: p.clone() for name, p in start.items()}, None, 0.0
        for step in range(STEPS):
            size, gradient = slopes(free)
            first = size if first is None else first
            if not float(size) < FAR * float(first):
                return True  # before it leaves the neighbourhood of the minimum, where another regime may catch it
            if step == STEPS // 2:
                halfway = float(size)
            free = {name: (p - rate * gradient[name]).detach() for name, p in free.items()}
        last = float(slopes(free)[0])
        # Far below the start only rounding is left, and rounding may grow.
        return not last <= max(halfway, ROUNDING * float(first or 0.0))

    # Curvature along the start bounds the largest from below, so this rate is at or above the threshold's scale.
    high = 2 / _curvature(slopes, minimum, start)
    while not diverges(high):
        high *= 1.5
    low = high / 1.5
    while diverges(low):
        low /= 1.5
    while high / low > 1 + 2 * PRECISION:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if diverges(middle) else (middle, high)
    return labels.new_tensor((low * high) ** 0.5)


def _curvature(
    slopes: Callable[[Parameters], tuple[Tensor, Parameters]], minimum: Parameters, start: Parameters
) -> float:
    """Rayleigh quotient of the Hessian along the start's displacement, from one gradient."""
    gradient = slopes({name: p.clone() for name, p in start.items()})[1]
    along = {name: start[name].detach() - p for name, p in minimum.items()}
    dot = sum(float((gradient[name] * along[name]).sum()) for name in along)
    return dot / sum(float(a.square().sum()) for a in along.values())
