"""A setting: the facts from which both the wide-network theory and the finite networks are made."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from hashlib import sha256
from json import dumps
from typing import Any

import numerics
import theory

HIDDEN = ("none", "layer", "batch")
LAST = ("none", "mean", "batch", "layer")


class SettingError(ValueError):
    """A setting breaks a rule of the theory; the message names the value, the rule and the remedy."""


@dataclass(frozen=True)
class Setting:
    """One random network family with its data, at every width: the width M is the limit variable, not a field.

    activation: a name known to both `theory` and `numerics`.
    depth: number L of weight layers, at least 2.
    ratios: alpha_l = M_l / M for l = 0..L-1 (the input first); one number stands for all of them.
    sigma_w2, sigma_b2: weight variance (times fan-in) > 0 and bias variance >= 0.
    classes: number C of outputs.
    samples: number T of samples, fixed as the width grows; or None, with
    rho: M / T, for samples in proportion to the width. Exactly one of the two is given.
    hidden, last: names of the normalizations in the hidden layers and in the last layer.
    gamma, beta: shared scale and shift of the hidden normalization; last_gamma: scale of the last one.
    """

    activation: str = "relu"
    depth: int = 3
    ratios: tuple[float, ...] = (1.0,)
    sigma_w2: float = 2.0
    sigma_b2: float = 0.1
    classes: int = 1
    samples: int | None = None
    rho: float | None = None
    hidden: str = "none"
    last: str = "none"
    gamma: float = 1.0
    beta: float = 0.0
    last_gamma: float = 1.0

    def __post_init__(self) -> None:
        if self.depth < 2:
            _refuse("depth", self.depth, "a wide network has a hidden layer, so depth L >= 2", "take depth 2 or more")
        if len(self.ratios) == 1:
            object.__setattr__(self, "ratios", self.ratios * self.depth)
        if len(self.ratios) != self.depth:
            _refuse("ratios", self.ratios, f"depth {self.depth} has widths M_0..M_{self.depth - 1}",
                    f"give 1 or {self.depth} ratios")  # fmt: skip
        for name in ("ratios", "sigma_w2", "sigma_b2", "gamma", "beta", "last_gamma"):
            value = getattr(self, name)
            if not all(math.isfinite(v) for v in (value if isinstance(value, tuple) else (value,))):
                _refuse(name, value, "it must be finite", "give a number")
        if min(self.ratios) <= 0:
            _refuse("ratios", self.ratios, "every layer widens with M, so alpha_l > 0", "give positive ratios")
        if not self.sigma_w2 > 0:
            _refuse("sigma_w2", self.sigma_w2, "a weight variance is positive (at 0 the output is constant)",
                    "take sigma_w2 > 0")  # fmt: skip
        if not self.sigma_b2 >= 0:
            _refuse("sigma_b2", self.sigma_b2, "a variance is not negative", "take sigma_b2 >= 0")
        if self.hidden not in HIDDEN:
            _refuse("hidden", repr(self.hidden), "unknown normalization", f"choose from {', '.join(HIDDEN)}")
        if self.last not in LAST:
            _refuse("last", repr(self.last), "unknown normalization", f"choose from {', '.join(LAST)}")
        if self.gamma == 0 or self.last_gamma == 0:
            _refuse("gamma, last_gamma", (self.gamma, self.last_gamma), "a scale of 0 makes the network constant",
                    "take a nonzero scale")  # fmt: skip
        classes = 3 if self.last == "layer" else 1
        if self.classes < classes:
            why = " (layer normalization of C = 1 or 2 outputs is constant)" if classes == 3 else ""
            _refuse("classes", self.classes, f"C >= {classes}{why}", f"take C = {classes} or more")
        self._check_samples()

    def _check_samples(self) -> None:
        if (self.samples is None) == (self.rho is None):
            _refuse("samples, rho", (self.samples, self.rho), "exactly one says how T goes with M",
                    "give samples=T for fixed T, or rho=M/T")  # fmt: skip
        if self.rho is not None and not (math.isfinite(self.rho) and self.rho > 0):
            _refuse("rho", self.rho, "T = M / rho must be positive", "take rho > 0")
        fewest = 3 if self.last == "batch" else 4 if self.hidden == "batch" else 2
        reasons = {2: "two samples are the fewest that can differ",
                   3: "batch normalization of two samples is constant",
                   4: "the mean of 1/sd^2 of hidden batch normalization is finite only for T > 3"}  # fmt: skip
        if self.samples is not None and self.samples < fewest:
            _refuse("samples", self.samples, f"T >= {fewest}: {reasons[fewest]}", f"take T = {fewest} or more")

    def samples_at(self, width: int) -> int:
        """Number of samples T at this width."""
        if self.samples is not None:
            return self.samples
        return _whole(width / float(self.rho or math.nan), f"T = M / rho at M = {width}, rho = {self.rho}")

    def network(self, width: int) -> numerics.RandomNetwork:
        """The finite network at this width."""
        hidden = (_whole(a * width, f"width alpha_l M at M = {width}, alpha_l = {a}") for a in self.ratios)
        return numerics.RandomNetwork(
            widths=(*hidden, self.classes),
            activation=self.activation,
            hidden=self.hidden,
            last=self.last,
            sigma_w2=self.sigma_w2,
            sigma_b2=self.sigma_b2,
            gamma=self.gamma,
            beta=self.beta,
            last_gamma=self.last_gamma,
        )

    def wide(self) -> theory.WideNetwork:
        """The infinitely wide network."""
        return theory.WideNetwork(
            depth=self.depth,
            activation=self.activation,
            hidden=self.hidden,
            last=self.last,
            sigma_w2=self.sigma_w2,
            sigma_b2=self.sigma_b2,
            ratios=self.ratios,
            gamma=self.gamma,
            beta=self.beta,
            last_gamma=self.last_gamma,
        )

    def values(self, width: int) -> dict[str, float]:
        """Numbers for the symbols that the wide network leaves open: M, C, T, and for T = M/rho also rho and c_2.

        c_2 >= 0 is the unknown constant of the upper bound on lambda_max; the bound is tested at its strictest, 0.
        """
        values = {"M": float(width), "C": float(self.classes), "T": float(self.samples_at(width))}
        return values if self.rho is None else {**values, "rho": self.rho, "c_2": 0.0}

    def seed(self, width: int, block: str, replicate: int) -> int:
        """Seed of one draw: a hash of what it is drawn for, so that nobody can choose a lucky one."""
        text = dumps([asdict(self), width, block, replicate], sort_keys=True)
        return int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 1

    def record(self) -> dict[str, Any]:
        """The fields as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        words = [self.activation, f"L={self.depth}"]
        if len(set(self.ratios)) > 1 or self.ratios[0] != 1:
            words.append("a=" + ",".join(f"{a:g}" for a in self.ratios))
        words += [f"sw2={self.sigma_w2:g}", f"sb2={self.sigma_b2:g}", f"C={self.classes}"]
        words.append(f"T={self.samples}" if self.rho is None else f"T=M/{self.rho:g}")
        words += [f"{n}={getattr(self, n)}" for n in ("hidden", "last") if getattr(self, n) != "none"]
        defaults = {"gamma": 1.0, "beta": 0.0, "last_gamma": 1.0}
        words += [f"{n}={getattr(self, n):g}" for n, d in defaults.items() if getattr(self, n) != d]
        return " ".join(words)


def _refuse(name: str, value: object, rule: str, remedy: str) -> None:
    raise SettingError(f"{name} = {value}: {rule}; {remedy}")


def _whole(value: float, what: str) -> int:
    if value < 1 or abs(value - round(value)) > 1e-9:
        raise SettingError(f"{what} is {value:g}: it must be a whole number; take widths that divide evenly")
    return round(value)
