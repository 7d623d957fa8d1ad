"""Wrong theories: each must fail wherever it differs from the right one, on the very draws that the right one passed.

They are the evidence that a verdict would have caught an error. Few of them cost new measurements: the fresh draws that
confirm a failure, and more of the same where a mistake is hardly larger than eps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from fimcheck.theory.network.composition import Composed
from fimcheck.verify.claims.claim import Claim, Predictor
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.judge.verdict import PILOT, Verdict, decide
from fimcheck.verify.judge.wrong import WRONG_BOUNDS, WRONG_THEORIES, WrongTheory, altered_network
from fimcheck.verify.rule.limit import ROUNDING

# Looks that a wrong theory may get beyond those of the right one: one that is hardly beyond eps takes more draws.
MORE_LOOKS = 3


@dataclass(frozen=True)
class Kill:
    """A wrong theory of a claim and the verdict on it: None where it is within eps of the right one.

    factor: between its prediction and the right one, at the width where that is farthest from 1; for a claim given
    the outputs it is a ratio of means over the draws of the pilot, and as uncertain.
    """

    wrong: WrongTheory
    verdict: Verdict | None
    factor: float

    @property
    def survived(self) -> bool:
        """A wrong theory that the check agreed with."""
        return self.verdict is not None and self.verdict.status == "AGREE"


def challenge(right: Verdict, draws: Draws) -> list[Kill]:
    """Every wrong theory that can be made of a claim, judged on the draws that the right one was judged on.

    A mistake that moves the prediction by eps at most at every width is listed, not judged: no rule that calls
    eps agreement can refuse it. One a little beyond takes narrower intervals than the right theory did, so where the
    right one agrees MORE_LOOKS more are allowed, and the error rate is split over all.
    """
    claim, effort, kills = right.claim, right.effort, []
    if right.status == "AGREE":
        effort = replace(effort, looks=effort.looks + MORE_LOOKS)
    usual = WRONG_BOUNDS.get(right.rule.relation, wrong_theories(draws.setting))
    for wrong in (*usual, *claim_slips(claim, draws.setting)):
        predicted = wrong.build(claim, draws.setting)
        if predicted is None:
            continue
        moved = _moved(claim, draws, predicted)
        if np.allclose(moved, 1, rtol=0, atol=ROUNDING):  # the claim does not hang on what is wrong
            continue
        low, high = right.rule.band
        close = all(low - ROUNDING < factor < high + ROUNDING for factor in moved)
        verdict = None if close else decide(claim, draws, predicted, effort, right.counts)
        kills.append(Kill(wrong, verdict, max(moved, key=lambda factor: abs(factor - 1))))
    return kills


def claim_slips(claim: Claim, setting: Setting) -> tuple[WrongTheory, ...]:
    """Mistakes that a claim tells of itself."""
    return tuple(
        WrongTheory(name, what, lambda _, __, predicted=predicted: predicted)
        for name, what, predicted in claim.slips(setting)
    )


def wrong_theories(setting: Setting) -> tuple[WrongTheory, ...]:
    """What can go wrong in any theory, and in that of the steps of this network, as they tell it themselves."""
    slips = setting.wide().slips.items()
    own = (WrongTheory(slip, what, altered_network(lambda net, slip=slip: _altered(net, slip))) for slip, what in slips)
    return (*WRONG_THEORIES, *own)


@cache
def _altered(net: Composed, slip: str) -> Composed | None:
    return net.altered(slip)


def _moved(claim: Claim, draws: Draws, predicted: Predictor) -> list[float]:
    """Factor between a wrong prediction and the right one at every width."""
    right = claim.predictor(draws.setting)
    return [
        float(np.mean(predicted(width, measured)) / np.mean(right(width, measured)))
        for width, measured in draws.take("main", dict.fromkeys(claim.widths(draws.setting), PILOT)).items()
    ]
