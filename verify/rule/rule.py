"""What counts as agreement, and how often the answer may be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Relation = Literal["equals", "at least", "at most"]

# p-values of a fit: one this small under the smaller model already buys the larger model, and decides nothing else (the
# verdict MISFIT needs the small error rate of the rule); no agreement on a curve that fits worse than the second.
ADD_TERM_BELOW = 0.05
POOR_FIT_BELOW = 0.001


@dataclass(frozen=True)
class Rule:
    """What counts as agreement, and how often the answer may be wrong.

    eps: relative error of the theory that we are willing to call agreement; the band for theta is
        1/(1 + eps) .. 1 + eps, so that a theory too large and one too small by eps both sit on its edge.
    error_rate: chance, per verdict over all looks, of AGREE for a theory wrong by eps or more, and of
        DISAGREE or MISFIT for a theory inside the band. It holds for means that are close to normal and for
        corrections of which all but the first are small or large enough to be seen in the fit; `calibration`
        measures what is left of it for a correction in between.
    looks: how many times, at most, the draws are looked at, doubled each time; it divides the error rate.
    relation: "equals" tests that theta lies in the band; "at least" that it lies above its lower edge,
        "at most" below its upper edge.
    powers: exponents r_i of the finite-width corrections, increasing; the last one is used only if the others
        do not fit.
    """

    eps: float
    error_rate: float
    looks: int
    relation: Relation
    powers: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 0 < self.eps < 1:
            raise ValueError(f"eps = {self.eps} must lie between 0 and 1: it is a relative error, 0.05 is usual")
        if not 0 < self.error_rate < 0.5:
            raise ValueError(f"error_rate = {self.error_rate} must lie between 0 and 0.5; 0.001 is usual")
        if self.looks < 1:
            raise ValueError(f"looks = {self.looks} must be at least 1")
        if len(self.powers) < 2 or list(self.powers) != sorted(set(self.powers)) or self.powers[0] <= 0:
            raise ValueError(f"powers = {self.powers} must be two or more increasing positive exponents")

    @property
    def tail(self) -> float:
        """One-sided error probability spent at each look."""
        return self.error_rate / self.looks

    @property
    def band(self) -> tuple[float, float]:
        """Values of theta that are called agreement when relation is "equals"."""
        return 1 / (1 + self.eps), 1 + self.eps
