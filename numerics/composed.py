"""Composed networks: drawn, run once forward, and the dual matrix from their backward signals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from numerics.composition import Composition
from numerics.krylov import Operator
from numerics.normalizations import Derivative, normalize
from numerics.projection import project
from numerics.sampling import DTYPES, check_place, check_seeds, fill
from numerics.steps.step import Meeting, Rows, Trace


@dataclass(frozen=True)
class ComposedDraw:
    """A batch of S sampled networks with their inputs (S, T, N, M_0); numbers: standard normal, by step and name."""

    numbers: Mapping[str, Tensor]
    inputs: Tensor


@dataclass(frozen=True)
class ComposedRun:
    """A forward pass: the trace of all steps, outputs (S, T, C) before and after the last normalization, and its
    derivative: of a built-in one as ``last``, of another as the matrix ``jacobian`` (S, C*T, C*T).
    """

    trace: Trace
    raw: Tensor
    outputs: Tensor
    last: Derivative | None
    jacobian: Tensor | None


def draw(
    network: Composition,
    samples: int,
    seeds: Sequence[int],
    dtype: str = "float64",
    device: str = "cpu",
    inputs: Tensor | None = None,
) -> ComposedDraw:
    """Sample one network per seed: weights step by step, then T inputs, then masks, all standard normal in float64.

    ``inputs`` of shape (T, M_0) or (T, N, M_0) takes the place of the drawn ones, the same for every seed.
    """
    network.check_samples(samples)
    check_seeds(seeds)
    check_place(dtype, device)
    shape = (samples, network.positions, network.inputs)
    if inputs is not None and math.prod(inputs.shape) != math.prod(shape):
        raise ValueError(f"inputs of shape {tuple(inputs.shape)}: must be (samples, N, M_0) = {shape}")
    wanted = list(network.steps.draws(network.start(samples), ""))
    masks = [w for w in wanted if w[0].endswith(".mask")]
    order = [w for w in wanted if w not in masks] + ([("inputs", shape)] if inputs is None else []) + masks
    sizes = [math.prod(s) for _, s in order]
    numbers = torch.empty(len(seeds), sum(sizes), dtype=torch.float64)
    fill(numbers.numpy(), seeds)
    parts = zip(order, numbers.split(sizes, 1), strict=True)
    named = {name: part.view(-1, *s).to(device=device, dtype=DTYPES[dtype]) for (name, s), part in parts}
    given = inputs if inputs is None else inputs.view(shape).expand(len(seeds), *shape)
    h = named.pop("inputs") if given is None else given.to(device=device, dtype=DTYPES[dtype])
    return ComposedDraw(named, h)


def forward(network: Composition, drawn: ComposedDraw) -> ComposedRun:
    """Run the sampled networks on their inputs, batch statistics taken over all places of the batch."""
    trace = network.steps.at(drawn.inputs, drawn.numbers, "")
    raw = trace.value.squeeze(2)
    if network.output_definition is not None:
        outputs, jacobian = network.output_definition.jacobian(raw, network.last_gamma)
        return ComposedRun(trace, raw, outputs, None, jacobian)
    if network.last == "softmax":
        return ComposedRun(trace, raw, raw, None, softmax_root(raw))
    outputs, last = normalize(network.last, raw, network.last_gamma, 0.0)
    return ComposedRun(trace, raw, outputs, last, None)


def softmax_root(raw: Tensor) -> Tensor:
    """The symmetric root of diag p - p p^T at every sample, p the softmax of its outputs, as (S, C*T, C*T).

    The Fisher matrix of a softmax is J^T (diag p - p p^T) J / T over the samples.
    """
    seeds, samples, classes = raw.shape
    p = raw.softmax(-1)
    values, vectors = torch.linalg.eigh(torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2))
    root = (vectors * values.clamp_min(0).sqrt().unsqueeze(-2)) @ vectors.mT
    full = raw.new_zeros(seeds, classes, samples, classes, samples)
    t = torch.arange(samples, device=raw.device)
    full[:, :, t, :, t] = root.transpose(0, 1)
    return full.view(seeds, classes * samples, -1)


def backward(run: ComposedRun, visit: Callable[[Meeting], None]) -> None:
    """Derivatives of the raw outputs at every dense step, the last one first."""
    seeds, samples, classes = run.raw.shape
    one = torch.eye(classes, dtype=run.raw.dtype, device=run.raw.device)
    top = one.view(1, classes, 1, 1, classes).expand(seeds, -1, samples, -1, -1)
    run.trace.pull(Rows(top), visit)


def gram(network: Composition, drawn: ComposedDraw) -> Tensor:
    """The dual matrix G = J J^T / T of every network, (S, C*T, C*T), rows k*T + t."""
    return gram_of(forward(network, drawn))


def gram_of(run: ComposedRun) -> Tensor:
    """``gram`` for a forward pass that is at hand."""
    g = raw_gram(run)
    seeds, classes, samples = g.shape[:3]
    if run.last is not None:
        project(g, run.last)
    g = g.view(seeds, classes * samples, -1)
    if run.jacobian is not None:
        g = run.jacobian @ g @ run.jacobian.mT
    return g.div_(samples)


def raw_gram(run: ComposedRun) -> Tensor:
    """J J^T of the raw outputs, (S, C, T, C, T)."""
    seeds, samples, classes = run.raw.shape
    g = run.raw.new_zeros(seeds, classes, samples, classes, samples)

    def add(met: Meeting) -> None:
        if met.rows.spread:
            _add_spread(g.view(seeds, classes * samples, -1), met)
        else:
            _add_blocks(g, met)

    backward(run, add)
    for k in range(classes):
        for j in range(k):
            g[:, k, :, j] = g[:, j, :, k].mT
    return g


def kernel(met: Meeting) -> Tensor:
    """What the places of two samples share through the inputs of a dense step: (S, T N, T N)."""
    x = met.inputs.flatten(1, 2)
    shared = torch.bmm(x, x.mT)
    shared = shared if met.weight == 1 else shared.mul_(met.weight)
    return shared.add_(met.bias) if met.bias else shared


def _add_blocks(g: Tensor, met: Meeting) -> None:
    """Class blocks (k, j >= k): overlaps of signals times overlaps of inputs, summed over positions."""
    seeds, classes, samples = g.shape[:3]
    positions = met.rows.values.shape[3]
    shared, rows = kernel(met), met.rows.values.flatten(2, 3)
    if met.rows.alike:
        top = rows[:, :, 0]
        overlap = top @ top.mT
        g += overlap[:, :, None, :, None] * shared[:, None, :, None]
        return
    shared = shared.unsqueeze(2)
    for k in range(classes):
        strip = rows[:, k] @ rows[:, k:].flatten(1, 2).mT
        strip = strip.view(seeds, samples * positions, classes - k, samples * positions)
        if positions == 1:
            g[:, k, :, k:].addcmul_(strip, shared)
        else:
            strip = strip.mul_(shared).view(seeds, samples, positions, classes - k, samples, positions)
            g[:, k, :, k:] += strip.sum((2, 5))


def _add_spread(g: Tensor, met: Meeting) -> None:
    """Rows that reach all samples: products of the weights' own gradients, or of signals with shared inputs."""
    rows, x = met.rows.values.flatten(2, 3), met.inputs.flatten(1, 2)
    places, fan_in = x.shape[1:]
    if fan_in + 1 < places:  # the gradients themselves are the smaller
        x = torch.cat([x * met.weight**0.5, torch.full_like(x[..., :1], met.bias**0.5)], -1)
        features = (x.mT.unsqueeze(1) @ rows).flatten(2)
        g += features @ features.mT
        return
    g += (kernel(met).unsqueeze(1) @ rows).flatten(2) @ rows.flatten(2).mT


