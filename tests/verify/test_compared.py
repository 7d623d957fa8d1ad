"""What a claim compares: a ratio, or a difference where the theory says 0; and that something could refute it."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from fimcheck import theory, verify
from fimcheck.theory.network.composition import Composed
from fimcheck.verify.claims.claim import LARGEST, SMOOTH, Claim
from fimcheck.verify.claims.composition import OverlapClaim
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.rule.statistics import Array

ODD = Setting.parse("dense tanh dense T=4 sb2=0")
BIASED = Setting.parse("dense relu dense T=4 sb2=0.3")
QUICK = verify.Effort(budget=1e9)


def claim_of(setting: Setting, id: str) -> Claim:
    return next(c for c in verify.network_claims(setting) if c.id == f"network.{id}")


@pytest.mark.parametrize("id", ["K[1].other", "K[2].other", "Th.other"])
def test_an_overlap_that_vanishes_is_judged_by_a_difference(id: str) -> None:
    claim = claim_of(ODD, id)
    verdict = verify.check(claim, ODD, QUICK)
    assert verdict.status == "AGREE", verdict
    assert verdict.compared == f"1 + (measured - predicted)/({id.split('[')[0].split('.')[0]}[same])"
    assert verdict.record()["compared"] == verdict.compared
    assert claim_of(BIASED, id).difference(BIASED) is None, "what does not vanish is judged by its ratio"


class Vanishing(OverlapClaim):
    """A theory that lets an overlap vanish."""

    def predicted(self, wide: Composed, setting: Setting) -> float:
        return super().predicted(wide, setting) * (self.relation == "same")


def test_a_theory_that_says_0_where_there_is_a_tenth_is_refused() -> None:
    right = claim_of(BIASED, "K[1].other")
    assert isinstance(right, OverlapClaim)
    wrong = Vanishing(**{name: getattr(right, name) for name in right.__dataclass_fields__})
    scale = wrong.difference(BIASED)
    assert scale is not None
    assert right.prediction(BIASED).formula / scale.formula < 0.14
    verdict = verify.check(wrong, BIASED, QUICK)
    assert verdict.status == "DISAGREE", verdict
    assert verify.check(right, BIASED, QUICK).status == "AGREE"


def test_what_is_smaller_than_rounding_is_0() -> None:
    """lambda_1 of a linear network with batch normalization is 0 in theory, found as 1e-14."""
    setting = Setting.parse("dense 3*(batch linear dense) T=8")
    claim = claim_of(setting, "lambda_1")
    scale = claim.difference(setting)
    assert scale is not None
    assert scale.quantity == "mean eigenvalue"
    verdict = verify.check(claim, setting, verify.Effort(budget=1e8))
    assert verdict.status == "AGREE", verdict
    assert "the same in every draw" in verdict.finding.reason, "what is measured there is 1, by the biases"
    turned = Setting.parse("dense 3*(batch relu dense) T=8 sw2=2 sb2=0")
    assert claim_of(turned, "lambda_1").difference(turned) is None


ON_TOP = "dense 3*(batch relu dense) T=8 sw2=2 sb2=0"


@pytest.mark.parametrize(
    ("text", "quantity", "powers"),
    [
        (ON_TOP, "lambda_top", LARGEST),  # kappa_2 < 0 puts the degenerate group on top
        (ON_TOP, "lambda_1", SMOOTH),
        (ON_TOP, "lambda_perp", SMOOTH),
        ("dense relu dense T=4 C=3 sb2=0.3", "lambda_top", SMOOTH),  # C outliers, all averaged
        ("dense relu dense T=4 C=1 sb2=0.3", "lambda_max", SMOOTH),
        ("dense relu dense T=4 C=3 last=mean sb2=0.3", "lambda_top", LARGEST),
        ("dense tanh dense T=4 C=1 sb2=0", "lambda_top", LARGEST),  # kappa_2 = 0: all share one limit
        ("dense tanh dense T=4 C=1 sb2=0.02", "lambda_top", LARGEST),  # an outlier that is hardly one
        ("dense relu dense T=4 C=3 sb2=0.3", "m", SMOOTH),
        ("dense relu dense T=4 C=3 last=mean sb2=0.3", "s", SMOOTH),
    ],
)
def test_powers_follow_from_which_eigenvalues_are_compared(text: str, quantity: str, powers: tuple[float, ...]) -> None:
    setting = Setting.parse(text)
    claim = Claim("any name", "", quantity, quantity, last=setting.last, network=text)
    assert claim.powers(setting) == powers


PLAIN = Setting("relu", depth=2, samples=4)


class Stated(Claim):
    """A claim with a formula of its own."""

    form: sp.Expr = sp.S.One

    def prediction(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction:
        return theory.Prediction(self.quantity, wide or setting.wide(), "fixed", self.form, "equals", (), self.source)


def symbols(text: str) -> list[sp.Symbol]:
    return [sp.Symbol(name, positive=True) for name in text.split()]


class ByItself(Stated):
    form = 7 * theory.symbols.C * theory.symbols.kappa1 / theory.symbols.M * symbols("m")[0]


class ByTheRest(Stated):
    form = sum(symbols("lambda_1 lambda_perp"), sp.S.Zero)


class ByTangents(Stated):
    form = symbols("Th")[0]


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (ByItself, ("m",), "its formula contains m"),
        (ByItself, (), "its formula contains m"),
        (Stated, ("m",), "its formula contains m"),
        (ByTheRest, ("lambda_1", "lambda_perp"), "lambda_1 and lambda_perp of a network determine its m"),
        (ByTangents, ("Th",), "Th of a network determine its m"),
    ],
)
def test_what_nothing_could_refute_is_refused_before_it_is_drawn(
    kind: type[Claim], given: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify.Draws, "take", lambda *_: pytest.fail("networks were drawn"))
    with pytest.raises(verify.SettingError, match=words):
        verify.check(kind("tautology", "", "m", "m", given=given), PLAIN)


class Disguised(Stated):
    """Says that it measures m, and reads what it is given."""

    form = 2 * symbols("s")[0]

    def values(self, draws: dict[str, Array]) -> Array:
        return 2 * draws["s"]


def test_what_is_given_must_not_determine_what_is_measured() -> None:
    verdict = verify.check(Disguised("disguised", "", "m", "m", given=("s",)), PLAIN, verify.Effort(budget=1e7))
    assert verdict.status == "INVALID"
    assert "determine its m" in verdict.finding.reason


@pytest.mark.parametrize("name", ["predictor", "formula"])
def test_what_is_printed_is_what_is_judged(name: str) -> None:
    """No claim states one formula and judges another."""
    with pytest.raises(verify.SettingError, match=r"what is printed is what is judged"):
        type("Cheat", (Claim,), {name: lambda *_: "7 C kappa_1/M"})


@pytest.mark.parametrize("id", ["plain.m", "last_layer.m", "plain.stable_rate", "plain.q1[2]"])
def test_the_printed_formula_has_the_value_that_is_judged(id: str) -> None:
    claim = verify.CLAIMS[id]
    setting = verify.Setting("relu", depth=3, samples=12, classes=4, last=claim.last, hidden=claim.hidden)
    stated = claim.prediction(setting)
    assert stated.latex_formula() in claim.formula(setting)
    measured = {name: np.full((2, 12, 4) if name == "raw_outputs" else 2, 2.0) for name in claim.given}
    measured = {n: v + np.random.default_rng(0).normal(size=v.shape) * (v.ndim > 1) for n, v in measured.items()}
    known = {name: value for name, value in setting.values(64).items() if name in stated.symbols}
    judged = claim.predictor(setting)(64, measured)
    np.testing.assert_allclose(judged, stated.evaluate(**known, **measured))
    doubled = replace(stated, formula=2 * stated.formula)
    if not claim.given:
        assert claim.formula(setting) != doubled.latex_formula()
