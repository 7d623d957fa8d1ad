"""Deliberately wrong: RMS normalization whose theory forgets gamma^2 in the derivative."""

from dataclasses import dataclass, replace
from typing import Any

from fimcheck import numerics, theory
from fimcheck.theory import symbols
from fimcheck.theory.network.state import mapped


@dataclass(frozen=True)
class Forgotten(theory.Step):
    gamma: Any = symbols.gamma
    beta: Any = symbols.beta

    def apply(self, state, run, path):
        right = state.affine(self.gamma**2 / state.K.same, self.beta, run.expect)
        # The mistake: gamma^2/K[same] is right.
        return replace(right, tangent=mapped(state.tangent, lambda t: t * (1 / state.K.same)))


theory.add_step("rms_forgotten", Forgotten)
numerics.add_step("rms_forgotten", lambda u, gamma, beta: gamma * u / u.square().mean(-1, keepdim=True).sqrt() + beta)
