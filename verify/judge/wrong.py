"""Wrong theories that are made from any claim, by kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import sympy as sp

from fimcheck import theory
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.symbols import T, kappa1, kappa2
from fimcheck.verify.claims.claim import Claim, DrawnPrediction, Predictor, evaluator
from fimcheck.verify.claims.setting import Setting


@dataclass(frozen=True)
class WrongTheory:
    """id, what is wrong with it, and the predictor that makes the mistake (None where it cannot be made)."""

    id: str
    mistake: str
    build: Callable[[Claim, Setting], Predictor | None]


def _scaled(factor: float) -> Callable[[Claim, Setting], Predictor]:
    def build(claim: Claim, setting: Setting) -> Predictor:
        right = claim.predictor(setting)
        return lambda width, measured: right(width, measured) * factor

    return build


def _power(exponent: float) -> Callable[[Claim, Setting], Predictor]:
    """A wrong exponent of M whose constant is right in the middle of the widths, where it is hardest to see."""

    def build(claim: Claim, setting: Setting) -> Predictor:
        right = claim.predictor(setting)
        widths = claim.widths(setting)
        middle = float(np.sqrt(widths[0] * widths[-1]))
        return lambda width, measured: right(width, measured) * (width / middle) ** exponent

    return build


def _growth_power(exponent: float) -> Callable[[Claim, Setting], Predictor | None]:
    """A smaller mistake in the exponent of M of a claim about growth, T in proportion to M."""

    def build(claim: Claim, setting: Setting) -> Predictor | None:
        return _power(exponent)(claim, setting) if claim.samples == "proportional" else None

    return build


def _altered_setting(alter: Callable[[Setting], Setting]) -> Callable[[Claim, Setting], Predictor | None]:
    """The prediction for a slightly different setting, at the T of the true one."""

    def build(claim: Claim, setting: Setting) -> Predictor | None:
        other = alter(setting)
        if other == setting:
            return None
        try:
            return claim.predictor(other)
        except ValueError:  # the theory has no such statement about the altered setting
            return None

    return build


def _altered_formula(alter: Callable[[sp.Expr], sp.Basic]) -> Callable[[Claim, Setting], Predictor | None]:
    """The prediction with another formula in kappa_1, kappa_2, T, ..."""

    def build(claim: Claim, setting: Setting) -> Predictor | None:
        right = claim.prediction(setting)
        if isinstance(right, DrawnPrediction):
            return None  # its formula is not the whole prediction
        formula = cast(sp.Expr, alter(right.formula))
        if formula == right.formula or formula == 0 or formula.is_finite is False:
            return None  # no mistake, or one that nobody would make: it predicts nothing
        return evaluator(replace(right, formula=formula), setting)

    return build


def altered_network(alter: Callable[[Composed], Composed | None]) -> Callable[[Claim, Setting], Predictor | None]:
    """The prediction for another wide network in place of the right one."""

    def build(claim: Claim, setting: Setting) -> Predictor | None:
        try:
            wrong = alter(setting.wide())
            return None if wrong is None else claim.predictor(setting, wrong)
        except ValueError:  # the theory has no such statement about the altered network
            return None

    return build


def _unbiased(claim: Claim, setting: Setting) -> Predictor | None:
    """Output variances divided by T - 1 where the network divides by T."""
    if claim.output.over != "samples" or setting.samples is None:
        return None
    right, factor = claim.predictor(setting), (setting.samples - 1) / setting.samples
    if not claim.given:
        power = {"m": 1, "s": 2}[claim.quantity]  # the averages of 1/sd^2 and of 1/sd^4
        return lambda width, measured: right(width, measured) * factor**power
    power = {"Q1": 1, "Qmax": 1, "Q2": 2}.get(claim.given[0])
    if power is None:
        return None  # given something else than the variances
    return lambda width, measured: right(width, {**measured, claim.given[0]: measured[claim.given[0]] * factor**power})


def _with_last(claim: Claim, setting: Setting, last: str) -> Predictor | None:
    """What the theory says with another last normalization, if it says something."""
    if claim.last == "none" or claim.measured != claim.quantity:
        return None
    try:
        return evaluator(theory.predict(replace(setting, last=last).wide(), claim.quantity, claim.samples), setting)
    except ValueError:  # the theory has no such statement about those outputs
        return None


def _without_last(claim: Claim, setting: Setting) -> Predictor | None:
    """The outputs taken for unnormalized ones, where what is measured has a finite variance over networks.

    It goes like 1/sd^2 or 1/sd^4 of n outputs, and a prediction without them does not divide that out: no number of
    draws could judge it at n <= 5 or 9. Of an added normalization nobody knows.
    """
    if claim.output.added:
        return None
    n = {"": math.inf, "classes": setting.classes, "samples": setting.samples_at(claim.widths(setting)[0])}
    if n[claim.output.over] <= (9 if claim.quantity == "s" else 5):
        return None
    return _with_last(claim, setting, "none")


def _scaled_with_last(claim: Claim, setting: Setting, last: str) -> Predictor | None:
    """Outputs divided by sd, and differentiated as under another last normalization, which does not divide."""
    right, name = _with_last(claim, setting, last), claim.given[0] if claim.given else ""
    if right is None or name not in ("Q1", "Q2", "Qmax", "R1"):
        return None
    gain = setting.last_gamma**2 if name == "R1" else 1.0  # which the others hold
    return lambda width, measured: gain * right(width, measured) * measured[name]


def _last_held_fixed(claim: Claim, setting: Setting) -> Predictor | None:
    """As if neither mean nor sd of the outputs hung on the parameters."""
    return _scaled_with_last(claim, setting, "none")


def _through_mean_only(claim: Claim, setting: Setting) -> Predictor | None:
    """Batch normalization differentiated through the mean and not through the standard deviation.

    For T in proportion to M the direction that this leaves is one of ever more, and the limit is the same: no mistake.
    """
    few = claim.output.over == "samples" and claim.samples != "proportional"
    return _scaled_with_last(claim, setting, "mean") if few else None


def _without_hidden(setting: Setting) -> Setting:
    return replace(setting, hidden="none", gamma=1.0, beta=0.0)


def _infinite_samples(claim: Claim, setting: Setting) -> Predictor | None:
    """Hidden batch normalization over T -> infinity samples taken for that over T samples."""
    if claim.samples != "fixed" or not setting.couples_samples:
        return None
    return replace(claim, samples="infinite").predictor(setting)


WRONG_THEORIES = (
    WrongTheory("x1.125", "a constant 12.5% too large", _scaled(1.125)),
    WrongTheory("x1.1", "a constant 10% too large", _scaled(1.1)),
    WrongTheory("x0.875", "a constant 12.5% too small", _scaled(0.875)),
    WrongTheory("M^+1/2", "an exponent of the width too large by a half", _power(0.5)),
    WrongTheory("M^-1/2", "an exponent of the width too small by a half", _power(-0.5)),
    *(
        WrongTheory(
            f"M^{sign}{words}", f"an exponent of growth off by {sign}{words}", _growth_power(float(f"{sign}{size}"))
        )
        for words, size in (("1/4", 0.25), ("1/8", 0.125))
        for sign in "+-"
    ),
    WrongTheory("T-1", "T - 1 for T", _altered_formula(lambda f: f.subs(T, T - 1))),
    WrongTheory("k1=k2", "kappa_1 for kappa_2", _altered_formula(lambda f: f.subs(kappa2, kappa1))),
    WrongTheory("k2=k1", "kappa_2 for kappa_1", _altered_formula(lambda f: f.subs(kappa1, kappa2))),
    WrongTheory(
        "swap",
        "kappa_1 and kappa_2 exchanged",
        _altered_formula(lambda f: f.subs({kappa1: kappa2, kappa2: kappa1}, simultaneous=True)),
    ),
    WrongTheory("no norm", "the hidden normalization is forgotten", _altered_setting(_without_hidden)),
    WrongTheory("no last", "the last normalization is forgotten", _without_last),
    WrongTheory("fixed last", "the derivative through the output statistics is forgotten", _last_held_fixed),
    WrongTheory("after", "the hidden normalization after phi, not before", altered_network(Composed.normalized_after)),
    WrongTheory(
        "last gamma=1",
        "the scale of the last normalization is forgotten",
        _altered_setting(lambda s: replace(s, last_gamma=1.0)),
    ),
    WrongTheory("T=oo", "infinitely many samples in hidden batch normalization", _infinite_samples),
    WrongTheory("unbiased", "unbiased for biased output variance", _unbiased),
    WrongTheory("no d/dsd", "the derivative through the outputs' sd is forgotten", _through_mean_only),
)
# A bound is refuted only by a network beyond it: constants that merely eat its slack make a weaker or a sharper
# bound that is true as well, so bounds get mistakes of their own. (Any multiple of the square root of M bounds what
# stays finite: no constant can make that upper bound wrong.)
WRONG_BOUNDS = {
    "at least": (
        WrongTheory("M^+1/2", "the lower bound grows like the square root of M", _power(0.5)),
        WrongTheory("M^+1/4", "the lower bound grows like the fourth root of M", _power(0.25)),
        WrongTheory("M^+1/8", "the lower bound grows like the eighth root of M", _power(0.125)),
        WrongTheory("x10", "the lower bound is ten times too large", _scaled(10.0)),
    ),
    "at most": (
        WrongTheory("M^-1", "the upper bound shrinks like the square root of 1/M", _power(-1.0)),
        WrongTheory("M^-3/4", "the upper bound shrinks like the fourth root of 1/M", _power(-0.75)),
        WrongTheory("M^-5/8", "the upper bound shrinks like the eighth root of 1/M", _power(-0.625)),
    ),
}
