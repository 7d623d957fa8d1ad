"""Quantities read off the dual matrix, computing no more of its spectrum than they need."""

from collections.abc import Set as AbstractSet

import torch
from torch import Tensor

from fimcheck.numerics.cost import lanczos_products
from fimcheck.numerics.krylov import default_tolerance, top_eigenvalues
from fimcheck.numerics.network import Network

TOP = frozenset({"lambda_max", "lambda_top", "gap"})
FRACTIONS = tuple(k / 10 for k in range(2, 10))
"""Shares of the eigenvalues below the measured quantiles."""


def eigenvalue_quantities(network: Network, g: Tensor, wanted: AbstractSet[str]) -> dict[str, Tensor]:
    """The wanted ones among m, s, lambda_max, lambda_top, gap, lambda_1, lambda_perp of G (S, C*T, C*T), each (S,),
    and quantiles (S, 8).
    """
    outputs = network.outputs
    samples = g.shape[1] // outputs
    trace = torch.diagonal(g, dim1=1, dim2=2).sum(1)
    values = {"m": trace / network.parameters}
    if "s" in wanted:
        values["s"] = g.flatten(1).square().sum(1) / network.parameters
    if wanted & {"lambda_1", "lambda_perp"}:
        blocks = torch.diagonal(g.view(-1, outputs, samples, outputs, samples), dim1=1, dim2=3)
        lambda_1 = blocks.sum((1, 2, 3)) / (samples * outputs)
        values["lambda_1"] = lambda_1
        values["lambda_perp"] = (trace / outputs - lambda_1) / (samples - network.output.removed)
    if wanted & TOP:
        values |= top_quantities(largest(g, top_count(wanted, outputs)), outputs)
    if "quantiles" in wanted:
        values["quantiles"] = quantiles(g, outputs * network.output.removed)
    return {name: values[name] for name in wanted}


def quantiles(g: Tensor, removed: int) -> Tensor:
    """Where `FRACTIONS` of the eigenvalues of G (S,n,n) lie below, without the ``removed`` smallest, which are zero.

    The k-th of n counts as the quantile (k - 1/2)/n, with straight lines between; nan where G is not finite.
    """
    g, finite = _guarded(g)
    found = torch.linalg.eigvalsh(g)[:, removed:]
    n = found.shape[1]
    place = (torch.tensor(FRACTIONS, dtype=g.dtype, device=g.device) * n - 0.5).clamp(0, n - 1)
    low = place.floor().long().clamp(max=max(n - 2, 0))
    high = (low + 1).clamp(max=n - 1)
    between = found[:, low] + (place - low) * (found[:, high] - found[:, low])
    return between.where(finite[:, None], float("nan"))


def top_count(wanted: AbstractSet[str], outputs: int) -> int:
    """How many of the largest eigenvalues the wanted quantities need."""
    return max(outputs if "lambda_top" in wanted else 1, 2 if "gap" in wanted else 1)


def top_quantities(top: Tensor, outputs: int) -> dict[str, Tensor]:
    """lambda_max, lambda_top and gap from the largest eigenvalues (S,count), descending; see `top_count`."""
    gap = {"gap": top[:, 0] - top[:, 1]} if top.shape[1] > 1 else {}
    return {"lambda_max": top[:, 0], "lambda_top": top[:, :outputs].mean(1)} | gap


def random_block(like: Tensor, n: int, count: int) -> Tensor:
    """A fixed standard normal block (S,n,count) to start Lanczos from, S, dtype and device those of
    ``like``.
    """
    generator = torch.Generator().manual_seed(0)
    block = torch.randn(n, count, generator=generator, dtype=torch.float64)
    return block.to(device=like.device, dtype=like.dtype).expand(len(like), -1, -1)


def largest(g: Tensor, count: int) -> Tensor:
    """The ``count`` largest eigenvalues of symmetric G (S,n,n), descending, (S,count); nan where G is not
    finite.

    By block Lanczos where ``numerics.cost`` expects it to be cheaper and it converges, by LAPACK otherwise.
    """
    g, finite = _guarded(g)
    values, budget = None, lanczos_products(g.shape[1], count)
    if count < budget < g.shape[1]:
        start = random_block(g, g.shape[1], count)
        found = top_eigenvalues(lambda v: g @ v, start, count, default_tolerance(g.dtype), budget)
        values = found.values if found.converged else None
    if values is None:
        values = torch.linalg.eigvalsh(g).flip(1)[:, :count]
    return values.where(finite[:, None], float("nan"))


def _guarded(g: Tensor) -> tuple[Tensor, Tensor]:
    """The matrices, zero where they are not finite (LAPACK would fail on the whole batch), and which are finite."""
    finite = g.isfinite().flatten(1).all(1)
    return (g if bool(finite.all()) else g.where(finite[:, None, None], 0.0)), finite
