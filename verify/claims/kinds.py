"""Claims of particular kinds: rates, order parameters, one output, normalized outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import sympy as sp

from fimcheck import theory
from fimcheck.numerics.orders import COUPLED_ORDERS, FIRST_LAYER, layers
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.writing import latex
from fimcheck.verify.claims.claim import LETTERS, SMOOTH, Claim, DrawnPrediction
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.claims.wording import SettingError
from fimcheck.verify.rule.statistics import Array


@dataclass(frozen=True)
class RateClaim(Claim):
    """The largest stable learning rate of gradient descent, given the largest eigenvalue of the same network.

    As the sharpness 2/rate at which descent turns unstable: a small network may be nearly flat by chance, and its rate
    has no usable mean. That eigenvalue itself is what other claims are about.
    """

    def powers(self, setting: Setting) -> tuple[float, ...]:  # noqa: ARG002
        """Rivals of the largest eigenvalue enlarge both sides alike."""
        return SMOOTH

    def widths(self, setting: Setting) -> tuple[int, ...]:
        """Small: every draw is some hundred steps of gradient descent."""
        return tuple(w // 4 for w in super().widths(setting))

    def values(self, draws: dict[str, Array]) -> Array:
        """2 over the largest stable rate."""
        return 2 / draws[self.measured]

    def prediction(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction:
        """The measured largest eigenvalue: every step multiplies its mode by 1 - rate * lambda_max."""
        (given,) = self.given
        net = wide or setting.wide()
        formula = sp.Symbol(given, positive=True)
        return theory.Prediction(self.measured, net, self.samples, formula, "equals", (), self.source)

    @property
    def symbol(self) -> str:
        """The sharpness at which descent turns unstable."""
        return rf"2 / {super().symbol}"


@dataclass(frozen=True)
class OrderClaim(Claim):
    """An order parameter of one layer; kappa1 and kappa2 belong to the whole network and have no layer."""

    layer: int | None = None

    def admit(self, setting: Setting) -> None:
        """Refuse also a layer that the network does not have, and kappas of another convention for M."""
        super().admit(setting)
        if self.layer is not None and self.layer not in layers(self.measured, setting.depth):
            raise SettingError(
                f"depth = {setting.depth}: claim {self.id} is about layer {self.layer}; take a deeper network"
            )
        if self.layer is None and setting.ratios[-1] != 1:
            raise SettingError(
                f"ratios = {setting.ratios}: measured {self.measured} takes the width of the last hidden layer for "
                "M; make the last ratio 1"
            )

    @property
    def symbol(self) -> str:
        """The order parameter."""
        place = "" if self.layer is None else f"^{{{self.layer}}}"
        return f"{LETTERS[self.quantity[:-1]]}_{self.quantity[-1]}{place}"

    def scale(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction | None:
        """The same for a sample with itself, which an overlap of two samples cannot exceed."""
        return replace(self, quantity=f"{self.quantity[:-1]}1").prediction(setting, wide) if self._of_two else None

    @property
    def _of_two(self) -> bool:
        return self.quantity.endswith("2")

    def values(self, draws: dict[str, Array]) -> Array:
        """The measured order parameter, of its layer if it has one."""
        if self.layer is None:
            return draws[self.measured]
        return draws[self.measured][:, self.layer - FIRST_LAYER[self.measured]]

    def prediction(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction:
        """The value from the recursion."""
        wide, T = wide or setting.wide(), setting.samples
        orders = order_parameters(wide, self.samples, T)
        if self.layer is None:
            value = getattr(orders, self.quantity)
        elif self.quantity in COUPLED_ORDERS:  # the measured sums in terms of the overlaps of a coupled network
            assert T is not None
            same, pair = orders.tq1[self.layer], orders.tq2[self.layer]
            value = same * T / (T - 1) + (T * pair if self.quantity == "c_1" else 0)
        else:
            value = getattr(orders, self.quantity)[self.layer]
        formula = sp.Float(float(value), 17)
        return theory.Prediction(self.quantity, wide, self.samples, formula, "equals", (), self.source)


@cache
def order_parameters(wide: Composed, samples: str = "fixed", T: int | None = None) -> theory.OrderParameters:
    """Order parameters in numbers, kept while claims about them are judged."""
    return theory.numeric_order_parameters(wide, samples, T)


@dataclass(frozen=True)
class OneOutputClaim(Claim):
    """A claim whose formula leaves out what several outputs share."""

    @property
    def assumptions(self) -> str:
        """As for every claim, and a single output."""
        return f"{super().assumptions}, C = 1"

    def admit(self, setting: Setting) -> None:
        """Refuse also several outputs."""
        super().admit(setting)
        if setting.classes != 1:
            raise SettingError(f"classes = {setting.classes}: claim {self.id} is about one output; take C = 1")


@dataclass(frozen=True)
class SecondMomentClaim(OneOutputClaim):
    """tr F^2/P under mean subtraction with T = M/rho, C = 1: fluctuating overlaps add at the leading order."""

    def prediction(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction:
        """(rho alpha^2 (kappa_1 - kappa_2)^2 + V) / (alpha M)."""
        wide = wide or setting.wide()
        gap, alpha = theory.symbols.kappa1 - theory.symbols.kappa2, theory.symbols.alpha_total
        variance = sp.Float(theory.fluctuation_variance(wide), 17)
        formula = (theory.symbols.rho * (alpha * gap) ** 2 + variance) / (alpha * theory.symbols.M)
        return theory.Prediction(self.quantity, wide, self.samples, formula, "equals", (), self.source)


@dataclass(frozen=True)
class OutputClaim(Claim):
    """m, s or lambda_max of a matrix made of the raw outputs: under layer normalization over the outputs, and under
    every normalization of the outputs that was added.
    """

    def prediction(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction:
        """The quantity of a matrix S that the raw outputs of every draw give; see `theory.output_spectrum`."""
        scale = theory.symbols.alpha_total * theory.symbols.M / theory.symbols.T
        of = {"m": r"\mathrm{tr}\, S / P", "s": r"\mathrm{tr}\, S^2 / P", "lambda_max": r"\lambda_{\max}(S)"}
        matrix = rf"S = {latex.text(scale)}\, J \left[ \kappa_2 1 1^\top + (\kappa_1 - \kappa_2) I \right] J^\top"
        words = rf"{of[self.quantity]},\; {matrix},\; J = \partial f / \partial u"
        net = wide or setting.wide()
        return DrawnPrediction(
            self.quantity, net, self.samples, scale, "equals", (), self.source, self.given,
            self._computed(setting, net), words,
        )  # fmt: skip

    def _computed(self, setting: Setting, wide: Composed) -> Callable[[int, dict[str, Array]], Array]:
        orders = order_parameters(wide, self.samples, setting.samples)
        kappa1, kappa2, alpha = (float(v) for v in (orders.kappa1, orders.kappa2, wide.alpha))

        def predicted(width: int, measured: dict[str, Array]) -> Array:
            spectra = np.array([spectrum(width, raw.T) for raw in measured["raw_outputs"]])
            if self.quantity == "lambda_max":
                return spectra[:, 0]
            return (spectra ** {"m": 1, "s": 2}[self.quantity]).sum(1) / (alpha * width**2)

        def spectrum(width: int, raw: Array) -> Array:
            return theory.output_spectrum(self.last, kappa1, kappa2, alpha, width, raw, setting.last_gamma)

        return predicted
