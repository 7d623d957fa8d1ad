"""Trace, second moment and spectral density of an operator from random products, each with its standard
error.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from numerics.krylov import Operator


@dataclass(frozen=True)
class Estimate:
    """A random estimate: value, standard error, both (S,), and how many products it took."""

    value: Tensor
    error: Tensor
    products: int


def trace(apply: Operator, probes: Tensor) -> Estimate:
    """tr G by XTrace (Epperly, Tropp and Webber 2024): unbiased, exact for rank below the number of probes.

    ``probes`` (S,n,k) are standard normal, k >= 2. Each probe in turn is left out of the range Q of G
    times the others: t_i = tr(Q^T G Q) + p^T G p with p = (I - Q Q^T) omega_i. The value is the mean of
    the t_i, the standard error that of
    their mean, which is an estimate too: the t_i share probes.
    """
    count = probes.shape[2]
    image = apply(probes)
    q, r = torch.linalg.qr(image)
    z = apply(q)
    h = q.mT @ z
    inside = torch.diagonal(h, dim1=1, dim2=2).sum(1)
    pivots = torch.diagonal(r, dim1=1, dim2=2).abs()
    # Rank below k: Q holds the whole range, and leaving out a probe is not defined.
    exact = pivots.amin(1) <= 100 * torch.finfo(r.dtype).eps * pivots.amax(1)
    safe = torch.where(exact[:, None, None], torch.eye(count, dtype=r.dtype, device=r.device), r)
    # Column i: the direction of Q's range that only probe i contributes.
    lone = torch.linalg.inv(safe).mT
    lone = lone / lone.norm(dim=1, keepdim=True)
    w = q.mT @ probes
    w = w - lone * (lone * w).sum(1, keepdim=True)
    outside = ((probes - q @ w) * (image - z @ w)).sum(1)
    t = inside.unsqueeze(1) - (lone * (h @ lone)).sum(1) + outside
    value = torch.where(exact, inside, t.mean(1))
    error = torch.where(exact, torch.zeros_like(inside), t.std(1) / count**0.5)
    return Estimate(value, error, 2 * count)


def second_moment(apply: Operator, probes: Tensor) -> Estimate:
    """tr G^2, as the trace of G applied twice; ``probes`` as for ``trace``."""
    squared = trace(lambda v: apply(apply(v)), probes)
    return Estimate(squared.value, squared.error, 2 * squared.products)


@dataclass(frozen=True)
class SpectralDensity:
    """Stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017): nodes and weights of S x k random measures.

    nodes, weights (S,k,steps): the weights of each of the k probes sum to 1. A probe's measure shares the
    first 2 steps - 1 moments with the spectral measure the probe sees; their mean over probes is an
    unbiased estimate of (1/n) tr f(G) for such polynomials f.
    """

    nodes: Tensor
    weights: Tensor

    def below(self, x: float) -> Estimate:
        """The fraction of eigenvalues that are at most ``x``."""
        return self._mean((self.nodes <= x).to(self.nodes.dtype))

    def moment(self, power: int) -> Estimate:
        """(1/n) tr G^power."""
        return self._mean(self.nodes**power)

    def _mean(self, values: Tensor) -> Estimate:
        each = (values * self.weights).sum(2)
        probes = each.shape[1]
        return Estimate(each.mean(1), each.std(1) / probes**0.5, self.nodes.shape[1] * self.nodes.shape[2])


def spectral_density(apply: Operator, probes: Tensor, steps: int) -> SpectralDensity:
    """The density of eigenvalues from ``steps`` Lanczos steps of each standard normal probe (S,n,k), k >=
    2.
    """
    seeds, n, count = probes.shape
    steps = min(steps, n)
    scale = probes.norm(dim=1, keepdim=True)
    v = probes / scale
    basis = probes.new_zeros(seeds, count, n, steps)
    tridiagonal = probes.new_zeros(seeds, count, steps, steps)
    for step in range(steps):
        basis[..., step] = v.mT
        image = apply(v).mT.unsqueeze(-1)
        overlap = basis.mT @ image
        tridiagonal[:, :, step, step] = overlap[:, :, step, 0]
        if step == steps - 1:
            break
        for _ in range(2):  # full reorthogonalization, twice for rounding
            image = image - basis @ (basis.mT @ image)
        size = image.norm(dim=2, keepdim=True)
        # An invariant subspace ends the recurrence: what is left is rounding.
        size = size.where(size > 1e3 * torch.finfo(size.dtype).eps * overlap.norm(dim=2, keepdim=True), 0.0)
        tridiagonal[:, :, step, step + 1] = tridiagonal[:, :, step + 1, step] = size[..., 0, 0]
        v = torch.where(size > 0, image / size, 0.0)[..., 0].mT
    nodes, vectors = torch.linalg.eigh(tridiagonal)
    return SpectralDensity(nodes, vectors[:, :, 0].square())
