"""One forward pass and backward passes, batched over seeds (leading axis S)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fimcheck.numerics.network import Network
from fimcheck.numerics.normalizations import Derivative
from fimcheck.numerics.sampling import Draw
from fimcheck.numerics.steps.step import Meeting, Rows, Trace


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
    outputs, last, jacobian = network.output.apply(raw, network.last_gamma)
    return Forward(x, trace, raw, outputs, last, jacobian)


def backward(run: Forward, visit: Callable[[Meeting], None]) -> None:
    """Derivatives of the raw outputs at every step with parameters, the last one first."""
    run.trace.pull(top_rows(run), visit)


def top_rows(run: Forward) -> Rows:
    """Derivatives of the raw outputs at themselves."""
    classes = run.raw.shape[2]
    one = torch.eye(classes, dtype=run.raw.dtype, device=run.raw.device)
    return Rows(one.view(1, classes, 1, 1, classes).expand(len(run.raw), -1, -1, -1, -1), alike=True)
