"""Claims about composed networks: right ones agree, wrong theories of every step are refused."""

from dataclasses import replace

import numpy as np
import pytest

from fimcheck import theory
from fimcheck.verify import Effort, Setting, SettingError, check, network_claims
from fimcheck.verify.claims.composition import OverlapClaim
from fimcheck.verify.claims.inputs import InputError, given_inputs
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.judge.controls import challenge, wrong_theories
from fimcheck.verify.judge.suite import Case, run

EFFORT = Effort(eps=0.1, error_rate=1e-2, looks=3, budget=2e8)
NETWORKS = {
    "dense skip(layer relu dense) layer relu dense T=5 sb2=0.3": (
        "Th.same",
        "Th.other",
        "m",
        "tq[1].same",
        "K[2].other",
    ),
    "dense skip(batch relu dense) batch relu dense T=12 gamma=1.25 beta=0.5": (
        "Th.same",
        "m",
        "tq[1].same",
        "K[2].same",
    ),
    "conv relu conv tanh pool dense T=5 N=4 sb2=0.3": ("Th.same", "Th.other", "K[3].mate", "tq[1].same(mate)"),
    "dense gate(dense sigmoid, dense) dense relu dense T=5 sb2=0.3": ("Th.same", "m", "K[2].same"),
    "dense(param=ntk) relu dense(param=ntk) T=5 sb2=0.3": ("Th.same", "Th.other", "m"),
}


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fimcheck.verify.claims.claim.WIDTHS", (32, 64, 96, 128, 256))


def chosen(text: str) -> list[Case]:
    setting = Setting.parse(text)
    wanted = {f"network.{name}" for name in NETWORKS[text]}
    found = [Case(claim, setting) for claim in network_claims(setting) if claim.id in wanted]
    assert len(found) == len(wanted)
    return found


@pytest.mark.parametrize("text", NETWORKS)
def test_right_claims_agree_and_wrong_steps_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "fimcheck.verify.judge.controls.WRONG_THEORIES", ()
    )  # the steps' own slips; the others are tested with the paper
    refused: set[str] = set()
    for verdict, drawn in run(chosen(text), EFFORT, lambda s, q: Draws(s, q)):
        assert verdict.status == "AGREE", str(verdict)
        for kill in challenge(verdict, drawn) if verdict.claim.id == "network.Th.same" else ():
            assert not kill.survived, (verdict.claim.id, kill.wrong.id)
            if kill.verdict is not None and kill.verdict.status in ("DISAGREE", "MISFIT"):
                refused.add(kill.wrong.id)
    own = set(Setting.parse(text).wide().slips)
    assert len(own & refused) >= 2, (own, refused)


def test_wrong_theories_hold_the_slips_of_every_step() -> None:
    made = {wrong.id for wrong in wrong_theories(Setting.parse("dense skip(layer relu dense) dense T=4"))}
    assert {"no stream", "no branch", "no 1/sd", "phi'", "no sb2"} <= made
    assert "half gate" not in made


def test_what_every_network_has_alike_is_not_claimed() -> None:
    ids = {claim.id for claim in network_claims(Setting.parse("dense layer relu dense T=4 sb2=0.3"))}
    assert "network.K[2].same" not in ids
    assert {"network.K[2].other", "network.K[3].same", "network.Th.other"} <= ids


def test_a_claim_knows_its_network_whatever_the_numbers() -> None:
    setting = Setting.parse("dense relu dense T=4 sb2=0.3")
    claim = next(c for c in network_claims(setting) if isinstance(c, OverlapClaim))
    claim.admit(replace(setting, sigma_w2=1.0, samples=8))
    with pytest.raises(SettingError, match="is about dense relu dense"):
        claim.admit(Setting.parse("dense tanh dense T=4"))


def test_given_inputs_are_measured_at_the_same_inputs() -> None:
    setting = Setting.parse("tanh T=5 C=1 sb2=0.3 inputs=clusters:8:1.5")
    from fimcheck.verify import CLAIMS

    for id in ("plain.m", "plain.lambda_max", "plain.s"):
        assert check(CLAIMS[id], setting, EFFORT).require().status == "AGREE"
    other = Setting.parse("tanh T=5 C=1 sb2=0.3 inputs=sphere:8")
    one, two = (theory.predict(s.wide(), "lambda_max").evaluate(M=100.0) for s in (setting, other))
    assert abs(one / two - 1) > 0.05


def test_inputs_are_scaled_and_checked(tmp_path) -> None:
    points = np.random.default_rng(0).normal(size=(4, 3)) * 7
    np.save(tmp_path / "x.npy", points)
    np.savetxt(tmp_path / "x.csv", points, delimiter=",")
    for name in ("x.npy", "x.csv"):
        found = given_inputs(str(tmp_path / name), 4)
        assert (found**2).mean(1) == pytest.approx(np.ones(4))
        assert found == pytest.approx(points / np.sqrt((points**2).mean(1, keepdims=True)))
    with pytest.raises(InputError, match="T = 5"):
        given_inputs(str(tmp_path / "x.npy"), 5)
    np.save(tmp_path / "bad.npy", np.full((4, 3), np.nan))
    with pytest.raises(InputError, match="finite"):
        given_inputs(str(tmp_path / "bad.npy"), 4)
    with pytest.raises(InputError, match="known are"):
        given_inputs("torus:3", 4)
