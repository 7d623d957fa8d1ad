"""RMS normalization with a shift: u -> gamma u / rms(u) + beta over units, the mean not subtracted."""

from dataclasses import dataclass
from typing import Any

from fimcheck import numerics, theory
from fimcheck.theory import symbols


@dataclass(frozen=True)
class RMS(theory.Step):
    """The mean square of a sample's units tends to K[same] as they grow many; their mean is scaled and shifted."""

    gamma: Any = symbols.gamma
    beta: Any = symbols.beta

    def apply(self, state, run, path):
        scale = self.gamma / run.expect.root(state.K.same)
        return state.affine(scale**2, scale * state.mean + self.beta, run.expect)


theory.add_step("rms_shift", RMS)
numerics.add_step("rms_shift", lambda u, gamma, beta: gamma * u / u.square().mean(-1, keepdim=True).sqrt() + beta)
