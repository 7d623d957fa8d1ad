"""Claims about the spectrum for T proportional to M, outputs centred, and the mistakes that they have to refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import sympy as sp

from fimcheck import theory
from fimcheck.numerics.eigenvalues import FRACTIONS
from fimcheck.theory.edge import EdgeError, mean, quantiles, tracy_widom
from fimcheck.theory.edge.prediction import GAP, EdgePrediction
from fimcheck.theory.edge.slips import SLIPS
from fimcheck.theory.edge.units import Change, as_it_is
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.symbols import M, rho
from fimcheck.verify.claims.claim import LARGEST, SMOOTH, Predictor, evaluator
from fimcheck.verify.claims.kinds import OneOutputClaim
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.rule.statistics import Array

OTHER_SLIPS = {
    "kappa gap": "the mean of the nonzero eigenvalues for the largest",
    "no finite rank": "what all units of a layer share from sample to sample is forgotten",
}
# Without the Tracy-Widom shift the limit is the same: no claim about the limit can refuse that.

OTHER_GAPS = {
    "hermitian": ("the gap is that of complex matrices", sp.Float(1.9043503897 / tracy_widom.GAP)),
    "shift": (
        "the shift of the largest eigenvalue is taken for the gap",
        sp.Float(-tracy_widom.MEAN / tracy_widom.GAP),
    ),
    "T^-1/2": ("the power of T is -1/2", (M / rho) ** sp.Rational(1, 6)),
    "T^-11/12": ("the power of T is too large by 1/4", (M / rho) ** sp.Rational(-1, 4)),
}
"""Mistakes in the law of the gap: words, and a factor (the gap of complex matrices: Bornemann 2010)."""

# Quantiles lower than a fifth lie where the law starts, which at finite width is blurred by M^-1/2.
LOWEST = round(10 * FRACTIONS[0])


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
            yield name, what, or_nothing(evaluator(replace(right, slip=name), setting))


@dataclass(frozen=True)
class GapClaim(EdgeClaim):
    """The distance of the two largest eigenvalues, which has the power of the law of Tracy and Widom alone.

    Their shift against the edge has it too, but hidden: what is left of order M^-1 moves both alike.
    """

    def powers(self, setting: Setting) -> tuple[float, ...]:  # noqa: ARG002
        """The density at the edge is a square root to relative T^(-2/3); the scale is that of the law to M^-1."""
        return (2 / 3, 1.0)

    def widths(self, setting: Setting) -> tuple[int, ...]:  # noqa: ARG002
        """Small: a gap varies by half of itself, and takes many draws."""
        return (32, 48, 64, 96, 128, 192, 256)

    def prediction(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction:
        """The mean gap on the scale of the edge."""
        right = theory.predict(wide or setting.wide(), "lambda_max", self.samples)
        return replace(right, quantity=self.quantity, formula=GAP)

    def slips(self, setting: Setting) -> Iterator[tuple[str, str, Predictor]]:
        """Other laws of the gap, and other scales."""
        right = self.prediction(setting)
        for name, (what, factor) in OTHER_GAPS.items():
            yield name, what, evaluator(replace(right, formula=right.formula * factor), setting)


@dataclass(frozen=True)
class LengthsClaim(EdgeClaim):
    """The eigenvalue beyond the edge that the lengths of the inputs give two layers, where T is large against M.

    Terms of finite rank give it: what all units of a layer share from sample to sample.
    """

    def powers(self, setting: Setting) -> tuple[float, ...]:  # noqa: ARG002
        """A single eigenvalue apart from the bulk."""
        return SMOOTH

    def widths(self, setting: Setting) -> tuple[int, ...]:  # noqa: ARG002
        """Few: the matrix is several times as large."""
        return (32, 64, 96, 128, 256)


@dataclass(frozen=True)
class EdgeOverMeanClaim(EdgeClaim):
    """The same in units of the mean of the eigenvalues, which varies from network to network."""

    given: tuple[str, ...] = ("lambda_perp",)

    def prediction(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction:
        """The edge over the mean of the law, times the measured mean."""
        net = wide or setting.wide()
        right = theory.predict(net, self.quantity, self.samples)
        assert setting.rho is not None
        assert isinstance(net, theory.WideNetwork)
        return replace(right, formula=right.formula * _own_mean(net, setting.rho))


@dataclass(frozen=True)
class QuantileClaim(OneOutputClaim):
    """Where k/10 of the eigenvalues lie below, k = ``tenths``, over their mean: T = M/rho, outputs centred, C = 1.

    Given the mean of the very network, which is the subject of other claims and varies from network to network.
    """

    given: tuple[str, ...] = ("lambda_perp",)
    tenths: int = 5

    def widths(self, setting: Setting) -> tuple[int, ...]:  # noqa: ARG002
        """All eigenvalues are found."""
        return (64, 96, 128, 256, 512)

    def values(self, draws: dict[str, Array]) -> Array:
        """The measured quantile."""
        return draws[self.measured][:, self.tenths - LOWEST]

    @property
    def symbol(self) -> str:
        """The quantile."""
        return rf"\lambda_{{({self.tenths}/10)}}"

    def prediction(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction:
        """The quantile of the limiting law over its mean, times the measured mean."""
        return self._stated(setting, wide or setting.wide())

    def slips(self, setting: Setting) -> Iterator[tuple[str, str, Predictor]]:
        """Mistakes in the equation; a law is found when it is asked for."""
        for name, (what, change) in SLIPS.items():

            def predicted(width: int, measured: dict[str, Array], change: Any = change) -> Array | float:
                return evaluator(self._stated(setting, setting.wide(), change), setting)(width, measured)

            yield name, what, or_nothing(predicted)

    def _stated(self, setting: Setting, net: Any, change: Change = as_it_is) -> theory.Prediction:
        assert setting.rho is not None
        value = quantiles(net, setting.rho, FRACTIONS, change=change)[self.tenths - LOWEST]
        formula = sp.Float(value, 17) * _own_mean(net, setting.rho, change)
        return theory.Prediction(self.quantity, net, self.samples, formula, "equals", (), self.source)


def _own_mean(net: theory.WideNetwork, rho: float, change: Change = as_it_is) -> sp.Expr:
    """The measured mean of the eigenvalues over that of the law."""
    return sp.Symbol("lambda_perp", positive=True) / sp.Float(mean(net, rho, change=change), 17)


def or_nothing(predicted: Predictor) -> Predictor:
    """nan, which is INVALID, where a wrong theory has no edge at all."""

    def number(width: int, measured: dict[str, Array]) -> Array | float:
        try:
            return predicted(width, measured)
        except EdgeError:
            return float("nan")

    return number
