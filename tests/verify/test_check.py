"""A verdict end to end: the right theory is believed, wrong ones and broken measurements are not."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fimcheck import numerics, theory
from fimcheck.numerics import outputs as torch_outputs
from fimcheck.theory.network.outputs import OUTPUTS
from fimcheck.verify import CLAIMS, Draws, Effort, NotVerified, Setting, SettingError, check
from fimcheck.verify.claims.kinds import OutputClaim
from fimcheck.verify.draws.pool import Processes
from fimcheck.verify.judge import suite
from fimcheck.verify.judge.calibration import repeated
from fimcheck.verify.judge.controls import challenge, wrong_theories
from fimcheck.verify.judge.wrong import WRONG_THEORIES

EFFORT = Effort(error_rate=1e-3, looks=2, budget=3e8)
MEAN = Setting("relu", classes=2, samples=6, last="mean")


@pytest.fixture(scope="module")
def drawn() -> Draws:
    """Draws of one network family, shared by the tests of this file."""
    quantities = {q for c in CLAIMS.values() if c.last == "mean" and c.samples == "fixed" for q in c.quantities}
    return Draws(MEAN, quantities)


@pytest.mark.parametrize("quantity", ["m", "s", "lambda_perp"])
def test_the_paper_holds_and_every_wrong_theory_is_refused(drawn: Draws, quantity: str) -> None:
    verdict = check(CLAIMS[f"last_mean.{quantity}"], MEAN, EFFORT, drawn).require()
    assert verdict.finding.detectable < 0.125
    kills = {kill.wrong.id: kill for kill in challenge(verdict, drawn)}
    assert not [name for name, kill in kills.items() if kill.survived]
    for name in ("x1.1", "x1.125", "x0.875"):
        status = kills[name].verdict
        assert status is not None
        assert status.status == "DISAGREE"
    for name in ("M^+1/2", "M^-1/2"):
        status = kills[name].verdict
        assert status is not None
        assert status.status in ("DISAGREE", "MISFIT")


def test_a_mistake_within_eps_is_listed_not_judged(drawn: Draws) -> None:
    """Without biases kappa_1 - kappa_2 of ReLU moves by under 2%: no rule with eps = 5% can refuse that."""
    verdict = check(CLAIMS["last_mean.m"], MEAN, EFFORT, drawn)
    close = {kill.wrong.id for kill in challenge(verdict, drawn) if kill.verdict is None}
    assert "no sb2" in close
    assert {"x1.1", "M^+1/2"}.isdisjoint(close)


def test_a_mistake_of_exactly_eps_is_listed_not_judged() -> None:
    """At sigma_b2 = 0.1 q_1 of the first layer is 2.1, and 2.0 without: the edge of the band."""
    claim, setting = CLAIMS["plain.q1[1]"], Setting("relu", depth=2, samples=4)
    drawn = Draws(setting, claim.quantities)
    kills = {kill.wrong.id: kill for kill in challenge(check(claim, setting, EFFORT, drawn), drawn)}
    assert kills["no sb2"].verdict is None


def test_wrong_theories_are_looked_at_more_often() -> None:
    """q_1 of the first layer is 1.066 times what it is without bias: more draws than the right theory asks for."""
    claim, setting = CLAIMS["plain.q1[1]"], Setting("relu", depth=2, sigma_b2=0.132, samples=4)
    drawn = Draws(setting, claim.quantities)
    right = check(claim, setting, EFFORT, drawn).require()
    (kill,) = (kill for kill in challenge(right, drawn) if kill.wrong.id == "no sb2")
    assert kill.verdict is not None
    assert kill.verdict.status == "DISAGREE"
    assert kill.verdict.looks > EFFORT.looks


@pytest.mark.slow
def test_every_wrong_theory_differs_from_some_claim() -> None:
    made, near, slips = set(), set(), set()
    for case in suite.cases(bases=suite.BASES[:1]):
        width = case.claim.widths(case.setting)[0]
        measured = {name: np.array([1.5]) for name in ("Q1", "Q2", "Qmax", "R1", "lambda_max", "lambda_perp")}
        shape = 1, case.setting.samples_at(width), case.setting.classes
        measured["raw_outputs"] = np.random.default_rng(0).normal(size=shape)
        if "shared" in case.claim.given:
            measured |= Draws(case.setting, case.claim.quantities).take("main", {width: 1})[width]
        right = case.claim.predictor(case.setting)(width, measured)
        for wrong in wrong_theories(case.setting):
            if wrong not in WRONG_THEORIES and "K" not in case.claim.given:  # measured overlaps do not see them
                slips.add(wrong.id)
            predicted = wrong.build(case.claim, case.setting)
            if predicted is not None:
                value = predicted(width, measured)
                assert np.all(np.isfinite(value)), (case.claim.id, wrong.id)
                less, more = sorted((float(np.mean(value)), float(np.mean(right))))
                if more > 1.065 * less:
                    made.add(wrong.id)
                elif more > (1.05 + 1e-9) * less and case.claim.prediction(case.setting).relation == "equals":
                    near.add((case.claim.id, wrong.id, more / less))
    assert {wrong.id for wrong in WRONG_THEORIES} | slips <= made
    assert not near  # so near to the edge of the band that many more draws are needed to refuse it


@pytest.mark.parametrize("last", ["batch", "layer"])
def test_forgetting_the_last_derivative_changes_nothing_else(last: str) -> None:
    """tr F is that of the division alone, without the directions that mean and sd take away."""
    claim = CLAIMS[f"last_{last}.m"]
    setting = suite.default_setting(claim, suite.BASES[0])
    (wrong,) = (wrong for wrong in WRONG_THEORIES if wrong.id == "fixed last")
    predicted = wrong.build(claim, setting)
    assert predicted is not None
    measured = {claim.given[0]: np.array([0.7])}
    kappas = theory.numeric_order_parameters(setting.wide())
    share = 1 - float(kappas.kappa2 / kappas.kappa1) if last == "batch" else 1.0
    n = setting.samples if last == "batch" else setting.classes
    assert n is not None
    factor = predicted(100, measured) / claim.predictor(setting)(100, measured)
    assert factor == pytest.approx(n / (n - 2) / share, rel=1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh", "erf", "gelu", "silu", "elu"])
def test_the_mean_gradient_leads_at_the_default_settings(activation: str) -> None:
    """Else the claims about it are about the fluctuation of several eigenvalues, and right ones fail."""
    for case in ("plain.lambda_top", "hidden_layer.lambda_top", "hidden_batch.lambda_1"):
        claim = CLAIMS[case]
        setting = suite.default_setting(claim, replace(suite.BASES[0], activation=activation))
        other = CLAIMS[f"{case.split('.')[0]}.lambda_perp"]
        assert claim.predictor(setting)(64, {}) > 1.5 * other.predictor(setting)(64, {}), case


@pytest.fixture
def nothing_subtracted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant of the measurement: the network is not normalized although the theory says that it was."""
    right = numerics.measure
    monkeypatch.setattr(numerics, "measure", lambda network, *rest: right(replace(network, last="none"), *rest))


