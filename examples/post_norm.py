"""A formula about post-norm residual networks: what normalization after the sum leaves of a branch's gradient."""

import sympy as sp

from fimcheck import theory, verify

NETWORK = "dense(sw2=1, sb2=0) skip(relu dense) layer relu dense"


class Kept(verify.OverlapClaim):
    """tq of the branch's dense step: gamma^2/v of the normalization times sigma_w^2/2 of relu and the output's weights,
    v = 1 + sigma_w^2/2 + sigma_b^2 the variance of the sum.
    """

    def prediction(self, setting, wide=None):
        w2, b2 = setting.sigma_w2, setting.sigma_b2
        value = setting.gamma**2 / (1 + w2 / 2 + b2) * w2 / 2
        return theory.Prediction("tq", wide or setting.wide(), "fixed", sp.Float(value), "equals", (), self.source)


verify.add_network_claim(Kept, NETWORK, "branch_gradient", kind="tq", path="2.branch.2", source="an example")
