"""Claims about the largest eigenvalue for T proportional to M given what the samples of the very network share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from fimcheck import theory
from fimcheck.theory.edge import given_edge
from fimcheck.theory.edge.own_units import ORDERS
from fimcheck.theory.edge.slips import RANK_SLIPS, RESIDUAL_SLIPS, SLIPS
from fimcheck.theory.edge.units import Change, as_it_is
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.writing import latex
from fimcheck.verify.claims.claim import Claim, DrawnPrediction, Predictor
from fimcheck.verify.claims.edge import or_nothing
from fimcheck.verify.claims.kinds import OneOutputClaim
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.rule.statistics import Array


@dataclass(frozen=True)
class GivenEdgeClaim(Claim):
    """The same given what the samples of the very network share: its order parameters and the fields of its units.

    Of several outputs too, whose overlaps are those of the fields.
    """

    given: tuple[str, ...] = ("shared", *ORDERS)
    mistakes: ClassVar[Mapping[str, tuple[str, Change]]] = SLIPS

    def powers(self, setting: Setting) -> tuple[float, ...]:  # noqa: ARG002
        """What is left are corrections to the law of Tracy and Widom, whose shift is of order T^-2/3 and whose
        corrections are T^-1/3 and T^-2/3 of that, and the square of what linearizing drops."""
        return (1.0, 4 / 3)

    def widths(self, setting: Setting) -> tuple[int, ...]:
        """Each draw takes a solution of its own. T >= 32: of fewer the law of Tracy and Widom is far. The deeper a
        network the later what is left falls like 1/M: from M = 128 for three layers of tanh, from 192 for four."""
        assert setting.rho is not None
        fewest = max(64 * (setting.depth - 1), 32 * setting.rho)
        return tuple(round(fewest * ratio) for ratio in (1, 1.5, 2, 3, 5))

    def prediction(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction:
        """The edge of every draw's own units."""
        law = theory.predict(wide or setting.wide(), self.quantity, self.samples, "Q1" in self.given)
        return DrawnPrediction(
            self.quantity, law.network, self.samples, law.formula, law.relation, (), self.source, self.given,
            self._solved(setting, law.network), latex.text(law.formula),
        )  # fmt: skip

    def slips(self, setting: Setting) -> Iterator[tuple[str, str, Predictor]]:
        """Mistakes in the equation."""
        for name, (what, change) in self.mistakes.items():
            yield name, what, or_nothing(self._solved(setting, setting.wide(), change))

    def _solved(self, setting: Setting, net: Any, change: Change = as_it_is) -> Predictor:
        return _given(setting, net, tuple(name for name in self.given if name != "Q1"), change)


@dataclass(frozen=True)
class SplitEdgeClaim(GivenEdgeClaim, OneOutputClaim):
    """The same where a unit has split off, which is not derived for several outputs."""


@dataclass(frozen=True)
class FiniteRankClaim(GivenEdgeClaim, OneOutputClaim):
    """The same where terms of finite rank take the largest eigenvalue out of the bulk."""

    mistakes: ClassVar[Mapping[str, tuple[str, Change]]] = SLIPS | RANK_SLIPS

    def widths(self, setting: Setting) -> tuple[int, ...]:  # noqa: ARG002
        """From where such an eigenvalue is told from the bulk."""
        return (64, 96, 128, 192, 256, 384)


@dataclass(frozen=True)
class BatchEdgeClaim(GivenEdgeClaim, OneOutputClaim):
    """The same under batch normalization of the outputs, which divides by their variance."""

    given: tuple[str, ...] = ("Q1", "shared", *ORDERS)


@dataclass(frozen=True)
class ResidualEdgeClaim(GivenEdgeClaim, OneOutputClaim):
    """The same of a residual network, whose overlaps are measured step by step."""

    given: tuple[str, ...] = ("shared", "K", "tq")
    mistakes: ClassVar[Mapping[str, tuple[str, Change]]] = RESIDUAL_SLIPS


@lru_cache(maxsize=32)
def _given(setting: Setting, net: Any, names: tuple[str, ...], change: Change) -> Predictor:
    """The edge of every draw given what is measured under these names, solved once for each, for all who ask."""
    rho, known = setting.rho, {}
    assert rho is not None

    def largest(width: int, own: dict[str, Array]) -> float:
        if not all(np.all(np.isfinite(v)) for v in own.values()):
            return np.nan
        key = width, hash(own["shared"].tobytes())
        if key not in known:
            near = known.get(width)  # g of the draw before, a good guess of the next
            found = given_edge(net, rho, own, near=near, change=change)
            known[width], known[key] = found.g, found.mean(setting.samples_at(width))
        return known[key]

    def predicted(width: int, measured: dict[str, Array]) -> Array:
        gains = measured.get("Q1", 1.0)
        draws = range(len(measured["shared"]))
        return gains * np.array([largest(width, {n: measured[n][i] for n in names}) for i in draws])

    return predicted
