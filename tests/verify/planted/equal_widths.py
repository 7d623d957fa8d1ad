"""All layers as if of equal width."""

from fimcheck import theory, verify
from fimcheck.theory.symbols import C, M, alpha_total


class Planted(verify.Claim):
    """The formula."""

    def prediction(self, setting, wide=None):
        wide = wide or setting.wide()
        orders = theory.numeric_order_parameters(wide, "fixed", setting.samples)
        layers = sorted(orders.tq1)
        mean = sum(setting.ratios) / len(setting.ratios)
        total = sum(mean * orders.hq1[n - 1] * orders.tq1[n] for n in layers)
        formula = C * float(total) / (alpha_total * M)
        return theory.Prediction(self.quantity, wide, self.samples, formula, "equals", (), self.source)


verify.add_claim(Planted("planted", "planted: m", "m", "m", source="a test"))
