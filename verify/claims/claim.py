"""A claim: one statement that can fail, how its prediction is made and where it is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, final

import numpy as np

from fimcheck import theory
from fimcheck.numerics.quantities import FIXED_BY, LEADING
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.outputs import Output
from fimcheck.theory.network.relation import RELATIONS
from fimcheck.theory.symbols import C, M, T, alpha_total
from fimcheck.theory.writing import latex
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.claims.wording import SettingError
from fimcheck.verify.rule.statistics import Array

Samples = Literal["fixed", "infinite", "proportional"]
# predicted(width, measured) -> the number that the theory states at this width, per draw where it depends on it
Predictor = Callable[[int, dict[str, Array]], Array | float]

# Finite-width corrections. Sums over many eigenvalues approach their limits like 1/M; the largest of several
# fluctuating eigenvalues carries an excess of order M^-1/2, because each fluctuates by that much.
SMOOTH = (1.0, 2.0)
LARGEST = (0.5, 1.0, 1.5)
# A prediction smaller than this share of its scale is compared by difference: its ratio says little, or has no sign.
SMALL = 0.01
# Eigenvalues of two groups whose limits are as near as this share mix at the widths that are sampled.
NEAR = 0.05
LETTERS = {"hq": r"\hat q", "q": "q", "tq": r"\tilde q", "kappa": r"\kappa", "c_": "c"}
"""LaTeX of the order parameters."""

WIDTHS = (64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Claim:
    """One statement about one case of normalization.

    id: case and quantity, e.g. "last_mean.lambda_max". statement: in words.
    quantity: name in `theory.predict`; measured: name in `numerics.measure`.
    hidden, last, samples: the normalization case and the way T goes with M that the statement is about.
    given: measured output statistics that enter the prediction (sharp form), () for the network average.
    fewest_samples: smallest T for which the statement and the spread of its draws are finite.
    centered: whether it is about networks with sigma_b = 0 and odd phi, for which kappa_2 = 0.
    activations: the ones it is about, () for all that are left.
    slow: whether it takes more draws than --quick has, which leaves it out unless it is named.
    beyond: whether it goes beyond the paper that the claims of its case are from; such claims are a group of their own.
    network: the text of a setting of the composed network that it is about, whatever its numbers; "" for any chain.
    """

    id: str
    statement: str
    quantity: str
    measured: str
    hidden: str = "none"
    last: str = "none"
    samples: Samples = "fixed"
    given: tuple[str, ...] = ()
    fewest_samples: int = 2
    centered: bool = False
    activations: tuple[str, ...] = ()
    network: str = ""
    slow: bool = False
    beyond: bool = False
    source: str = "Karakida, Akaho, Amari 2019"

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        for name in ("predictor", "formula"):
            if name in vars(cls):
                raise SettingError(
                    f"{cls.__name__}.{name}: what is printed is what is judged, so both follow from prediction("
                    "setting, wide); state it there, as a DrawnPrediction where it is computed for every draw"
                )

    @property
    def quantities(self) -> tuple[str, ...]:
        """Everything that a measurement for this claim must contain."""
        return (self.measured, *self.given)

    @property
    def output(self) -> Output:
        """What is done to the outputs."""
        return theory.output(self.last)

    @property
    def assumptions(self) -> str:
        """The settings that the statement is about, in words."""
        words = [f"hidden = {self.hidden}", f"last = {self.last}"]
        words.append("T = M/rho" if self.samples == "proportional" else f"T >= {self.fewest_samples} fixed")
        words += ["sigma_b = 0 and phi odd"] if self.centered else []
        words += [f"phi = {' or '.join(self.activations)}"] if self.activations else []
        words += [f"given {', '.join(self.given)}"] if self.given else []
        return ", ".join(words)

    def admit(self, setting: Setting) -> None:
        """Refuse a setting that the statement is not about."""
        if self.network and setting.structure != Setting.parse(self.network).structure:
            about = Setting.parse(self.network).structure
            raise SettingError(f"{setting}: claim {self.id} is about {about}; use that")
        if setting.steps and not self.network:
            raise SettingError(
                f"{setting.steps}: claim {self.id} is about the paper's chain of layers; leave the claims out to "
                "test those of this network"
            )
        for name in ("hidden", "last"):
            mine, theirs = getattr(self, name), getattr(setting, name)
            if mine != theirs:
                raise SettingError(
                    f"{name} = {theirs!r}: claim {self.id} is about {name} = {mine!r}; choose it in the setting"
                )
        if self.centered and (setting.sigma_b2 or not (self.activations or odd(setting.activation))):
            raise SettingError(
                f"activation = {setting.activation}, sigma_b2 = {setting.sigma_b2}: claim {self.id} is about odd "
                "activations without biases; take for instance tanh and sb2=0"
            )
        if self.activations and setting.activation not in self.activations:
            raise SettingError(
                f"activation = {setting.activation}: claim {self.id} is about {', '.join(self.activations)}; take one"
            )
        if (self.samples == "proportional") != (setting.samples is None):
            want = "rho = M/T" if self.samples == "proportional" else "a fixed number of samples T"
            raise SettingError(f"samples = {setting.samples}: claim {self.id} is about {want}; give it")
        if setting.samples is not None and setting.samples < self.fewest_samples:
            raise SettingError(
                f"samples = {setting.samples}: claim {self.id} needs T >= {self.fewest_samples}, "
                f"{self._scarcity(setting.samples)}; take more samples"
            )
        first = self.widths(setting)[0]
        if setting.samples_at(first) < self.fewest_samples:
            raise SettingError(
                f"rho = {setting.rho}: claim {self.id} needs T >= {self.fewest_samples} at its smallest width "
                f"{first}; take a smaller rho"
            )

    @final
    def require_refutable(self, setting: Setting) -> None:
        """Refuse a statement that nothing could refute."""
        read = {*self.given, *self.prediction(setting).symbols}
        if self.measured in read:
            raise SettingError(
                f"claim {self.id}: its formula contains {self.measured}, which is what is measured: nothing could "
                "refute it; leave it out of the formula and of `given`"
            )
        for others in FIXED_BY.get(self.measured, ()):
            if read.issuperset(others):
                raise SettingError(
                    f"claim {self.id}: {' and '.join(others)} of a network determine its {self.measured}, so nothing "
                    "could refute it; leave one out of `given`"
                )

    def _scarcity(self, samples: int) -> str:
        """What is wrong with so few samples."""
        if samples < self.output.fewest_samples:
            return "below which nothing is left of the outputs"
        if couples_samples(self.hidden):
            return "below which the spread of 1/sd^2 over networks is infinite"
        return "from which it is stated"

    def powers(self, setting: Setting) -> tuple[float, ...]:
        """Exponents of the finite-width corrections; see `statistics.Rule`."""
        leading = LEADING.get(self.measured)
        if leading is None:
            return SMOOTH
        bound = self.prediction(setting).relation != "equals"
        return LARGEST if bound or rivals(setting) > leading(setting.classes) else SMOOTH

    def widths(self, setting: Setting) -> tuple[int, ...]:
        """Where it is measured: one doubling more where one correction more has to be told apart, downwards where
        samples in proportion to the width make large widths expensive."""
        smooth = self.powers(setting) == SMOOTH
        if setting.rho and setting.couples_samples:
            # It couples the samples: T in proportion to M costs M^4.
            return (32, 64, 96, 128, 256) if smooth else (32, 48, 64, 96, 128, 256)
        if smooth:
            return WIDTHS
        return (*WIDTHS, 2 * WIDTHS[-1]) if setting.rho is None else (WIDTHS[0] // 2, *WIDTHS)

    def values(self, draws: dict[str, Array]) -> Array:
        """The measured quantity, one value per draw."""
        return draws[self.measured]

    def prediction(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction:
        """What the theory says for this setting, or for another wide network in its place."""
        return theory.predict(wide or setting.wide(), self.quantity, self.samples, bool(self.given))

    def scale(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction | None:
        """What a difference of measured and predicted is compared with, if the prediction may be 0; else None."""
        wide = wide or setting.wide()
        if self.quantity not in ("lambda_1", "lambda_perp") or wide.output.removed:
            return None
        trace = theory.predict(wide, "m", self.samples)
        return replace(trace, quantity="mean eigenvalue", formula=trace.formula * alpha_total * M**2 / (C * T))

    @final
    def difference(self, setting: Setting) -> theory.Prediction | None:
        """The scale on which measured and predicted are compared by their difference; None where their ratio is."""
        right, scale = self.prediction(setting), self.scale(setting)
        if scale is None or set(right.symbols) & set(self.given):
            return None
        width = self.widths(setting)[-1]
        stated, size = (np.abs(evaluator(p, setting)(width, {})) for p in (right, scale))
        return scale if stated <= SMALL * size else None

    @property
    def symbol(self) -> str:
        """What is measured, in LaTeX."""
        return latex.QUANTITIES.get(self.measured, self.measured)

    @final
    def formula(self, setting: Setting) -> str:
        """What is compared with the measurement, in LaTeX: the formula of `prediction` itself."""
        found = self.prediction(setting)
        return f"{self.symbol} {RELATIONS[found.relation].latex} {found.latex_formula()}"

    def where(self, setting: Setting) -> tuple[str, ...]:
        """What the order parameters in the formula are, in LaTeX and in symbols; () where the claim states a number."""
        if type(self).prediction is not Claim.prediction or setting.given() is not None:
            return ()
        return _where(setting.symbolic(), self.quantity, self.samples, bool(self.given))

    @final
    def predictor(self, setting: Setting, wide: Composed | None = None) -> Predictor:
        """`prediction` as a function of width and of the measured statistics that it is given."""
        return evaluator(self.prediction(setting, wide), setting)

    def slips(self, setting: Setting) -> Iterator[tuple[str, str, Predictor]]:  # noqa: ARG002
        """Wrong theories of its own kind: a short name, what is wrong, and the predictor."""
        return iter(())


@cache
def _where(wide: Composed, quantity: str, samples: Samples, given: bool) -> tuple[str, ...]:
    return tuple(latex.lines(theory.predict(wide, quantity, samples, given).statement())[1:])


@dataclass(frozen=True)
class DrawnPrediction(theory.Prediction):
    """A statement that is computed for every draw from what was measured of that network.

    reads: the measured quantities; compute(M, measured): the number of every draw; words: what it is, in LaTeX.
    """

    reads: tuple[str, ...]
    compute: Predictor
    words: str

    @property
    def symbols(self) -> tuple[str, ...]:  # type: ignore[override]
        """The width and what is read."""
        return ("M", *self.reads)

    def evaluate(self, **numbers: Any) -> Any:
        """The number of every draw; M is one width."""
        return self.compute(int(numbers.pop("M")), numbers)

    def latex_formula(self) -> str:
        """What is computed, and from what."""
        return rf"{self.words} \text{{ given {', '.join(self.reads).replace('_', ' ')}}}"


def evaluator(prediction: theory.Prediction, setting: Setting) -> Predictor:
    """A prediction as a function of width and measured statistics."""

    def predicted(width: int, measured: dict[str, Array]) -> Array | float:
        known = setting.values(width)
        open_ = [name for name in prediction.symbols if name not in known]
        if unknown := sorted(set(open_) - set(measured)):
            raise SettingError(
                f"{unknown[0]} in the formula of {prediction.quantity}: it is not a number of a setting "
                f"({', '.join(known)}), nor measured; write the formula in these, or name a measured one in `given`"
            )
        given = {name: measured[name] for name in open_}
        fixed = {name: known[name] for name in prediction.symbols if name in known}
        if not given:
            return prediction.evaluate(**fixed)
        finite = np.logical_and.reduce([np.isfinite(v).reshape(len(v), -1).all(1) for v in given.values()])
        found = np.full(finite.shape, np.nan)  # which makes the verdict INVALID
        if finite.any():
            found[finite] = prediction.evaluate(**fixed, **{name: values[finite] for name, values in given.items()})
        return found

    return predicted


def couples_samples(hidden: str) -> bool:
    """Whether a hidden normalization mixes samples, so that a derivative reaches all of them."""
    step = theory.hidden_step(hidden)
    return step is not None and step.couples_samples


def odd(activation: str) -> bool:
    """Whether the theory finds the activation odd; an unknown name is refused."""
    return theory.activation(activation).parity == "odd"


def rivals(setting: Setting) -> int:
    """How many eigenvalues share the largest limit, so that the largest of them exceeds it at finite width.

    Samples in proportion to the width leave an all-ones outlier for every class, or else only bounds are claimed.
    """
    last = setting.wide().output
    if last.removed:
        return setting.classes * ((setting.samples or 1 + last.removed) - last.removed)
    if last.over == "classes":  # those that are left differ, at random and so now and then by little
        return setting.classes - 2
    if last.spectrum is None:  # it may leave any number
        return setting.classes * (setting.samples or 2)
    if setting.samples is None:
        return setting.classes
    shared, perp = (at_unit_width(setting, quantity) for quantity in ("lambda_1", "lambda_perp"))
    # Without an outlier (kappa_2 = 0, or < 0 under batch normalization) the mean gradients are not on top.
    # One that is hardly above the others is the largest at some widths, and at others not.
    return setting.classes * (1 if shared > perp * (1 + NEAR) else setting.samples)


@cache
def at_unit_width(setting: Setting, quantity: str) -> float:
    found = theory.predict(setting.wide(), quantity)
    return found.evaluate(**{name: {"M": 1.0, "T": float(setting.samples or 0)}[name] for name in found.symbols})
