"""Gradients of different samples as if orthogonal."""

from fimcheck import theory, verify
from fimcheck.theory.symbols import C, T, alpha_total, kappa1


class Planted(verify.Claim):
    """The formula."""

    def prediction(self, setting, wide=None):
        wide = wide or setting.wide()
        formula = C * alpha_total * kappa1**2 / T
        return theory.Prediction(self.quantity, wide, self.samples, formula, "equals", (), self.source)


verify.add_claim(Planted("planted", "planted: s", "s", "s", source="a test"))
