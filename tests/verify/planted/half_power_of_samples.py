"""The gap over sqrt(T (T - 1))."""

import sympy as sp

from fimcheck import theory, verify
from fimcheck.theory.symbols import M, T, alpha_total, kappa1, kappa2


class Planted(verify.Claim):
    """The formula."""

    def prediction(self, setting, wide=None):
        wide = wide or setting.wide()
        formula = alpha_total * (kappa1 - kappa2) * M / sp.sqrt(T * (T - 1))
        return theory.Prediction(self.quantity, wide, self.samples, formula, "equals", (), self.source)


verify.add_claim(Planted("planted", "planted: lambda_perp", "lambda_perp", "lambda_perp", source="a test"))
