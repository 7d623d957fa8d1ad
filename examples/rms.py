"""RMS normalization with a shift: u -> gamma u / rms(u) + beta over units, the mean not subtracted."""

from dataclasses import dataclass
from typing import Any

from fimcheck import numerics, theory
from fimcheck.theory import symbols


@dataclass(frozen=True)
class RMS(theory.Step):
    """As the width grows, the mean square of a sample's units tends to K[same]; dense weights leave no mean."""

    gamma: Any = symbols.gamma
    beta: Any = symbols.beta

    def apply(self, state, run, path):
        return state.affine(self.gamma**2 / state.K.same, self.beta, run.expect)


theory.add_step("rms_shift", RMS)
numerics.add_step("rms_shift", lambda u, gamma, beta: gamma * u / u.square().mean(-1, keepdim=True).sqrt() + beta)
