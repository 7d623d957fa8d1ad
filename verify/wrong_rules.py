"""Wrong rules for hidden layers: slips in deriving the order parameters, each made of the right rule."""

from __future__ import annotations

from dataclasses import dataclass

from theory.functions import Function
from theory.normalizations import BatchNormLimit, Expectations, HiddenRule, LayerNorm, Pair, Parameters, Two


def slope_for_phi(right: HiddenRule) -> HiddenRule:
    """phi' in place of phi in the forward overlaps."""

    class SlopeForPhi(type(right)):
        def forward(self, expect: Expectations, phi: Function, seen: Pair, at: Parameters) -> Two:
            return super().forward(expect, phi.derivative(), seen, at)

    return SlopeForPhi()


@dataclass(frozen=True)
class _LayerAfterPhi(LayerNorm):
    def pair(self, q: Two, at: Parameters) -> Pair:  # noqa: ARG002
        return q[0], q[1], 0

    def forward(self, expect: Expectations, phi: Function, seen: Pair, at: Parameters) -> Two:
        p, c, mean = seen
        centre = expect.pair(phi, p, 0 * c, mean)
        correlation = (expect.pair(phi, p, c, mean) - centre) / (expect.same(phi, p, mean) - centre)
        return at.gamma**2 + at.beta**2, at.gamma**2 * correlation + at.beta**2


def after_phi(right: HiddenRule) -> HiddenRule | None:
    """phi(u) normalized in the forward pass in place of u."""
    if isinstance(right, LayerNorm):
        return _LayerAfterPhi()
    if not isinstance(right, BatchNormLimit):
        return None

    class BatchAfterPhi(type(right)):
        def forward(self, expect: Expectations, phi: Function, seen: Pair, at: Parameters) -> Two:  # noqa: ARG002
            return at.gamma**2 + at.beta**2, at.beta**2 - at.gamma**2 / (at.samples - 1)

    return BatchAfterPhi()


def statistics_held_fixed(right: HiddenRule) -> HiddenRule | None:
    """The derivative through the mean and standard deviation of the batch forgotten."""
    if not isinstance(right, BatchNormLimit):
        return None

    class Held(type(right)):
        backward = HiddenRule.backward

        def gain(self, q: Two, at: Parameters) -> Two:
            return (at.gamma**2 / (q[0] - q[1]),) * 2

        def overlaps(self, hq: Two) -> Two:
            return hq

    return Held()


def scale_held_fixed(right: HiddenRule) -> HiddenRule | None:
    """The division by the standard deviation forgotten in the backward pass."""
    if not isinstance(right, LayerNorm):
        return None

    class Undivided(type(right)):
        def gain(self, q: Two, at: Parameters) -> Two:  # noqa: ARG002
            return at.gamma**2, at.gamma**2

    return Undivided()
