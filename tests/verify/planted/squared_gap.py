"""The outlier with the gap squared."""

from fimcheck import theory, verify
from fimcheck.theory.symbols import M, T, alpha_total, kappa1, kappa2


class Planted(verify.Claim):
    """The formula."""

    def prediction(self, setting, wide=None):
        wide = wide or setting.wide()
        formula = alpha_total * M * (kappa2 + (kappa1 - kappa2) / T) * (1 + kappa2 / (4 * kappa1))
        return theory.Prediction(self.quantity, wide, self.samples, formula, "equals", (), self.source)


verify.add_claim(Planted("planted", "planted: lambda_max", "lambda_max", "lambda_max", source="a test"))
