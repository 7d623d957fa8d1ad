"""sigma_w2 forgotten in the gap."""

from fimcheck import theory, verify
from fimcheck.theory import symbols
from fimcheck.theory.symbols import M, T, alpha_total, kappa1, kappa2


class Planted(verify.Claim):
    """The formula."""

    def prediction(self, setting, wide=None):
        wide = wide or setting.wide()
        formula = alpha_total * (kappa1 - kappa2) * M / (T * symbols.sigma_w2)
        return theory.Prediction(self.quantity, wide, self.samples, formula, "equals", (), self.source)


verify.add_claim(Planted("planted", "planted: lambda_perp", "lambda_perp", "lambda_perp", source="a test"))
