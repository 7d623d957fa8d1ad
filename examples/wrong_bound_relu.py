"""Deliberately wrong: a bound on the sharpness of networks without biases that forgets to ask for an odd activation."""

from fimcheck import theory, verify
from fimcheck.theory.symbols import M, T, alpha_total, kappa1


class Bound(verify.Claim):
    """Without biases and with odd phi kappa_2 = 0, so every eigenvalue tends to alpha kappa_1 M/T."""

    def prediction(self, setting, wide=None):
        formula = 2 * alpha_total * kappa1 * M / T
        return theory.Prediction("lambda_max", wide or setting.wide(), "fixed", formula, "at most", (), self.source)


verify.add_claim(
    Bound(
        id="sharpness_without_biases",
        statement="sigma_b = 0: the largest eigenvalue is at most twice the mean of the nonzero ones",
        quantity="lambda_max",
        measured="lambda_max",
        fewest_samples=16,
        centered=True,
        activations=("relu", "tanh", "erf", "sin"),  # the mistake: relu is not odd
        source="an example",
    )
)
