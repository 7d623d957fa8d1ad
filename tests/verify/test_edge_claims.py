"""The claims about the spectrum at T = M/rho on sampled networks, and mistakes in the equation that they refuse."""

from dataclasses import replace

import pytest

from fimcheck.verify.claims.paper import CLAIMS
from fimcheck.verify.claims.setting import Setting, SettingError
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.judge.verdict import Effort, check, decide

EFFORT = Effort(eps=0.08, error_rate=1e-3)
"""Coarser than `fimcheck verify`: a test of a test."""


def judged(name: str, setting: Setting, slips: tuple[str, ...]) -> dict[str, str]:
    """Statuses of the right theory, "", and of some mistakes."""
    claim = CLAIMS[name]
    draws = Draws(setting, claim.quantities)
    right = check(claim, setting, EFFORT, draws)
    found = {"": right.status}
    wrong = {name: predicted for name, _, predicted in claim.slips(setting)}
    effort = replace(EFFORT, looks=EFFORT.looks + 3)
    return found | {slip: decide(claim, draws, wrong[slip], effort, right.counts).status for slip in slips}


def test_the_edge_given_the_units_of_the_network() -> None:
    setting = Setting("tanh", sigma_b2=0.3, last="mean", rho=2.0, depth=2)
    found = judged("growth.last_mean.lambda_max_given", setting, ("1/rho",))
    assert found == {"": "AGREE", "1/rho": "DISAGREE"}


def test_a_quantile_of_the_law() -> None:
    setting = Setting("gelu", sigma_w2=1.9, sigma_b2=0.05, last="mean", rho=2.0, depth=2)
    found = judged("growth.last_mean.quantile[9]", setting, ("1/rho",))
    assert found == {"": "AGREE", "1/rho": "DISAGREE"}


def test_the_claim_about_split_units_is_about_their_activation() -> None:
    with pytest.raises(SettingError, match="abs"):
        check(CLAIMS["growth.last_mean.lambda_max_split"], Setting("relu", last="mean", rho=2.0))
    with pytest.raises(SettingError, match="one output"):
        check(CLAIMS["growth.last_mean.quantile[5]"], Setting("relu", last="mean", rho=2.0, classes=2))
