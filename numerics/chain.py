"""The chain of the paper: dense steps with a normalization and an activation between them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fimcheck.numerics.activations import Activation, Function, resolve_activation
from fimcheck.numerics.network import Network, check_outputs
from fimcheck.numerics.normalizations import HIDDEN_NORMALIZATIONS
from fimcheck.numerics.steps.combine import Chain
from fimcheck.numerics.steps.elementwise import Elementwise
from fimcheck.numerics.steps.normalize import BatchNorm, LayerNorm
from fimcheck.numerics.steps.step import NetworkError, Step
from fimcheck.numerics.steps.weights import Dense

WEIGHTS = ("gaussian", "orthogonal")
NORMALIZATIONS = {"layer": LayerNorm, "batch": BatchNorm}


@dataclass(frozen=True)
class RandomNetwork(Network):
    """A fully connected network u^l = W^l h^{l-1} + b^l, h^l = phi(norm(u^l)), output norm(u^L).

    widths: M_0 (inputs), M_1, ..., M_L = C (outputs); depth L >= 2 counts weight layers.
    activation: a name of ``numerics.activations.ACTIVATIONS`` or an elementwise torch function.
    hidden: normalization of u^1..u^{L-1} before phi: none, layer (over units), batch (over the given
    samples). A chain with another step before phi is a ``Composition``.
    last: normalization of the output u^L: none, mean (subtract the mean over samples), batch, layer (over
    the C outputs), or one that ``add_output_normalization`` added.
    sigma_w2, sigma_b2: W^l_ij has variance sigma_w2/M_{l-1}, b^l_i has variance sigma_b2.
    gamma, beta: scale and shift shared by all hidden normalizations; last_gamma: scale of the last one.
    biases: whether the biases are among the parameters of the Fisher matrix. affine: whether one scale
    and one shift per normalized unit are (hidden layers, and the last one for batch and layer).
    weights: gaussian, or orthogonal: W^l has orthonormal rows or columns, scaled to the same variance.

    >>> numerics.RandomNetwork((8, 16, 16, 1), "relu", last="mean").parameters
    433
    """

    widths: tuple[int, ...]
    activation: str | Function = "relu"
    hidden: str = "none"
    last: str = "none"
    sigma_w2: float = 2.0
    sigma_b2: float = 0.0
    gamma: float = 1.0
    beta: float = 0.0
    last_gamma: float = 1.0
    biases: bool = True
    affine: bool = False
    weights: str = "gaussian"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        _check_widths(self.widths)
        for name, value in (("inputs", self.widths[0]), ("outputs", self.widths[-1])):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "positions", 1)
        object.__setattr__(self, "width", self.widths[-2])
        _check_choice("hidden", self.hidden, HIDDEN_NORMALIZATIONS)
        check_outputs(self.outputs, self.last)
        _check_choice("weights", self.weights, WEIGHTS)
        for name in ("sigma_w2", "sigma_b2", "gamma", "beta", "last_gamma"):
            _check_finite(name, getattr(self, name))
        if not self.sigma_w2 > 0:
            raise NetworkError(
                f"sigma_w2 = {self.sigma_w2}: the weight variance must be positive, else every output is "
                "constant; use for instance sigma_w2 = 2"
            )
        if not self.sigma_b2 >= 0:
            raise NetworkError(f"sigma_b2 = {self.sigma_b2}: a variance cannot be negative; use 0 for no biases")
        for name, used in (("gamma", self.hidden in NORMALIZATIONS), ("last_gamma", self.output.scaled)):
            if used and getattr(self, name) == 0:
                raise NetworkError(
                    f"{name} = 0: a normalization scaled by 0 passes no signal; use a nonzero {name}, 1 for plain"
                )
        if self.affine and self.output.added:
            raise NetworkError(
                "affine = True: scale and shift as parameters belong to the built-in normalizations; use affine = False"
            )
        _ = self.phi  # an unknown or unusable activation is refused here, not at the first measurement
        self.steps.shape(self.start(4), "")  # and so is a step at which nothing is left

    def _steps(self) -> Chain:
        steps: list[Step] = []
        for units in self.widths[1:-1]:
            steps.append(self._dense(units))
            if self.hidden in NORMALIZATIONS:
                steps.append(NORMALIZATIONS[self.hidden](self.gamma, self.beta, self.affine))
            steps.append(Elementwise(self.activation))
        return Chain((*steps, self._dense(self.outputs)))

    def _dense(self, units: int) -> Dense:
        return Dense(units, self.sigma_w2, self.sigma_b2, weights_=self.weights, biases=self.biases)

    def input_shape(self, samples: int) -> tuple[int, ...]:
        """(T, M_0)."""
        return samples, self.inputs

    @cached_property
    def phi(self) -> Activation:
        """The activation with its derivative."""
        return resolve_activation(self.activation)

    @property
    def depth(self) -> int:
        """L, the number of weight layers."""
        return len(self.widths) - 1


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_widths(widths: tuple[int, ...]) -> None:
    if len(widths) < 3:
        raise NetworkError(
            f"widths = {widths}: the depth is {len(widths) - 1}, but a network here has at least 2 "
            "weight layers; give at least three widths, such as (100, 100, 1)"
        )
    for layer, width in enumerate(widths):
        if not _is_int(width) or width < 1:
            raise NetworkError(
                f"widths[{layer}] = {width!r} in {widths}: every width, the number of outputs C included, "
                "must be a whole number of at least 1"
            )


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise NetworkError(f"{name} = {value!r} is unknown: use one of {', '.join(choices)}")


def _check_finite(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise NetworkError(f"{name} = {value!r}: must be a finite number")