def dual_operator(network: Composition, run: ComposedRun) -> Operator:
    """The map v -> G v for blocks v of shape (S, C*T, b): one reverse and one forward pass, no matrix formed."""
    seeds, samples, classes = run.raw.shape

    def apply(v: Tensor) -> Tensor:
        if run.jacobian is not None:
            v = run.jacobian.mT @ v
        at_output = v.mT.reshape(seeds, -1, classes, samples).mT
        at_output = at_output if run.last is None else run.last.unsqueeze(1)(at_output)
        moved: dict[str, Tensor] = {}

        def move(met: Meeting) -> None:
            shape = met.rows.values.shape
            x, rows = met.inputs.flatten(1, 2).unsqueeze(1), met.rows.values.flatten(2, 3)
            step = met.weight * (x @ (x.mT @ rows)) + met.bias * rows.sum(-2, keepdim=True)
            moved[met.path] = step.view(shape)

        run.trace.pull(Rows(at_output.unsqueeze(3), spread=True), move)
        still = v.new_zeros(seeds, v.shape[-1], samples, network.positions, network.inputs)
        tangent = run.trace.push(still, moved).squeeze(3)
        tangent = tangent if run.last is None else run.last.unsqueeze(1)(tangent)
        result = tangent.mT.flatten(2).mT
        return (result if run.jacobian is None else run.jacobian @ result) / samples

    return apply
