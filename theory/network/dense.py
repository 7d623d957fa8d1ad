"""Steps with weights: dense, convolution and attention."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import sympy as sp

from fimcheck.theory import symbols
from fimcheck.theory.network.state import Gaussian, State, Value, mapped
from fimcheck.theory.network.step import CompositionError, Run, Step, register

PARAMETRIZATIONS = ("standard", "ntk")
_THREE = sp.Integer(3)
WEIGHTS = ("gaussian", "orthogonal", "uniform", "sparse")


@register
@dataclass(frozen=True)
class Dense(Step):
    """u = W h + b to ``width`` M units, W_ij of variance sigma_w2 over the fan-in, b_i of variance sigma_b2.

    param: "standard", or "ntk" where the parameters have variance one and their factors stand in front. rate: factor
    on the squared gradient of these weights, for instance a learning rate of their own. weights: how they are drawn,
    which does not matter to leading order: gaussian, orthogonal, uniform or sparse.
    """

    name: ClassVar[str] = "dense"
    rule: ClassVar[str] = "K <- sigma_w2 K + sigma_b2, mean 0, Th <- sigma_w2 Th + alpha_in K"
    mixes: ClassVar[bool] = True

    width: Value = sp.S.One
    sigma_w2: Value = symbols.sigma_w2
    sigma_b2: Value = symbols.sigma_b2
    param: str = "standard"
    rate: Value = sp.S.One
    weights: str = "gaussian"

    def __post_init__(self) -> None:
        one_of(self, "param", self.param, PARAMETRIZATIONS)
        one_of(self, "weights", self.weights, WEIGHTS)

    def apply(self, state: State, run: Run, path: str) -> State:
        """Fresh weights make the units Gaussian; theirs is one more share of the tangent overlap."""
        K = state.K.map(lambda K: self.sigma_w2 * K + self.sigma_b2)
        gradients = K if self.param == "ntk" else state.K * (self.fan_in_ratio * state.width)
        run.scales.add(self.param)
        run.count = run.count + self.fan_in_ratio * state.width * self.width
        tangent = run.inject(path, mapped(state.tangent, lambda t: t * self.sigma_w2), gradients * self.rate)
        return replace(state, K=K, mean=0 * K.same, tangent=tangent, law=Gaussian(), width=self.width, fresh=True)

    @property
    def fan_in_ratio(self) -> Value:
        """Weights of a unit over units below it."""
        return 1

    def wrong(self) -> Iterator[tuple[str, str, Step]]:
        """Forgotten biases."""
        yield "no sb2", "the bias variance is dropped", replace(self, sigma_b2=0 * self.sigma_b2)


@register
@dataclass(frozen=True)
class Convolution(Dense):
    """A circular convolution over positions with ``taps`` taps; the fan-in counts them."""

    name: ClassVar[str] = "conv"
    rule: ClassVar[str] = "K <- sigma_w2 K + sigma_b2, mean 0, Th <- sigma_w2 Th + taps alpha_in K"
    needs_positions: ClassVar[bool] = True

    taps: Value = _THREE

    def apply(self, state: State, run: Run, path: str) -> State:
        """As dense weights; every tap has weights of its own."""
        if state.K.mate is None:
            raise CompositionError(
                f"step {path}: conv over the positions of a signal that has none. Give the network positions, or use "
                "dense."
            )
        return super().apply(state, run, path)

    @property
    def fan_in_ratio(self) -> Value:
        """One weight for every tap."""
        return self.taps

    def wrong(self) -> Iterator[tuple[str, str, Step]]:
        """Also taps that are not counted."""
        yield from super().wrong()
        yield "taps", "the weights of one tap are counted for all", replace(self, rate=self.rate / self.taps)


@register
@dataclass(frozen=True)
class Attention(Step):
    """Self-attention over positions with logits q.k/d; value and output weights of variance sigma_w2 over the fan-in.

    In the limit q.k/d vanishes: the softmax is uniform, and query and key get no gradient.
    """

    name: ClassVar[str] = "attention"
    rule: ClassVar[str] = "dense(sigma_b2=0), the mean over positions at every position, dense(sigma_b2=0)"
    mixes: ClassVar[bool] = True
    needs_positions: ClassVar[bool] = True

    sigma_w2: Value = symbols.sigma_w2

    def apply(self, state: State, run: Run, path: str) -> State:
        """Value weights, the mean over positions, output weights."""
        if state.K.mate is None:
            raise CompositionError(f"step {path}: attention over the positions of a signal that has none. Give some.")
        weights = Dense(state.width, self.sigma_w2, 0 * self.sigma_w2, rate=0 * self.sigma_w2 + 1)
        value = weights.apply(state, run, f"{path}.value")
        spread = pooled(value)
        state = weights.apply(replace(value, K=spread.K, tangent=spread.tangent), run, f"{path}.output")
        run.count = run.count + 2 * state.width**2  # query and key
        return state


def pooled(state: State) -> State:
    """The mean over the positions of every sample, standing at every position."""
    N = state.positions

    def mean(t):
        both = (t.same + (N - 1) * t.mate) / N
        return replace(t, same=both, mate=both)

    return replace(state, K=mean(state.K), tangent=mapped(state.tangent, mean))


def one_of(step: Step, name: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse a word that is none of the known ones."""
    if value not in known:
        raise CompositionError(f"{step.name}: {name} = {value!r} is not known. Choose one of {', '.join(known)}.")
