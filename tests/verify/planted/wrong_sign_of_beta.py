"""-beta for beta."""

from dataclasses import dataclass
from typing import Any

from fimcheck import numerics, theory
from fimcheck.theory import symbols


@dataclass(frozen=True)
class Planted(theory.Step):
    """The rule."""

    gamma: Any = symbols.gamma
    beta: Any = symbols.beta

    def apply(self, state, run, path):
        return state.affine(self.gamma**2 / state.K.same, -self.beta, run.expect)


theory.add_step("planted", Planted)
numerics.add_step("planted", lambda u, gamma, beta: gamma * u / u.square().mean(-1, keepdim=True).sqrt() + beta)
