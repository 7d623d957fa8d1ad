"""A gated linear unit: the first half of the units times the sigmoid of the second half."""

from dataclasses import dataclass, replace

import torch

from fimcheck import numerics, theory
from fimcheck.theory.network.state import added, mapped


@dataclass(frozen=True)
class GatedUnit(theory.Step):
    """After dense weights the two halves are independent, and have the overlaps of the whole."""

    def apply(self, state, run, path):
        sigmoid = theory.activation("sigmoid").phi
        gate = state.law.through(sigmoid, sigmoid.derivative(), state, run.expect)
        tangent = added(mapped(state.tangent, lambda t: t * gate.K), mapped(gate.tangent, lambda t: t * state.K))
        return replace(
            state, K=state.K * gate.K, mean=state.mean * gate.mean, tangent=tangent, law=theory.Unmixed("a gated unit"),
            width=state.width / 2,
        )  # fmt: skip


def gated(u):
    linear, gate = u.chunk(2, -1)
    return linear * torch.sigmoid(gate)


theory.add_step("gated", GatedUnit)
numerics.add_step("gated", gated)
