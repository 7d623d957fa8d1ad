"""Mean-only batch normalization, exact in T: u -> gamma (u - mean over the T samples) + beta."""

from dataclasses import dataclass, replace
from typing import Any

from fimcheck import numerics, theory
from fimcheck.theory import symbols
from fimcheck.theory.network.state import mapped


@dataclass(frozen=True)
class MeanOnly(theory.Step):
    """Centering is linear, so Gaussian signals stay Gaussian; overlaps and tangent overlaps are centered alike."""

    couples_samples = True

    gamma: Any = symbols.gamma
    beta: Any = symbols.beta

    def apply(self, state, run, path):
        T, N = run.samples, state.positions

        def centered(t):
            of_a_sample = t.same / N + (0 if t.mate is None else t.mate * (N - 1) / N)
            mean = of_a_sample / T + t.other * (1 - 1 / T)  # over all places
            return t.map(lambda value: self.gamma**2 * (value - mean))

        K = centered(state.K).map(lambda K: K + self.beta**2)
        law = state.law.scaled(self.gamma**2, self.beta, run.expect)
        return replace(state, K=K, mean=self.beta, tangent=mapped(state.tangent, centered), law=law)


theory.add_step("mean_only", MeanOnly)
numerics.add_step("mean_only", lambda u, gamma, beta: gamma * (u - u.mean(-2, keepdim=True)) + beta)
