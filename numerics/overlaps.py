"""Overlaps of a network, measured from the network alone: one route to where a theory departs.

Pairs of places are of one of three relations: the same place, its mate (another position of the sample), any place of
an other sample. Without positions there are no mates.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fimcheck.numerics.dual import raw_gram
from fimcheck.numerics.network import Network
from fimcheck.numerics.passes import Forward, backward
from fimcheck.numerics.sampling import Draw
from fimcheck.numerics.steps.attention import Attention
from fimcheck.numerics.steps.combine import Chain
from fimcheck.numerics.steps.step import Meeting, Shape, Step

OVERLAPS = ("K", "mean", "tq", "Th")


def relations(network: Network) -> tuple[str, ...]:
    """The relations that exist at the inputs."""
    return ("same", "other") if network.positions == 1 else ("same", "mate", "other")


def forward_overlaps(network: Network, run: Forward) -> dict[str, Tensor]:
    """K (S, steps, relations): (1/n) sum_i x_i(a) x_i(b) after every step, averaged over the pairs of places; where one
    position is left mate repeats same. mean (S, steps): (1/n) sum_i x_i(a).
    """
    K, means = [], []
    for x in run.trace.inside.values():
        units = x.shape[-1]
        same, mate, other = (form / units for form in forms(x, x))
        T, N = x.shape[1:3]
        same = same / (T * N)
        mate = mate / (T * N * (N - 1)) if N > 1 else same
        other = other / (T * (T - 1) * N**2)
        K.append(torch.stack((same, mate, other) if network.positions > 1 else (same, other), 1))
        means.append(x.flatten(1).mean(1))
    return {"K": torch.stack(K, 1), "mean": torch.stack(means, 1)}


def forms(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over pairs of places (a, b) of x(a) . y(b), signals (..., T, N, M): same place, mates, other samples."""
    same = (x * y).sum((-3, -2, -1))
    sample = (x.sum(-2) * y.sum(-2)).sum((-2, -1))
    every = (x.sum((-3, -2)) * y.sum((-3, -2))).sum(-1)
    return same, sample - same, every - sample


def backward_overlaps(network: Network, run: Forward) -> dict[str, Tensor]:
    """tq (S, dense steps, 2, relations): at every dense step the sum over pairs of places of the product of derivatives
    of one raw output there, of one sample's output with itself [0] and of two samples' outputs [1], averaged over
    samples and classes.
    """
    found: dict[str, Tensor] = {}
    samples = run.raw.shape[1]

    def look(met: Meeting) -> None:
        rows = met.rows.values
        two = _spread(rows, samples) if met.rows.spread else _apart(rows.expand(-1, -1, samples, -1, -1))
        same, mate, other = (torch.stack(pair, -1).mean(1) for pair in two)
        found[met.path] = torch.stack((same, mate, other) if network.positions > 1 else (same, other), -1)

    backward(run, look)
    return {"tq": torch.stack([found[path] for path in dense_paths(network)], 1)}


def dense_paths(network: Network) -> tuple[str, ...]:
    """Paths of the dense steps whose derivatives matter; query and key of an attention get none in the limit."""
    return tuple(path for path in network.dense if not path.endswith((".query", ".key")))


def step_paths(network: Network) -> tuple[str, ...]:
    """Paths of all steps in the order of computation."""

    def below(step: Step, shape: Shape, path: str) -> Iterator[str]:
        if not isinstance(step, Attention):  # its matrices are not steps
            for inner, at, here in step.inner(shape, path):
                yield from below(inner, at, here)
        if not isinstance(step, Chain):
            yield path

    return tuple(below(network.steps, network.start(4), ""))


def _apart(rows: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    """Of signals (S, C, T, N, M), each at its own sample: (one sample's, two samples') for every relation."""
    T = rows.shape[2]
    same, mate, _ = forms(rows.unsqueeze(-3), rows.unsqueeze(-3))  # per sample: a batch of one
    _, _, other = forms(rows, rows)
    zero = torch.zeros_like(other)
    return (same.mean(-1), zero), (mate.mean(-1), zero), (zero, other / (T * (T - 1)))


def _spread(rows: Tensor, T: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """Of signals (S, C T, T, N, M), each at all samples."""
    rows = rows.unflatten(1, (-1, T))
    total = rows.sum(2)
    own = [form.sum(2) for form in forms(rows, rows)]
    every = forms(total, total)
    return tuple((o / T, (e - o) / (T * (T - 1))) for o, e in zip(own, every, strict=True))


def tangent_overlaps(network: Network, drawn: Draw, run: Forward) -> dict[str, Tensor]:
    """Th (S, 2): overlap of the gradients of one raw output, of one sample with itself and of two samples, over M; in
    the NTK parametrization as it is.
    """
    g = raw_gram(network, drawn, run)
    blocks = torch.diagonal(g, dim1=1, dim2=3).mean(-1)
    T = blocks.shape[1]
    same = torch.diagonal(blocks, dim1=1, dim2=2).sum(1)
    scale = 1.0 if network.ntk else float(network.width)
    return {"Th": torch.stack([same / T, (blocks.sum((1, 2)) - same) / (T * (T - 1))], 1) / scale}
