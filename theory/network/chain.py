"""The paper's network: a chain of dense weights, one normalization and one activation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import sympy as sp

from fimcheck.theory import symbols
from fimcheck.theory.gaussian.activations import Activation, activation
from fimcheck.theory.network.combine import Chain
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.elementwise import Phi
from fimcheck.theory.network.step import STEPS, Step
from fimcheck.theory.symbols import Expr

Value = Expr | int | float


DEEPEST = 2000
"""Most weight layers of a chain."""


@dataclass(frozen=True, init=False)
class WideNetwork(Composed):
    """A fully connected network of large width M.

    depth: number L >= 2 of weight layers. activation: of layers 1..L-1. hidden: a step on the pre-activations of
    layers 1..L-1, "none", "layer", "batch", another step by name, or a step. last: what is done to the
    outputs, "none", "mean", "batch", "layer", "softmax" or an added one. sigma_w2 > 0 and sigma_b2 >= 0: variances of
    weights (times fan-in) and biases. ratios: alpha_l = M_l/M for l = 0..L-1, or one number for all of them. gamma,
    beta: scale and shift of the hidden normalization. last_gamma: scale of the last one. Every value is a number or a
    SymPy expression; the defaults are the symbols of `theory.symbols`.

    >>> theory.WideNetwork(3, "tanh", last="batch").alpha
    alpha_0*alpha_1 + alpha_1*alpha_2
    """

    depth: int
    activation: Activation
    hidden: str | Step
    last: str
    sigma_w2: Expr
    sigma_b2: Expr
    ratios: tuple[Expr, ...]
    gamma: Expr
    beta: Expr
    last_gamma: Expr

    positions = sp.S.One
    inputs = None

    def __init__(
        self,
        depth: int,
        activation: "str | Expr | Activation" = "relu",
        hidden: str | Step = "none",
        last: str = "none",
        sigma_w2: Value = symbols.sigma_w2,
        sigma_b2: Value = symbols.sigma_b2,
        ratios: Sequence[Value] | Value | None = None,
        gamma: Value = symbols.gamma,
        beta: Value = symbols.beta,
        last_gamma: Value = symbols.last_gamma,
    ) -> None:
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 2:
            raise ValueError(f"depth = {depth!r}: a network needs at least 2 weight layers. Give an integer >= 2.")
        if depth > DEEPEST:
            raise ValueError(f"depth = {depth}: at most {DEEPEST} weight layers are computed. Give fewer.")
        if ratios is None:
            ratios = [symbols.alpha(layer) for layer in range(depth)]
        values = list(ratios) if isinstance(ratios, Iterable) else [ratios] * depth
        if len(values) != depth:
            raise ValueError(
                f"ratios has {len(values)} entries, but depth = {depth} needs one for each of the "
                f"layers 0..{depth - 1}. Give that many."
            )
        set_ = object.__setattr__
        set_(self, "depth", depth)
        set_(self, "activation", _activation(activation))
        set_(self, "hidden", hidden)
        set_(self, "last", last)
        set_(self, "sigma_w2", positive("sigma_w2", sigma_w2))
        set_(self, "sigma_b2", nonnegative("sigma_b2", sigma_b2))
        set_(self, "ratios", tuple(positive(f"ratios[{i}]", v) for i, v in enumerate(values)))
        set_(self, "gamma", nonzero("gamma", gamma))
        set_(self, "beta", finite("beta", beta))
        set_(self, "last_gamma", nonzero("last_gamma", last_gamma))
        self._step_before_phi()  # refuses an unknown name
        self.check()

    @cached_property
    def steps(self) -> Chain:  # type: ignore[override]
        """Dense, hidden step, activation; L - 1 times, and dense once more."""
        before = self._step_before_phi()
        found: list[Step] = []
        for width in self.ratios[1:]:
            found += [Dense(width, self.sigma_w2, self.sigma_b2), *before, Phi(self.activation)]
        return Chain((*found, Dense(sp.S.Zero, self.sigma_w2, self.sigma_b2)))

    def _step_before_phi(self) -> tuple[Step, ...]:
        step = self.hidden if isinstance(self.hidden, Step) else hidden_step(self.hidden, self.gamma, self.beta)
        return () if step is None else (step,)

    @property
    def input_width(self) -> Expr:  # type: ignore[override]
        """alpha_0."""
        return self.ratios[0]

    def _repr_latex_(self) -> str:
        phi = symbols.latex(self.activation.expr)
        return (
            rf"$L={self.depth},\ \phi(x)={phi},\ \sigma_w^2={symbols.latex(self.sigma_w2)},\ "
            rf"\sigma_b^2={symbols.latex(self.sigma_b2)},\ \text{{hidden: {self.hidden}, last: {self.last}}}$"
        )


_activation = activation


def hidden_step(name: str, gamma: Expr = symbols.gamma, beta: Expr = symbols.beta) -> Step | None:
    """The step before phi that a name means, None for "none".

    >>> theory.hidden_step("layer").words
    'layer normalization'
    >>> theory.hidden_step("none") is None
    True
    """
    if name == "none":
        return None
    if name not in STEPS:
        known = ", ".join(map(repr, hidden_names()))
        raise ValueError(f"hidden = {name!r} is not known. Choose one of {known}.")
    own = {field.name for field in fields(STEPS[name])}
    return STEPS[name](**{key: value for key, value in (("gamma", gamma), ("beta", beta)) if key in own})


def hidden_names() -> tuple[str, ...]:
    """Names of the steps that may stand before phi in every layer: those that need nothing but gamma and beta."""
    from dataclasses import MISSING

    simple = (n for n, kind in STEPS.items() if all(f.default is not MISSING for f in fields(kind)) and not kind.mixes)
    return ("none", *simple)


def finite(name: str, value: Value) -> Expr:
    """A finite real number or expression."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # SymPy tells 0.0 from 0, and an exact 0 decides whether a network is centered
    expr = value if isinstance(value, sp.Expr) else None if isinstance(value, str) else sp.sympify(value)
    if not isinstance(expr, sp.Expr) or expr.is_finite is False or expr.is_real is False or expr is sp.nan:
        raise ValueError(f"{name} = {value} is not a finite real number. Give a number or a SymPy expression.")
    return expr


def positive(name: str, value: Value) -> Expr:
    """One that is not known to be 0 or negative."""
    expr = finite(name, value)
    if expr.is_positive is False:
        raise ValueError(f"{name} = {value}: it must be positive, or no signal passes. Give a value > 0.")
    return expr


def nonnegative(name: str, value: Value) -> Expr:
    """One that is not known to be negative."""
    expr = finite(name, value)
    if expr.is_negative:
        raise ValueError(f"{name} = {value}: a variance is not negative. Give a value >= 0.")
    return expr


def nonzero(name: str, value: Value) -> Expr:
    """One that is not known to be 0."""
    expr = finite(name, value)
    if expr.is_zero:
        raise ValueError(f"{name} = 0 switches the layer off; give a nonzero scale.")
    return expr
