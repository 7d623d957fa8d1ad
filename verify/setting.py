"""A setting: the facts from which both the wide-network theory and the finite networks are made."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from json import dumps
from typing import Any

import numerics
import theory

SHORT = {
    "depth": "L",
    "ratios": "a",
    "sigma_w2": "sw2",
    "sigma_b2": "sb2",
    "classes": "C",
    "samples": "T",
    "rho": "M/T",
}


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
        for name in ("depth", "classes", "samples"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, int):
                _refuse(name, value, "it counts something", "give a whole number")
        ratios = self.ratios if isinstance(self.ratios, tuple | list) else (self.ratios,)
        object.__setattr__(self, "ratios", tuple(float(a) for a in ratios))
        for name in ("sigma_w2", "sigma_b2", "gamma", "beta", "last_gamma"):
            object.__setattr__(self, name, float(getattr(self, name)))  # equal settings have equal seeds
        if self.rho is not None:
            object.__setattr__(self, "rho", float(self.rho))
        if len(self.ratios) == 1:
            object.__setattr__(self, "ratios", self.ratios * self.depth)
        # Each side refuses what it cannot mean: the theory first, whose rules are about the limit, then the network.
        self.wide()
        self._network((16,) * self.depth)
        self._check_samples()

    def _check_samples(self) -> None:
        if (self.samples is None) == (self.rho is None):
            _refuse("samples, rho", (self.samples, self.rho), "exactly one says how T goes with M",
                    "give samples=T for fixed T, or rho=M/T")  # fmt: skip
        if self.rho is not None and not (math.isfinite(self.rho) and self.rho > 0):
            _refuse("rho", self.rho, "T = M / rho must be positive", "take rho > 0")
        reasons = {
            2: "two samples are the fewest that can differ",
            3: "batch normalization of two samples is constant",
            4: "the mean of 1/sd^2 of hidden batch normalization is finite only for T > 3",
        }
        stated = self.wide().fewest_samples
        fewest = max(stated, 3 if self.last == "batch" else 2)
        if self.samples is not None and self.samples < fewest:
            reason = reasons.get(fewest, f"the rule of {self.hidden} is stated for no fewer")
            _refuse("samples", self.samples, f"T >= {fewest}: {reason}", f"take T = {fewest} or more")

    @property
    def couples_samples(self) -> bool:
        """Whether the hidden normalization mixes samples."""
        return self.wide().depends_on_samples("fixed")

    def samples_at(self, width: int) -> int:
        """Number of samples T at this width."""
        if self.samples is not None:
            return self.samples
        return _whole(width / float(self.rho or math.nan), f"T = M / rho at M = {width}, rho = {self.rho}")

    def network(self, width: int) -> numerics.RandomNetwork:
        """The finite network at this width."""
        return self._network(
            tuple(_whole(a * width, f"width alpha_l M at M = {width}, alpha_l = {a}") for a in self.ratios)
        )

    def _network(self, widths: tuple[int, ...]) -> numerics.RandomNetwork:
        return numerics.RandomNetwork(
            widths=(*widths, self.classes),
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
        """The activation and whatever differs from the defaults; `parse` reads it back."""
        words = [self.activation]
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            plain = (1.0,) * self.depth if field.name == "ratios" else field.default
            if value != plain:
                shown = [f"{v}".removesuffix(".0") for v in (value if isinstance(value, tuple) else (value,))]
                words.append(f"{SHORT.get(field.name, field.name)}={','.join(shown)}")
        return " ".join(words)

    @classmethod
    def parse(cls, text: str) -> Setting:
        """The setting that a text such as "relu C=2 T=6 last=mean" names; the inverse of `str`."""
        activation, *words = text.split() or [""]
        full = {short: name for name, short in SHORT.items()}
        kinds = {"int": int, "int | None": int, "float": float, "float | None": float, "str": str}
        types = {field.name: field.type for field in fields(cls)}
        values: dict[str, Any] = {}
        for word in words:
            key, equals, value = word.partition("=")
            name = full.get(key, key)
            if not equals or name not in types:
                known = ", ".join(SHORT.get(n, n) for n in types)
                raise SettingError(
                    f"{word!r} in setting {text!r}: words are NAME=VALUE with NAME among {known}; fix it"
                )
            try:
                if name == "ratios":
                    values[name] = tuple(float(v) for v in value.split(","))
                else:
                    values[name] = kinds[str(types[name])](value)
            except ValueError:
                raise SettingError(f"{word!r} in setting {text!r}: {value!r} is no number; give one") from None
        return cls(activation, **values)


def _refuse(name: str, value: object, rule: str, remedy: str) -> None:
    raise SettingError(f"{name} = {value}: {rule}; {remedy}")


def _whole(value: float, what: str) -> int:
    if value < 1 or abs(value - round(value)) > 1e-9:
        raise SettingError(f"{what} is {value:g}: it must be a whole number; take widths that divide evenly")
    return round(value)
