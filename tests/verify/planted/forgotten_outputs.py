"""One output for all of them."""

from fimcheck import theory, verify
from fimcheck.theory.symbols import M, kappa1


class Planted(verify.Claim):
    """The formula."""

    def prediction(self, setting, wide=None):
        wide = wide or setting.wide()
        formula = kappa1 / M
        return theory.Prediction(self.quantity, wide, self.samples, formula, "equals", (), self.source)


verify.add_claim(Planted("planted", "planted: m", "m", "m", source="a test"))
