"""One forward pass and backward passes, batched over seeds (leading axis S)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from numerics.network import Network
from numerics.normalizations import Derivative, normalize
from numerics.sampling import Draw
from numerics.steps.step import Meeting, Rows, Trace


@dataclass(frozen=True)
class Forward:
    """A forward pass: inputs (S, T, N, M_0), the trace of all steps, outputs (S, T, C) before and after the last
    normalization, and its derivative: of a built-in one as ``last``, of another as ``jacobian`` (S, C*T, C*T).
    """

    inputs: Tensor
    trace: Trace
    raw: Tensor
    outputs: Tensor
    last: Derivative | None
    jacobian: Tensor | None = None


def forward(network: Network, drawn: Draw) -> Forward:
    """Run the sampled networks on their inputs, batch statistics taken over all places of the batch."""
    seeds, samples = drawn.inputs.shape[:2]
    x = drawn.inputs.view(seeds, samples, network.positions, network.inputs)
    trace = network.steps.at(x, drawn.numbers, "")
    raw = trace.value.squeeze(2)
    if network.output_definition is not None:
        outputs, jacobian = network.output_definition.jacobian(raw, network.last_gamma)
        return Forward(x, trace, raw, outputs, None, jacobian)
    if network.last == "softmax":
        return Forward(x, trace, raw, raw, None, softmax_root(raw))
    outputs, last = normalize(network.last, raw, network.last_gamma, 0.0)
    return Forward(x, trace, raw, outputs, last)


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


def backward(run: Forward, visit: Callable[[Meeting], None]) -> None:
    """Derivatives of the raw outputs at every step with parameters, the last one first."""
    run.trace.pull(top_rows(run), visit)


def top_rows(run: Forward) -> Rows:
    """Derivatives of the raw outputs at themselves."""
    classes = run.raw.shape[2]
    one = torch.eye(classes, dtype=run.raw.dtype, device=run.raw.device)
    return Rows(one.view(1, classes, 1, 1, classes).expand(len(run.raw), -1, -1, -1, -1), alike=True)
