"""The claims about the spectrum at T = M/rho on sampled networks, and mistakes in the equation that they refuse."""

from dataclasses import replace

import numpy as np
import pytest

from fimcheck.verify.claims.composition import network_claims
from fimcheck.verify.claims.paper import CLAIMS
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.claims.wording import SettingError
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


@pytest.mark.slow
def test_the_edge_of_a_residual_network() -> None:
    claim = CLAIMS["growth.residual.lambda_max"]
    found = judged(claim.id, Setting.parse(claim.network), ("1/rho", "no stream"))
    assert found == {"": "AGREE", "1/rho": "DISAGREE", "no stream": "DISAGREE"}


def test_what_is_claimed_of_a_network_of_steps_for_many_samples() -> None:
    setting = Setting.parse("dense 2*(skip(erf dense, a=0.7)) erf dense M/T=1 last=batch")
    (claim,) = network_claims(setting)
    assert claim.quantities == ("lambda_max", "Q1", "shared", "K", "tq")
    for text in (
        "dense 2*(skip(erf dense)) erf dense M/T=1",
        "dense 2*(skip(batch erf dense)) erf dense M/T=1 last=mean",
    ):
        with pytest.raises(SettingError, match="T fixed"):
            network_claims(Setting.parse(text))


def test_every_drawn_network_has_an_edge() -> None:
    """Three of these sixty once ended with an error: a step beyond the end of the curve was taken for a unit's."""
    setting = Setting("relu", sigma_b2=0.1, last="mean", rho=1.0)
    claim = CLAIMS["growth.last_mean.lambda_max_given"]
    drawn = Draws(setting, claim.quantities).take("main", {64: 60})[64]
    predicted = np.asarray(claim.predictor(setting)(64, drawn))
    assert np.all(np.isfinite(predicted))
    ratio = drawn["lambda_max"] / predicted
    assert ratio.min() > 0.5
    assert ratio.max() < 2


def test_a_quantile_of_the_law() -> None:
    setting = Setting("gelu", sigma_w2=1.9, sigma_b2=0.05, last="mean", rho=2.0, depth=2)
    found = judged("growth.last_mean.quantile[9]", setting, ("1/rho",))
    assert found == {"": "AGREE", "1/rho": "DISAGREE"}


def test_the_claim_about_split_units_is_about_their_activation() -> None:
    with pytest.raises(SettingError, match="abs"):
        check(CLAIMS["growth.last_mean.lambda_max_split"], Setting("relu", last="mean", rho=2.0))
    with pytest.raises(SettingError, match="one output"):
        check(CLAIMS["growth.last_mean.quantile[5]"], Setting("relu", last="mean", rho=2.0, classes=2))


def test_derive_prints_the_edge_and_its_error(fimcheck) -> None:
    def said(outputs: int, width: int, last: str = "mean") -> tuple[int, str, str]:
        at = f"M={width},rho=2,C={outputs},sigma_w2=2,sigma_b2=0.1,alpha_0=1,alpha_1=1,alpha_2=1"
        given = ("--given",) if last == "batch" else ()
        at += ",Q1=1" if given else ""
        return fimcheck("derive", "lambda_max", "--last", last, "--samples", "proportional", "--at", at, *given)

    code, out, err = said(1, 2048)
    assert code == 0
    assert float(out) == pytest.approx(12.483, abs=2e-3)
    assert "second discretization" in err
    code, out, err = said(2, 128)
    assert code == 0
    assert float(out) > 1.03 * float(said(1, 128)[1])
    assert "networks drawn" in err
    code, out, err = said(2, 128, "batch")
    assert code == 2
    assert "lambda_max_upper" in err
