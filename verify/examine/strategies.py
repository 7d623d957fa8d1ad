"""Hypothesis strategies for settings. They draw settings and never seeds: Hypothesis searches for failures, and
among seeds it would find the unlucky ones.

Use with `settings(derandomize=True, deadline=None, database=None)`, and split the error rate over the examples.
"""

from __future__ import annotations

from hypothesis import strategies as st

from fimcheck.verify.claims.claim import Claim, couples_samples
from fimcheck.verify.claims.setting import Setting

SMOOTH_OR_KINKED = ("linear", "relu", "leaky_relu", "abs", "erf", "gelu", "sin", "tanh", "softplus", "silu")
ODD = ("linear", "erf", "sin", "tanh")
# Widths are doubled from 64, so these ratios give whole numbers everywhere.
RATIOS = (0.5, 1.0, 1.5, 2.0)
# Outputs under an added normalization of them, which may divide them into groups.
OUTPUTS = (6, 12)


@st.composite
def settings_for(
    draw: st.DrawFn, claim: Claim, max_depth: int = 6, activations: tuple[str, ...] = SMOOTH_OR_KINKED
) -> Setting:
    """Settings that a claim is about: depth, unequal widths, variances, activation, gamma, beta, T and C.

    The last hidden layer has ratio 1: measured kappa_1 and kappa_2 take its width for M.
    activations: to choose from where the claim does not name its own.
    """
    depth = draw(st.integers(2, max_depth))
    unequal = [draw(st.sampled_from(RATIOS)) for _ in range(depth - 1)]
    choice = claim.activations or (tuple(a for a in activations if a in ODD) or ODD if claim.centered else activations)
    hidden, coupled, output = claim.hidden != "none", couples_samples(claim.hidden), claim.output
    fewest = max(claim.fewest_samples, 8 if coupled else 2)
    fixed = claim.samples != "proportional"
    return Setting(
        activation=draw(st.sampled_from(choice)),
        depth=depth,
        ratios=(*unequal, 1.0),
        sigma_w2=draw(st.floats(0.5, 2.5).map(lambda v: round(v, 2))),
        sigma_b2=0.0 if claim.centered else draw(st.floats(0.0, 0.5).map(lambda v: round(v, 2))),
        classes=draw(st.sampled_from(OUTPUTS) if output.added else st.integers(output.fewest_classes, 5)),
        samples=draw(st.integers(fewest, fewest + 8)) if fixed else None,
        rho=None if fixed else 1.0 if coupled else draw(st.sampled_from((2.0, 4.0))),
        hidden=claim.hidden,
        last=claim.last,
        gamma=draw(st.sampled_from((0.75, 1.0, 1.25))) if hidden else 1.0,
        beta=draw(st.sampled_from((-0.5, 0.0, 0.5, 1.0))) if hidden and not claim.centered else 0.0,
        last_gamma=draw(st.sampled_from((0.5, 1.0, 2.0))) if output.scaled else 1.0,
    )
