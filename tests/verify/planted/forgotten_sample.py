"""Mean subtraction takes no direction away."""

from fimcheck import theory, verify
from fimcheck.theory.symbols import C, M, kappa1, kappa2


class Planted(verify.Claim):
    """The formula."""

    def prediction(self, setting, wide=None):
        wide = wide or setting.wide()
        formula = C * (kappa1 - kappa2) / M
        return theory.Prediction(self.quantity, wide, self.samples, formula, "equals", (), self.source)


verify.add_claim(Planted("planted", "planted: m", "m", "m", last="mean", source="a test"))