@pytest.mark.usefixtures("nothing_subtracted")
def test_a_broken_estimator_is_caught() -> None:
    verdict = check(CLAIMS["last_mean.m"], MEAN, EFFORT)
    assert verdict.status == "DISAGREE"
    with pytest.raises(NotVerified, match=r"last_mean\.m"):
        verdict.require()


@pytest.mark.usefixtures("nothing_subtracted")
def test_plain_networks_break_the_bound_of_normalized_ones() -> None:
    """ "Grows no faster than sqrt M" must fail where lambda_max grows like M."""
    verdict = check(
        CLAIMS["growth.last_mean_upper"], Setting("relu", rho=8.0, last="mean"), replace(EFFORT, budget=1e8)
    )
    assert verdict.status in ("DISAGREE", "MISFIT")


def test_nan_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    right = numerics.measure

    def broken(*args):
        measurement = right(*args)
        measurement.draws["m"][0] = np.nan
        return measurement

    monkeypatch.setattr(numerics, "measure", broken)
    assert check(CLAIMS["last_mean.m"], MEAN, EFFORT).status == "INVALID"


def test_a_stuck_seed_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    right = numerics.measure
    monkeypatch.setattr(numerics, "measure", lambda n, t, seeds, *rest: right(n, t, [7] * len(seeds), *rest))
    verdict = check(CLAIMS["last_mean.m"], MEAN, EFFORT)
    assert verdict.status == "INVALID"
    assert "not random" in verdict.finding.reason


def test_claims_refuse_settings_they_are_not_about() -> None:
    with pytest.raises(SettingError, match="last = 'none'"):
        check(CLAIMS["last_mean.m"], Setting(samples=6))
    with pytest.raises(SettingError, match="rho"):
        check(CLAIMS["growth.plain"], Setting(samples=6))
    with pytest.raises(SettingError, match="T >= 32"):
        check(CLAIMS["last_batch.s_averaged"], Setting(samples=6, last="batch"))
    with pytest.raises(SettingError, match="layer 2"):
        check(CLAIMS["plain.hq1[2]"], Setting(depth=2, samples=6))
    with pytest.raises(SettingError, match="last ratio 1"):
        check(CLAIMS["plain.kappa1"], Setting(ratios=(1, 1, 2), samples=6))
    with pytest.raises(SettingError, match="C = 1"):
        check(CLAIMS["growth.last_mean.s"], Setting(classes=2, rho=2.0, last="mean"))
    with pytest.raises(SettingError, match="smallest width"):
        check(CLAIMS["growth.hidden_batch"], Setting(rho=8.0, hidden="batch"))


