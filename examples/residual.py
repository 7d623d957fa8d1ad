"""A formula about residual networks: with normalization inside the branch the stream grows linearly in its depth."""

from fimcheck import theory, verify
from fimcheck.theory.symbols import sigma_b2, sigma_w2

BLOCKS = 3
NETWORK = f"dense {BLOCKS}*(skip(layer relu dense)) layer relu dense"


class LinearGrowth(verify.OverlapClaim):
    """Every block adds sigma_w^2 E relu(z)^2 + sigma_b^2 = sigma_w^2/2 + sigma_b^2 to K[same] (gamma = 1, beta = 0)."""

    def prediction(self, setting, wide=None):
        wide = wide or setting.wide()
        formula = (sigma_w2 + sigma_b2) + BLOCKS * (sigma_w2 / 2 + sigma_b2)
        value = formula.subs({sigma_w2: setting.sigma_w2, sigma_b2: setting.sigma_b2})
        return theory.Prediction("K", wide, "fixed", value, "equals", (), self.source)


verify.add_network_claim(
    LinearGrowth, NETWORK, "stream_grows_linearly", kind="K", path=str(BLOCKS + 1), source="an example"
)
