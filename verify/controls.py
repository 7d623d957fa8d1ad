"""Wrong theories: each must fail wherever it differs from the right one, on the very draws that the right one passed.

They are the evidence that a verdict would have caught an error. None of them costs a new measurement, except the
fresh draws that confirm a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from verify.check import Effort, Predictor, Verdict, decide, predictor
from verify.claims import Claim
from verify.draws import Draws
from verify.setting import Setting
from verify.statistics import Array


@dataclass(frozen=True)
class WrongTheory:
    """id, what is wrong with it, and the predictor that makes the mistake (None where it cannot be made)."""

    id: str
    mistake: str
    build: Callable[[Claim, Setting], Predictor | None]


def _scaled(factor: float) -> Callable[[Claim, Setting], Predictor]:
    def build(claim: Claim, setting: Setting) -> Predictor:
        right = predictor(claim, setting)
        return lambda width, measured: right(width, measured) * factor

    return build


def _power(exponent: float) -> Callable[[Claim, Setting], Predictor]:
    """A wrong exponent of M whose constant is right in the middle of the widths, where it is hardest to see."""

    def build(claim: Claim, setting: Setting) -> Predictor:
        right = predictor(claim, setting)
        middle = float(np.sqrt(claim.widths[0] * claim.widths[-1]))
        return lambda width, measured: right(width, measured) * (width / middle) ** exponent

    return build


def _altered_setting(alter: Callable[[Setting], Setting]) -> Callable[[Claim, Setting], Predictor | None]:
    """The prediction for a slightly different setting, at the T of the true one."""

    def build(claim: Claim, setting: Setting) -> Predictor | None:
        other = alter(setting)
        return None if other == setting else predictor(claim, other)

    return build


def _altered_given(alter: Callable[[Setting, Array], Array]) -> Callable[[Claim, Setting], Predictor | None]:
    def build(claim: Claim, setting: Setting) -> Predictor | None:
        if not claim.given:
            return None
        right = predictor(claim, setting)
        return lambda width, measured: right(
            width, {**measured, **{name: alter(setting, measured[name]) for name in claim.given}}
        )

    return build
