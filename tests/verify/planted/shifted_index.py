"""The backward overlap of the layer below."""

from fimcheck import theory, verify
from fimcheck.theory.symbols import C, M, alpha_total


class Planted(verify.Claim):
    """The formula."""

    def prediction(self, setting, wide=None):
        wide = wide or setting.wide()
        orders = theory.numeric_order_parameters(wide, "fixed", setting.samples)
        layers = sorted(orders.tq1)
        shifted = zip(layers[1:], setting.ratios[1:], strict=True)
        total = sum(a * orders.hq1[n - 1] * orders.tq1[n - 1] for n, a in shifted)
        formula = C * float(total) / (alpha_total * M)
        return theory.Prediction(self.quantity, wide, self.samples, formula, "equals", (), self.source)


verify.add_claim(Planted("planted", "planted: m", "m", "m", source="a test"))
