"""Gradient descent near a minimum: the largest learning rate at which it does not diverge, found by running it.

Labels are the network's own outputs, so the drawn parameters are a minimum of the loss
(1/2T) sum_t |f(t) - y(t)|^2 and its Hessian there is the Fisher matrix. Nothing here computes an eigenvalue.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fimcheck.numerics.autograd import Parameters, free_names, network_outputs, parameters
from fimcheck.numerics.network import Network
from fimcheck.numerics.sampling import Draw

# Distance of the start from the minimum, relative to the outputs: small enough that descent is linear to about
# this relative error, far above the rounding of float64.
OFFSET = 1e-6
# Growth that settles it: no mode below the threshold grows at all, and this is still far from nonlinear.
FAR = 100.0
ROUNDING = 1e-3
STEPS = 80
# Rates tried are powers of 1 + 2 PRECISION, the same for every network: a result is the middle of two of them and
# so does not hang on the rounding of what it is computed beside.
PRECISION = 0.005
# Numbers of one block of networks: their weights, gradients and two copies stay in the processor's cache.
BLOCK = 2**18


def stable_rates(network: Network, draw: Draw) -> Tensor:
    """The largest stable learning rate of every drawn network, (S,), to a relative ``PRECISION``; nan where the
    outputs are not finite or do not move. Refuses float32, whose rounding hides the start's distance from the minimum.
    """
    if draw.inputs.dtype != torch.float64:
        raise ValueError("dtype = 'float32': the largest stable learning rate needs dtype = 'float64'")
    size = max(1, BLOCK // network.parameters)
    free = free_names(network, draw)
    every = {name: p.split(size) for name, p in parameters(network, draw).items()}
    blocks = enumerate(draw.inputs.split(size))
    return torch.cat([_Descent(network, h, {name: p[i] for name, p in every.items()}, free).rates() for i, h in blocks])


class _Descent:
    """Descent of several networks side by side, each at a learning rate of its own."""

    def __init__(self, network: Network, inputs: Tensor, minimum: Parameters, names: Sequence[str]) -> None:
        self.network, self.inputs, self.minimum = network, inputs, minimum
        self.labels = network_outputs(network, inputs, minimum)
        # A start in the span of the gradients has a part along every eigenvector that descent can move.
        # The same random direction for every network: what a seed gives may not depend on its place in a batch.
        generator = torch.Generator().manual_seed(0)
        pull = torch.randn(self.labels.shape[1:], dtype=inputs.dtype, generator=generator).to(inputs.device)
        free = {name: minimum[name].clone().requires_grad_() for name in names}
        outputs = network_outputs(network, inputs, minimum | free)
        away = dict(zip(free, torch.autograd.grad((outputs * pull).sum(), list(free.values())), strict=True))
        shift = OFFSET * self.labels.flatten(1).norm(dim=1) * pull.norm() / _dot(away, away)
        self.offset = {name: _column(shift, d) * d for name, d in away.items()}

    def rates(self) -> Tensor:
        """The middle of two neighbouring rates of the grid, the lower stable and the upper not, per network."""
        found = torch.full_like(self.labels[:, 0, 0], float("nan"))
        which = self.labels.isfinite().flatten(1).all(1).nonzero().flatten()
        step = math.log1p(2 * PRECISION)
        power = (self._guess(which).log() / step).ceil()
        moves = power.isfinite()  # a dead network has no gradient and no threshold
        which, power = which[moves], power[moves]
        above = self._diverges(which, (power * step).exp())
        towards = torch.where(above, -1.0, 1.0)  # walk along the grid until the other side of the threshold
        while len(which):
            power = power + towards
            crossed = self._diverges(which, (power * step).exp()) != above
            found[which[crossed]] = ((power - towards / 2)[crossed] * step).exp()
            which, power, above, towards = (v[~crossed] for v in (which, power, above, towards))
        return found

    def _guess(self, which: Tensor) -> Tensor:
        """Where the threshold should lie: at a rate beyond it the top mode grows by 2 rate/threshold - 1 a step."""
        # Curvature along the start bounds the largest from below, so this rate lies beyond the threshold.
        free = self._start(which)
        _, gradient = self._slopes(which, self._minimum(which), free)
        offset = {name: d[which] for name, d in self.offset.items()}
        guess = 2 * _dot(offset, offset) / _dot(dict(zip(free, gradient, strict=True)), offset)
        for beyond in (1.2, 1.1):  # nearer to the threshold the top mode has more steps to outgrow the others
            sizes = self._sizes(which, beyond * guess)
            settled = _far(sizes).to(torch.int).argmax(0).clamp(min=1).unsqueeze(0)
            growth = sizes.gather(0, settled) / sizes.gather(0, settled - 1)
            guess = 2 * beyond * guess / (1 + growth[0])
        return guess

    def _diverges(self, which: Tensor, rate: Tensor) -> Tensor:
        """Only a mode beyond the threshold can grow, so the residual grows in the second half or never."""
        sizes = self._sizes(which, rate)
        # Far below the start only rounding is left, and rounding may grow. Once far from the minimum another
        # regime may catch a descent that has diverged.
        grows = ~(sizes[-1] <= torch.maximum(sizes[len(sizes) // 2], ROUNDING * sizes[0]))
        return _far(sizes).any(0) | grows

    def _sizes(self, which: Tensor, rate: Tensor) -> Tensor:
        """Norm of the residual at every step, (steps + 1, networks); ends when all are far from the minimum."""
        minimum, free = self._minimum(which), self._start(which)
        sizes: list[Tensor] = []
        for _ in range(STEPS + 1):
            size, gradient = self._slopes(which, minimum, free)
            sizes.append(size)
            if bool((~(size < FAR * sizes[0])).all()):
                break
            with torch.no_grad():
                for leaf, slope in zip(free.values(), gradient, strict=True):
                    leaf.sub_(slope.mul_(_column(rate, leaf)))
        return torch.stack(sizes)

    def _minimum(self, which: Tensor) -> Parameters:
        return {name: p[which] for name, p in self.minimum.items()}

    def _start(self, which: Tensor) -> Parameters:
        """The free parameters where descent starts."""
        return {name: (self.minimum[name][which] + d[which]).requires_grad_() for name, d in self.offset.items()}

    def _slopes(self, which: Tensor, minimum: Parameters, free: Parameters) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Norm of the residual, and the gradient of the loss, at these free parameters."""
        residual = network_outputs(self.network, self.inputs[which], minimum | free) - self.labels[which]
        loss = residual.square().sum() / (2 * residual.shape[1])
        return residual.detach().flatten(1).norm(dim=1), torch.autograd.grad(loss, list(free.values()))


def _far(sizes: Tensor) -> Tensor:
    return ~(sizes < FAR * sizes[0])


def _column(values: Tensor, like: Tensor) -> Tensor:
    """One value per network, shaped to multiply a parameter."""
    return values.view(-1, *(1,) * (like.dim() - 1))


def _dot(a: Parameters, b: Parameters) -> Tensor:
    """Inner product over all parameters, per network."""
    return torch.stack([(a[name] * b[name]).flatten(1).sum(1) for name in a]).sum(0)
