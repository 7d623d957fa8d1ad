"""A setting: the facts from which both the wide-network theory and the finite networks are made."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from hashlib import sha256
from json import dumps
from typing import Any

from fimcheck import numerics, theory
from fimcheck.numerics.normalizations import HIDDEN_NORMALIZATIONS
from fimcheck.theory.network.chain import DEEPEST
from fimcheck.theory.network.grammar import Node, parse, unrolled, written
from fimcheck.verify.claims import networks, wording
from fimcheck.verify.claims.inputs import GAUSSIAN, given_inputs
from fimcheck.verify.claims.networks import NUMBERS
from fimcheck.verify.claims.wording import SettingError
from fimcheck.verify.rule.regression import Array

# Fields that records had not before networks could be composed.
LATER = ("steps", "positions", "inputs")


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
    steps: a network of other steps in place of the chain, as text; see `theory.network.grammar`. Then activation,
        depth and hidden have no meaning, ratios is the one ratio of the inputs, and sigma_w2, ... gamma, beta are those
        of steps that do not give their own. positions: number N of positions of a sample.
    inputs: "gaussian", drawn anew for every network, or given ones; see `verify.claims.inputs`.

    >>> str(verify.Setting("erf", depth=2, classes=2, samples=6))
    'erf L=2 C=2 T=6'
    >>> verify.Setting.parse("relu C=2 T=6 last=mean").last
    'mean'
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
    steps: str = ""
    positions: int = 1
    inputs: str = GAUSSIAN

    def __post_init__(self) -> None:
        for name in ("depth", "classes", "samples", "positions"):
            value = getattr(self, name)
            if not isinstance(value, int) and (value is not None or name != "samples"):
                _refuse(name, value, "it counts something", "give a whole number")
        for name in ("activation", "hidden", "last", "steps", "inputs"):
            if not isinstance(getattr(self, name), str):
                _refuse(name, getattr(self, name), "it is named by a text", "give a text")
        ratios = self.ratios if isinstance(self.ratios, tuple | list) else (self.ratios,)
        object.__setattr__(self, "ratios", tuple(_number("ratios", a) for a in ratios))
        for name in NUMBERS:
            object.__setattr__(self, name, _number(name, getattr(self, name)))  # equal settings have equal seeds
        if self.rho is not None:
            object.__setattr__(self, "rho", _number("rho", self.rho))
        if self.steps:
            self._check_steps()
        elif len(self.ratios) == 1 and self.depth <= DEEPEST:
            object.__setattr__(self, "ratios", self.ratios * self.depth)
        if self.inputs != GAUSSIAN:
            self._check_inputs()
        # Each side refuses what it cannot mean: the theory first, whose rules are about the limit, then the network.
        self.wide()
        networks.finite(self, (16,) * self.depth, 16)
        self._check_samples()

    def _check_steps(self) -> None:
        for name, plain in (("activation", "relu"), ("depth", 3), ("hidden", "none")):
            if getattr(self, name) != plain:
                _refuse(name, getattr(self, name), f"the network {self.steps!r} says it itself", "leave it out")
        if len(self.ratios) != 1:
            _refuse("ratios", self.ratios, "of a composed network the inputs alone have one here",
                    "give widths in the steps, dense(width=2)")  # fmt: skip
        object.__setattr__(self, "steps", written(parse(self.steps)))

    def _check_inputs(self) -> None:
        if self.samples is None or self.positions != 1:
            _refuse("inputs", self.inputs, "given inputs have a fixed number of samples and no positions",
                    "give samples=T, and leave positions out")  # fmt: skip
        if set(self.ratios) != {1.0}:
            _refuse("ratios", self.ratios, "given inputs have their own dimension", "leave the ratios out")
        self.given()

    @property
    def composed(self) -> bool:
        """Whether its finite networks are made of steps: a chain of built-in normalizations on drawn inputs is not."""
        return bool(self.steps) or self.inputs != GAUSSIAN or self.hidden not in HIDDEN_NORMALIZATIONS

    @property
    def structure(self) -> str:
        """What a claim about its steps is about: the steps, whatever the numbers of the setting."""
        network = self.steps or f"a chain with L={self.depth} hidden={self.hidden}"
        return (
            network
            + (" with positions" if self.positions > 1 else "")
            + ("" if self.inputs == GAUSSIAN else " of given inputs")
        )

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The network as plain data, the paper's chain written out in steps."""
        if self.steps:
            return unrolled(parse(self.steps))
        before: tuple[Node, ...] = () if self.hidden == "none" else ((self.hidden, {}, ()),)
        layers = (
            (("dense", {} if ratio == 1 else {"width": ratio}, ()), *before, (self.activation, {}, ()))
            for ratio in self.ratios[1:]
        )
        return (*(node for layer in layers for node in layer), ("dense", {}, ()))

    def given(self) -> Array | None:
        """The given inputs (T, D), None for drawn ones."""
        return None if self.inputs == GAUSSIAN else given_inputs(self.inputs, self.samples or 0)

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
        fewest = max(stated, self.wide().output.fewest_samples)
        if self.samples is not None and self.samples < fewest:
            reason = reasons.get(fewest, f"the rule of {self.hidden} is stated for no fewer")
            _refuse("samples", self.samples, f"T >= {fewest}: {reason}", f"take T = {fewest} or more")

    @cached_property
    def idle(self) -> frozenset[str]:
        """Names of its scales and shifts that nothing in its network has."""
        steps, output = self.wide().all_steps.values(), self.wide().output
        idle = {name for name in ("gamma", "beta") if not any(hasattr(step, name) for step in steps)}
        return frozenset(idle if output.scaled or output.jacobian else {*idle, "last_gamma"})

    @property
    def couples_samples(self) -> bool:
        """Whether the hidden normalization mixes samples."""
        return self.wide().depends_on_samples("fixed")

    def samples_at(self, width: int) -> int:
        """Number of samples T at this width."""
        if self.samples is not None:
            return self.samples
        return _whole(width / float(self.rho or math.nan), f"T = M / rho at M = {width}, rho = {self.rho}")

    def network(self, width: int) -> numerics.RandomNetwork | numerics.Composition:
        """The finite network at this width."""
        widths = tuple(_whole(a * width, f"width alpha_l M at M = {width}, alpha_l = {a}") for a in self.ratios)
        return networks.finite(self, widths, width)

    def wide(self) -> theory.WideNetwork | theory.Network:
        """The infinitely wide network."""
        return networks.wide(self)

    def symbolic(self) -> theory.WideNetwork | theory.Network:
        """The wide network with symbols for its numbers, but for zeros and those in the text of its steps."""
        return networks.symbolic(self)

    def values(self, width: int) -> dict[str, float]:
        """Numbers for the symbols of a formula: M, C, T, the network's own, and for T = M/rho also rho and c_2.

        c_2 >= 0 is the unknown constant of the upper bound on lambda_max; the bound is tested at its strictest, 0.
        """
        values = {"M": float(width), "C": float(self.classes), "T": float(self.samples_at(width))}
        values |= {name: getattr(self, name) for name in NUMBERS}
        values |= {f"alpha_{layer}": ratio for layer, ratio in enumerate(self.ratios)}
        return values if self.rho is None else {**values, "rho": self.rho, "c_2": 0.0}

    @cached_property
    def _drawn(self) -> str:
        """All that has an effect on a network, as JSON."""
        plain = {field.name: field.default for field in fields(self) if field.name in self.idle}
        return dumps(self.record() | plain, sort_keys=True)

    def seed(self, width: int, block: str, replicate: int) -> int:
        """Seed of one draw: a hash of what it is drawn for, so that nobody can choose a lucky one.

        What has no effect is left out, or another value of it would draw the same network once more.
        """
        text = f"[{self._drawn}, {width}, {dumps(block)}, {replicate}]"
        return int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 1

    def record(self) -> dict[str, Any]:
        """The fields as plain data; those that only composed networks have where they are not the default."""
        plain = {field.name: field.default for field in fields(self) if field.name in LATER}
        return {name: value for name, value in asdict(self).items() if name not in plain or value != plain[name]}

    def __str__(self) -> str:
        """The activation, or the steps, and whatever differs from the defaults; `parse` reads it back."""
        return wording.write(self)

    @classmethod
    def parse(cls, text: str) -> Setting:
        """The setting that a text names, "relu C=2 T=6 last=mean" or "dense 2*(skip(relu dense)) dense C=2 T=6"; the
        inverse of `str`."""
        return cls(**wording.read(text, {field.name: str(field.type) for field in fields(cls)}))


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise SettingError(f"{name} = {value!r}: it is a number; give one") from None


def _refuse(name: str, value: object, rule: str, remedy: str) -> None:
    raise SettingError(f"{name} = {value}: {rule}; {remedy}")


def _whole(value: float, what: str) -> int:
    if value < 1 or abs(value - round(value)) > 1e-9:
        raise SettingError(f"{what} is {value:g}: it must be a whole number; take widths that divide evenly")
    return round(value)
