"""Deliberately wrong: mean-only batch normalization over T samples with the constants of T -> infinity."""

from dataclasses import dataclass, replace
from typing import Any

from fimcheck import numerics, theory
from fimcheck.theory import symbols
from fimcheck.theory.network.state import mapped


@dataclass(frozen=True)
class TooEarly(theory.Step):
    couples_samples = True

    gamma: Any = symbols.gamma
    beta: Any = symbols.beta

    def apply(self, state, run, path):
        def centered(t):  # the mistake: over T samples (same - other)(1 - 1/T), and -(same - other)/T for two
            spread = self.gamma**2 * (t.same - t.other)
            return state.alike(spread, 0 * spread)

        K = centered(state.K).map(lambda K: K + self.beta**2)
        return replace(state, K=K, mean=self.beta, tangent=mapped(state.tangent, centered))


theory.add_step("mean_only_limit", TooEarly)
numerics.add_step("mean_only_limit", lambda u, gamma, beta: gamma * (u - u.mean(-2, keepdim=True)) + beta)
