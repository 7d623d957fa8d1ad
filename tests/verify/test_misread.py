"""Misread formulas as named candidates, what a failure goes with, and planted mistakes that nobody listed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fimcheck.verify import CLAIMS, Setting
from fimcheck.verify.claims.extension import load
from fimcheck.verify.claims.kinds import order_parameters
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.examine import stages as examine
from fimcheck.verify.examine.diagnosis import _apart
from fimcheck.verify.examine.factors import propose
from fimcheck.verify.examine.misread import averages, misreadings
from fimcheck.verify.examine.observation import Observation
from fimcheck.verify.examine.variation import varied_settings
from fimcheck.verify.judge import suite
from fimcheck.verify.judge.suite import Case
from fimcheck.verify.judge.verdict import Effort, Verdict
from fimcheck.verify.rule.statistics import Finding

PLANTED = Path(__file__).parent / "planted"
DEEP = Setting("tanh", depth=4, ratios=(0.5, 1.5, 1.0, 1.0), samples=6)


def test_sums_over_layers_are_right_before_they_are_misread() -> None:
    """kappa_1 is the mean over layers of forward times backward overlap, each layer as wide as it is."""
    orders = order_parameters(DEEP.wide(), "fixed", 6)
    layers = sorted(orders.tq1)
    right = sum(a * orders.hq1[n - 1] * orders.tq1[n] for n, a in zip(layers, DEEP.ratios, strict=True))
    assert right == pytest.approx(float(orders.kappa1) * float(DEEP.wide().alpha), rel=1e-12)
    shifted = sum(a * orders.hq1[n - 1] * orders.tq1[n - 1] for n, a in list(zip(layers, DEEP.ratios, strict=True))[1:])
    found = misreadings(CLAIMS["plain.m"], DEEP)
    assert found["kappa_1, the backward overlaps one layer too low"] == pytest.approx(float(shifted / right), rel=1e-12)


def test_an_order_parameter_is_misread_as_its_neighbours() -> None:
    found = misreadings(CLAIMS["plain.tq1[2]"], DEEP)
    orders = order_parameters(DEEP.wide(), "fixed", 6)
    assert found["tq1 of layer 3 for that of 2"] == pytest.approx(float(orders.tq1[3] / orders.tq1[2]))
    assert found["forward for backward"] == pytest.approx(float(orders.hq1[1] / orders.tq1[2]))
    assert found["tq2 for tq1"] == pytest.approx(float(orders.tq2[2] / orders.tq1[2]))


def test_averages_of_phi_are_those_of_its_layer() -> None:
    found = averages(CLAIMS["plain.m"], Setting("relu", sigma_b2=0.3, samples=5))
    assert found["E[phi'^2]"] == pytest.approx(0.5)
    assert found["|E[phi]|"] ** 2 == pytest.approx(found["E[phi^2]"] / np.pi)  # q/2 and sqrt(q/2pi)
    assert "|E[phi]|" not in averages(CLAIMS["plain.m"], Setting("tanh", samples=5))


@pytest.mark.parametrize(
    "words", ["kappa_1, the backward overlaps in reversed order", "kappa_1, without the first layer"]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_misreading_is_proposed_by_name(words: str, sign: int) -> None:
    """Which of the two is misread, prediction or network, is told by the direction of the ratio."""
    claim, rng, observed = CLAIMS["plain.m"], np.random.default_rng(3), []
    for setting in varied_settings(Setting("tanh", sigma_b2=0.3, samples=5), claim):
        named = misreadings(claim, setting)
        ratio = named[words] ** sign
        observed.append(Observation(setting, ratio * (1 + 0.01 * rng.normal()), 0.01 * ratio, {}, named))
    whose = "network" if sign == 1 else "prediction"
    found = [p.factor for p in propose(observed).proposals]
    assert f"that of a {whose} with {words}" in found[:2]


def judged(setting: Setting, status: str) -> Verdict:
    claim = CLAIMS["plain.m"]
    finding = Finding(status, "", None, None, 0, 0, 0)  # type: ignore[arg-type]
    return Verdict(claim, setting, Effort(), Effort().rule(claim, setting), finding, 1, (), ())


def test_a_failure_is_put_down_to_what_the_settings_tell_apart() -> None:
    relu = Setting("relu", samples=5)
    tanh, deep = replace(relu, activation="tanh"), replace(relu, depth=6, ratios=(1.0,))
    fails = judged(tanh, "DISAGREE")
    assert (
        _apart(fails, [judged(relu, "AGREE")]) == "it goes with the activation: fails with tanh only, holds with relu"
    )
    # The mutant: another activation fails too, and this one holds elsewhere.
    other = [judged(relu, "AGREE"), judged(replace(tanh, samples=6), "AGREE"), judged(deep, "DISAGREE")]
    assert _apart(fails, other).startswith("no single property of the setting tells")
    only_deep = [judged(relu, "AGREE"), judged(tanh, "AGREE")]
    assert _apart(judged(deep, "DISAGREE"), only_deep) == "it goes with depth: fails from 6 on, holds up to 3"
    assert _apart(fails, []) == ""


# What is said of the cause; the other planted mistakes take minutes each, and are run by hand with `fimcheck check`.
# Those of steps are in test_places.py.
CAUSES = {"forgotten_sample": "the ratio is (T-1)/T at all"}


@pytest.mark.slow
@pytest.mark.parametrize("name", CAUSES)
def test_a_planted_mistake_is_refused_with_its_cause(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fimcheck.verify.claims.claim.WIDTHS", (32, 64, 128, 256, 512))
    every = examine.claim_cases
    monkeypatch.setattr(examine, "claim_cases", lambda e, thorough=False: (every(e, thorough)[0][:1], []))
    monkeypatch.setattr("fimcheck.verify.examine.diagnosis.shrink", lambda setting, _: setting)
    effort = Effort(eps=0.05, error_rate=1e-3, looks=2, budget=1e8)

    def run(todo: list[Case], once: bool = False) -> Iterator:
        return suite.run(todo, replace(effort, looks=1) if once else effort, Draws)

    extension = load(PLANTED / f"{name}.py")
    try:
        stages = list(examine.examine(extension, run))
    finally:
        extension.forget()
    assert stages[-1].outcome == "failed"
    assert any(CAUSES[name] in line for line in stages[-1].lines), stages[-1].lines