def test_draws_of_another_setting_are_refused(drawn: Draws) -> None:
    with pytest.raises(SettingError, match="needs draws"):
        check(CLAIMS["last_mean.m"], replace(MEAN, sigma_b2=0.2), EFFORT, drawn)
    with pytest.raises(SettingError, match="needs draws"):
        check(CLAIMS["last_mean.s"], MEAN, EFFORT, Draws(MEAN, ["m"]))


def test_without_an_outlier_every_eigenvalue_is_a_rival() -> None:
    """kappa_2 = 0 makes all C T eigenvalues equal in the limit, so the largest exceeds it by M^-1/2."""
    centered = Setting("tanh", samples=4, sigma_b2=0.0)
    plain, layer = CLAIMS["plain.lambda_max"], CLAIMS["last_layer.lambda_max"]
    assert plain.powers(centered)[0] == 0.5
    assert plain.powers(replace(centered, sigma_b2=0.1))[0] == 1.0
    assert plain.powers(Setting(classes=2, samples=4))[0] == 0.5
    assert layer.powers(Setting(classes=3, samples=4, last="layer"))[0] == 1.0
    assert layer.powers(Setting(classes=4, samples=4, last="layer"))[0] == 0.5
    assert CLAIMS["plain.stable_rate"].powers(centered)[0] == 1.0, "it is given that eigenvalue"


def test_draws_do_not_depend_on_how_they_were_asked_for() -> None:
    together = Draws(MEAN, ["m"]).take("main", {64: 9})[64]["m"]
    piecewise = Draws(MEAN, ["m"])
    piecewise.take("main", {64: 4})
    assert np.array_equal(piecewise.take("main", {64: 9})[64]["m"], together)
    assert not np.array_equal(Draws(MEAN, ["m"]).take("confirm", {64: 9})[64]["m"], together)
    assert not np.array_equal(Draws(MEAN, ["m"], seed_block=1).take("main", {64: 9})[64]["m"], together)


def test_worker_processes_measure_the_same() -> None:
    with Processes() as pool:
        abroad = Draws(MEAN, ["m", "s"], pool=pool).take("main", {64: 5, 128: 3})
    here = Draws(MEAN, ["m", "s"]).take("main", {64: 5, 128: 3})
    for width in (64, 128):
        for quantity in ("m", "s"):
            assert np.array_equal(abroad[width][quantity], here[width][quantity])


def test_the_record_replays(drawn: Draws) -> None:
    drawn.take("main", {64: 2})
    record = json.loads(json.dumps(drawn.record()))
    first = next(m for m in record["measurements"] if m["block"] == "main" and m["width"] == 64)
    again = numerics.measure(
        MEAN.network(64), record["setting"]["samples"], first["seeds"][:2], ["m"], first["dtype"], first["device"]
    )
    assert again.draws["m"] == pytest.approx(first["draws"]["m"][:2], rel=1e-12)


def test_only_the_derived_theory_agrees_on_real_networks() -> None:
    """Three streams of seeds; `fimcheck calibrate plain.m` counts it over many more."""
    setting = Setting("linear", depth=2, classes=2, samples=4)
    found = repeated(
        CLAIMS["plain.m"],
        Effort(eps=0.3, error_rate=0.01, looks=1, budget=1e8),
        lambda run: Draws(setting, {"m"}, seed_block=run),
        3,
    )
    assert found.found["as derived"] == ["AGREE"] * 3
    assert found.found["60% too large"] == ["DISAGREE"] * 3
    assert "AGREE" not in found.found["30% too small"]
    assert len(set(found.fit_p)) == 3  # each run drew networks of its own
    assert "p-values of the fit" in str(found)


def test_a_claim_given_what_is_not_finite_is_invalid() -> None:
    """exp in four layers overflows; what is given is nan, and the prediction has no number for it."""
    verdict = check(CLAIMS["plain.stable_rate"], Setting("exp", depth=4, samples=4), EFFORT)
    assert verdict.status == "INVALID"
    assert "not finite" in verdict.finding.reason


def test_an_added_normalization_of_one_output_may_leave_rivals() -> None:
    """Mean subtraction under another name: T - 1 equal eigenvalues, whose largest exceeds the limit by M^-1/2."""
    theory.add_output_normalization("centre", lambda outputs, last_gamma: np.eye(6) - last_gamma / outputs.size)
    numerics.add_output_normalization("centre", lambda outputs, gamma: outputs - gamma * outputs.mean(-2, keepdim=True))
    try:
        claim = OutputClaim("centre", "", "lambda_max", "lambda_max", last="centre", given=("raw_outputs",))
        assert claim.powers(Setting(samples=6, last="centre"))[0] == 0.5
        assert check(claim, Setting(depth=2, samples=6, last="centre"), EFFORT).status != "DISAGREE"
    finally:
        del torch_outputs.OUTPUTS["centre"], OUTPUTS["centre"]
