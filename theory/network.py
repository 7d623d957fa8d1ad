"""The network a prediction is about."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import sympy as sp

from theory import normalizations, spectrum, symbols
from theory.activations import Activation, activation
from theory.normalizations import HiddenRule
from theory.symbols import Expr

Value = Expr | int | float


@dataclass(frozen=True, init=False)
class WideNetwork:
    """A fully connected network of large width M.

    depth: number L >= 2 of weight layers. activation: of layers 1..L-1. hidden: normalization of the
    pre-activations of layers 1..L-1, "none", "layer", "batch", an added one or a rule. last: normalization of the
    outputs, "none", "mean", "batch", "layer" or an added one. sigma_w2 > 0 and sigma_b2 >= 0: variances of weights
    (times fan-in) and biases. ratios: alpha_l = M_l/M for l = 0..L-1. gamma, beta: scale and shift of the hidden
    normalization. last_gamma: scale of the last one. Every value is a number or a SymPy expression; the
    defaults are the symbols of `theory.symbols`.
    """

    depth: int
    activation: Activation
    hidden: str | HiddenRule
    last: str
    sigma_w2: Expr
    sigma_b2: Expr
    ratios: tuple[Expr, ...]
    gamma: Expr
    beta: Expr
    last_gamma: Expr

    def __init__(
        self,
        depth: int,
        activation: "str | Expr | Activation" = "relu",
        hidden: str | HiddenRule = "none",
        last: str = "none",
        sigma_w2: Value = symbols.sigma_w2,
        sigma_b2: Value = symbols.sigma_b2,
        ratios: Sequence[Value] | None = None,
        gamma: Value = symbols.gamma,
        beta: Value = symbols.beta,
        last_gamma: Value = symbols.last_gamma,
    ) -> None:
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 2:
            raise ValueError(f"depth = {depth!r}: a network needs at least 2 weight layers. Give an integer >= 2.")
        if not isinstance(hidden, HiddenRule):
            _one_of("hidden", hidden, normalizations.hidden_names())
        _one_of("last", last, spectrum.output_names())
        values = [symbols.alpha(layer) for layer in range(depth)] if ratios is None else list(ratios)
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
        set_(self, "sigma_w2", _positive("sigma_w2", sigma_w2))
        set_(self, "sigma_b2", _nonnegative("sigma_b2", sigma_b2))
        set_(self, "ratios", tuple(_positive(f"ratios[{i}]", v) for i, v in enumerate(values)))
        set_(self, "gamma", _nonzero("gamma", gamma))
        set_(self, "beta", _finite("beta", beta))
        set_(self, "last_gamma", _nonzero("last_gamma", last_gamma))

    @property
    def alpha(self) -> Expr:
        """alpha = sum_{l=1}^{L-1} alpha_l alpha_{l-1}; the network has P ~ alpha M^2 parameters."""
        return sp.Add(*(a * b for a, b in zip(self.ratios, self.ratios[1:], strict=False)))

    def depends_on_samples(self, samples: str) -> bool:
        """Whether the order parameters depend on T: for T fixed, where the hidden normalization mixes samples."""
        return samples == "fixed" and normalizations.hidden_rule(self.hidden, samples).couples_samples

    def _repr_latex_(self) -> str:
        phi = symbols.latex(self.activation.expr)
        return (
            rf"$L={self.depth},\ \phi(x)={phi},\ \sigma_w^2={symbols.latex(self.sigma_w2)},\ "
            rf"\sigma_b^2={symbols.latex(self.sigma_b2)},\ \text{{hidden: {self.hidden}, last: {self.last}}}$"
        )

    def with_activation_values(self, values: Mapping[sp.Symbol, object]) -> "WideNetwork":
        """The network with numbers for the parameters of its activation."""
        if not values:
            return self
        given = {symbol: sp.Float(value) for symbol, value in values.items()}
        act = Activation(self.activation.name, self.activation.expr.xreplace(given))
        other = copy(self)
        object.__setattr__(other, "activation", act)
        return other


_activation = activation


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} = {value!r} is not known. Choose one of {', '.join(map(repr, known))}.")


def _finite(name: str, value: Value) -> Expr:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # SymPy tells 0.0 from 0, and an exact 0 decides whether a network is centered
    expr = value if isinstance(value, sp.Expr) else None if isinstance(value, str) else sp.sympify(value)
    if not isinstance(expr, sp.Expr) or expr.is_finite is False or expr.is_real is False or expr is sp.nan:
        raise ValueError(f"{name} = {value} is not a finite real number. Give a number or a SymPy expression.")
    return expr


def _positive(name: str, value: Value) -> Expr:
    expr = _finite(name, value)
    if expr.is_positive is False:
        raise ValueError(f"{name} = {value}: it must be positive, or no signal passes. Give a value > 0.")
    return expr


def _nonnegative(name: str, value: Value) -> Expr:
    expr = _finite(name, value)
    if expr.is_negative:
        raise ValueError(f"{name} = {value}: a variance is not negative. Give a value >= 0.")
    return expr


def _nonzero(name: str, value: Value) -> Expr:
    expr = _finite(name, value)
    if expr.is_zero:
        raise ValueError(f"{name} = 0 switches the layer off; give a nonzero scale.")
    return expr
