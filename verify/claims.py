"""The paper as data: each statement with what it predicts, what is measured, and where it comes from.

Source of all of them unless another is named: R. Karakida, S. Akaho, S. Amari, "The Normalization Method for
Alleviating Pathological Sharpness in Wide Neural Networks", NeurIPS 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import theory
from verify.setting import Setting, SettingError

Samples = Literal["fixed", "infinite", "proportional"]

# Finite-width corrections. Sums over many eigenvalues approach their limits like 1/M; the largest of several
# fluctuating eigenvalues carries an excess of order M^-1/2, because each fluctuates by that much.
SMOOTH = (1.0, 2.0)
LARGEST = (0.5, 1.0, 1.5)
WIDTHS = (64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Claim:
    """One statement that can fail.

    id: case and quantity, e.g. "last_mean.lambda_max". statement: in words; formula: in LaTeX.
    quantity: name in `theory.predict`; measured: name in `numerics.measure`.
    hidden, last, samples: the normalization case and the way T goes with M that the statement is about.
    given: measured output statistics that enter the prediction (sharp form), () for the network average.
    fewest_samples: smallest T for which the statement and the spread of its draws are finite.
    """

    id: str
    statement: str
    formula: str
    quantity: str
    measured: str
    hidden: str = "none"
    last: str = "none"
    samples: Samples = "fixed"
    given: tuple[str, ...] = ()
    fewest_samples: int = 2
    source: str = "Karakida, Akaho, Amari 2019"

    @property
    def quantities(self) -> tuple[str, ...]:
        """Everything that a measurement for this claim must contain."""
        return (self.measured, *self.given)

    def admit(self, setting: Setting) -> None:
        """Refuse a setting that the statement is not about."""
        for name in ("hidden", "last"):
            mine, theirs = getattr(self, name), getattr(setting, name)
            if mine != theirs:
                raise SettingError(
                    f"{name} = {theirs!r}: claim {self.id} is about {name} = {mine!r}; choose it in the setting"
                )
        if (self.samples == "proportional") != (setting.samples is None):
            want = "rho = M/T" if self.samples == "proportional" else "a fixed number of samples T"
            raise SettingError(f"samples = {setting.samples}: claim {self.id} is about {want}; give it")
        if setting.samples is not None and setting.samples < self.fewest_samples:
            raise SettingError(
                f"samples = {setting.samples}: claim {self.id} needs T >= {self.fewest_samples}, "
                "below which the quantity or its spread over networks is infinite; take more samples"
            )

    def powers(self, setting: Setting) -> tuple[float, ...]:
        """Exponents of the finite-width corrections; see `statistics.Rule`."""
        return LARGEST if self.measured == "lambda_max" and rivals(setting) > 1 else SMOOTH

    def widths(self, setting: Setting) -> tuple[int, ...]:
        """Where it is measured: one doubling more where one correction more has to be told apart, downwards where
        samples in proportion to the width make large widths dear."""
        if self.powers(setting) == SMOOTH:
            return WIDTHS
        return (*WIDTHS, 2 * WIDTHS[-1]) if setting.rho is None else (WIDTHS[0] // 2, *WIDTHS)

    def prediction(self, setting: Setting) -> theory.Prediction:
        """What the theory says for this setting."""
        return theory.predict(setting.wide(), self.quantity, self.samples, bool(self.given))


def rivals(setting: Setting) -> float:
    """How many eigenvalues share the largest limit, so that the largest of them exceeds it at finite width."""
    removed = {"mean": 1, "batch": 2}.get(setting.last)
    if removed is None:
        return setting.classes
    return math.inf if setting.samples is None else setting.classes * (setting.samples - removed)


def _case(case: str, words: str, last: str, formulas: dict[str, str]) -> list[Claim]:
    names = {
        "m": "mean of the eigenvalues",
        "s": "mean of the squared eigenvalues",
        "lambda_max": "largest eigenvalue",
        "lambda_top": "mean of the C largest eigenvalues",
        "lambda_perp": "mean of the degenerate group of eigenvalues",
    }
    return [
        Claim(
            id=f"{case}.{quantity}",
            statement=f"{words}: {names[quantity]}",
            formula=formula,
            quantity=quantity,
            measured=quantity,
            last=last,
        )
        for quantity, formula in formulas.items()
    ]


def _given(claim: Claim, symbols: tuple[str, ...]) -> Claim:
    return replace(claim, given=symbols, statement=f"{claim.statement}, given the output variances", fewest_samples=3)


def _averaged(claim: Claim, fewest: int, formula: str) -> Claim:
    return replace(
        claim,
        id=f"{claim.id}_averaged",
        statement=f"{claim.statement}, averaged over networks",
        fewest_samples=fewest,
        formula=formula,
    )


PLAIN = _case(
    "plain", "no normalization", "none",
    {
        "m": r"\kappa_1 C / M",
        "s": r"\alpha C \left( \tfrac{T-1}{T} \kappa_2^2 + \tfrac{1}{T} \kappa_1^2 \right)",
        "lambda_max": r"\alpha \left( \tfrac{T-1}{T} \kappa_2 + \tfrac{1}{T} \kappa_1 \right) M",
        "lambda_top": r"\alpha \left( \tfrac{T-1}{T} \kappa_2 + \tfrac{1}{T} \kappa_1 \right) M",
        "lambda_perp": r"\alpha (\kappa_1 - \kappa_2) M / T",
    },
)  # fmt: skip

LAST_MEAN = _case(
    "last_mean", "mean subtraction in the last layer", "mean",
    {
        "m": r"(1 - \tfrac{1}{T}) (\kappa_1 - \kappa_2) C / M",
        "s": r"\alpha C \tfrac{T-1}{T^2} (\kappa_1 - \kappa_2)^2",
        "lambda_max": r"\alpha (\kappa_1 - \kappa_2) M / T",
        "lambda_perp": r"\alpha (\kappa_1 - \kappa_2) M / T",
    },
)  # fmt: skip

_batch = _case(
    "last_batch", "batch normalization in the last layer", "batch",
    {
        "m": r"(1 - \tfrac{2}{T}) (\kappa_1 - \kappa_2) Q_1 C / M",
        "s": r"\alpha C \tfrac{T-2}{T^2} (\kappa_1 - \kappa_2)^2 Q_2",
        "lambda_max": r"\alpha (\kappa_1 - \kappa_2) \tfrac{M}{T} \max_k \gamma_k^2 / \mathrm{sd}_k^2",
        "lambda_perp": r"\alpha (\kappa_1 - \kappa_2) \tfrac{M}{T} Q_1",
    },
)  # fmt: skip
LAST_BATCH = [
    _given(claim, symbols) for claim, symbols in zip(_batch, [("Q1",), ("Q2",), ("Qmax",), ("Q1",)], strict=True)
] + [
    # 1/sd^2 has a finite variance over networks for T > 5 and 1/sd^4 for T > 9; a little more keeps the tails light.
    _averaged(_batch[0], 8, r"(1 - \tfrac{2}{T}) (\kappa_1 - \kappa_2) \mathrm{E}[Q_1] C / M"),
    _averaged(_batch[1], 14, r"\alpha C \tfrac{T-2}{T^2} (\kappa_1 - \kappa_2)^2 \mathrm{E}[Q_2]"),
]

_growth = Claim(
    id="", statement="", formula="", quantity="", measured="lambda_max", samples="proportional",
)  # fmt: skip
GROWTH = [
    replace(
        _growth, id="growth.plain", quantity="lambda_max",
        statement="T = M/rho, no normalization: the largest eigenvalue grows like M",
        formula=r"\alpha \kappa_2 M",
    ),
    *(
        replace(
            _growth, id=f"growth.last_{last}_{side}", last=last, quantity=f"lambda_max_{side}",
            statement=f"T = M/rho, {words} in the last layer: {text}",
            given=() if last == "mean" else ("Q1", "Q2") if side == "lower" else ("Q2",),
            formula=rf"\rho \alpha (\kappa_1 - \kappa_2) {factor} \le \lambda_{{\max}}" if side == "lower"
            else rf"\lambda_{{\max}} \le \sqrt{{C \alpha^2 \rho (\kappa_1 - \kappa_2)^2 {q2} M}}",
        )
        for last, words, factor, q2 in (
            ("mean", "mean subtraction", "", ""), ("batch", "batch normalization", "Q_2 / Q_1", "Q_2"),
        )
        for side, text in (("lower", "the largest eigenvalue is at least a constant"),
                           ("upper", "the largest eigenvalue grows no faster than the square root of M"))
    ),
]  # fmt: skip

CLAIMS: dict[str, Claim] = {claim.id: claim for claim in [*PLAIN, *LAST_MEAN, *LAST_BATCH, *GROWTH]}
