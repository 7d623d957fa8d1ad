"""kappa_2 = 0 without biases, as if for every activation."""

from fimcheck import theory, verify
from fimcheck.theory.symbols import M, T, alpha_total, kappa1


class Planted(verify.Claim):
    """The formula."""

    def prediction(self, setting, wide=None):
        wide = wide or setting.wide()
        formula = alpha_total * kappa1 * M / T
        return theory.Prediction(self.quantity, wide, self.samples, formula, "equals", (), self.source)


verify.add_claim(
    Planted(
        "planted",
        "planted: lambda_perp",
        "lambda_perp",
        "lambda_perp",
        centered=True,
        activations=("relu", "tanh", "erf", "gelu"),
        source="a test",
    )
)
