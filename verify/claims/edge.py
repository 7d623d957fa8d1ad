"""The claim about the edge of the spectrum for T proportional to M, and the mistakes that it has to refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fimcheck.theory.edge import EdgeError
from fimcheck.theory.edge.prediction import SLIPS, EdgePrediction
from fimcheck.verify.claims.claim import LARGEST, Predictor, evaluator
from fimcheck.verify.claims.kinds import OneOutputClaim
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.rule.statistics import Array

OTHER_SLIPS = {"kappa gap": "the mean of the nonzero eigenvalues for the largest"}
# Without the Tracy-Widom shift the limit is the same: no claim about the limit can refuse that.


@dataclass(frozen=True)
class EdgeClaim(OneOutputClaim):
    """The largest eigenvalue at T = M/rho with the outputs centred over the samples, one output."""

    def powers(self, setting: Setting) -> tuple[float, ...]:  # noqa: ARG002
        """The shared fields of a network differ from those of the limit by M^-1/2."""
        return LARGEST

    def widths(self, setting: Setting) -> tuple[int, ...]:  # noqa: ARG002
        """From where the Tracy-Widom law is near."""
        return (48, 64, 128, 256, 512, 1024)

    def slips(self, setting: Setting) -> Iterator[tuple[str, str, Predictor]]:
        """Wrong theories of the edge: a short name, what is wrong, and the predictor."""
        right = self.prediction(setting)
        assert isinstance(right, EdgePrediction)
        for name, what in ({n: words for n, (words, _) in SLIPS.items()} | OTHER_SLIPS).items():
            yield name, what, _or_nothing(evaluator(replace(right, slip=name), setting))


def _or_nothing(predicted: Predictor) -> Predictor:
    """nan, which is INVALID, where a wrong theory has no edge at all."""

    def number(width: int, measured: dict[str, Array]) -> Array | float:
        try:
            return predicted(width, measured)
        except EdgeError:
            return float("nan")

    return number
