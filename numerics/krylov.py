"""Spectra of symmetric positive operators that are known only through products.

An operator is a function that maps a block (S, n, b) to G times it, for S matrices at once (S = 1 for
most uses).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Operator = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TopEigenvalues:
    """The largest eigenvalues of S operators, descending.

    values (S,count): Ritz values, which never exceed the eigenvalue of the same rank by more than rounding.
    bounds (S,count): residual norms |G x - value x|; an eigenvalue lies within this distance of the value.
    products: how many vectors each operator was applied to. converged: every bound within the tolerance.
    """

    values: Tensor
    bounds: Tensor
    products: int
    converged: bool


def default_tolerance(dtype: torch.dtype) -> float:
    """The relative residual asked for by default: 1e-10 in float64, 1e-5 in float32."""
    return 1e-10 if dtype == torch.float64 else 1e-5


def top_eigenvalues(
    apply: Operator, start: Tensor, count: int, tolerance: float, max_products: int = 600
) -> TopEigenvalues:
    """The ``count`` largest eigenvalues by block Lanczos with full reorthogonalization (Golub and
    Underwood 1977).

    ``start`` (S,n,b) is a random block with b >= count. Stops when every residual norm is below
    ``tolerance`` times the largest value, when the Krylov space is the whole space or after
    ``max_products`` products. Residuals are computed, not estimated from the recurrence, so the bounds
    hold whatever rounding does to the basis.
    """
    seeds, n, width = start.shape
    limit = min(n, max_products)
    basis = start.new_empty(seeds, n, limit)
    image = torch.empty_like(basis)
    projected = start.new_zeros(seeds, limit, limit)
    block, used, check = torch.linalg.qr(start)[0], 0, 0
    while True:
        block = block[:, :, : limit - used]
        stop = used + block.shape[2]
        basis[:, :, used:stop] = block
        image[:, :, used:stop] = product = apply(block)
        column = basis[:, :, :stop].mT @ product
        projected[:, :stop, used:stop] = column
        projected[:, used:stop, :stop] = column.mT
        used = stop
        check -= 1
        if used >= count and (check <= 0 or used == limit):
            values, vectors = torch.linalg.eigh(projected[:, :used, :used])
            values, vectors = values[:, -count:].flip(1), vectors[:, :, -count:].flip(2)
            residual = image[:, :, :used] @ vectors - (basis[:, :, :used] @ vectors) * values.unsqueeze(1)
            bounds = residual.norm(dim=1)
            converged = bool((bounds <= tolerance * values[:, :1].abs()).all())
            if converged or used == limit:
                return TopEigenvalues(values, bounds, used, converged)
            check = max(1, used // (8 * width))
        block = _orthonormal(product, basis[:, :, :used])


def _orthonormal(block: Tensor, basis: Tensor) -> Tensor:
    """An orthonormal block that spans ``block`` without its part in ``basis``; twice, for rounding."""
    for _ in range(2):
        block = torch.linalg.qr(block - basis @ (basis.mT @ block))[0]
    return block
