"""Activations: built-in ones by name, and any SymPy expression of one real variable."""

from dataclasses import dataclass, field

import sympy as sp

from theory.functions import ActivationError, Function
from theory.symbols import x


@dataclass(frozen=True)
class Activation:
    """An activation phi: its name and its expression in `symbols.x`."""

    name: str
    expr: sp.Expr
    phi: Function = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "phi", Function.from_expr(self.expr))

    @property
    def parameters(self) -> set[sp.Symbol]:
        """Symbols other than the argument, such as a slope."""
        return self.expr.free_symbols - {x}  # type: ignore[return-value]


# Fixed point of mean 0 and variance 1 under iteration (Klambauer et al. 2017), to 20 digits.
_SELU_ALPHA = sp.Rational("1.6732632423543772848")
_SELU_SCALE = sp.Rational("1.0507009873554804934")


def leaky_relu(slope: sp.Expr | float) -> Activation:
    """x for x > 0 and slope * x below; the slope may be a symbol."""
    return Activation("leaky_relu", sp.Piecewise((sp.nsimplify(slope, rational=True) * x, x < 0), (x, True)))


BUILTIN: dict[str, sp.Expr] = {
    "linear": x,
    "square": x**2,
    "cube": x**3,
    "hermite_2": x**2 - 1,
    "hermite_3": x**3 - 3 * x,
    "relu": sp.Max(x, 0),
    "leaky_relu": leaky_relu(0.01).expr,
    "abs": sp.Abs(x),
    "hard_tanh": sp.Max(-1, sp.Min(1, x)),
    "relu6": sp.Min(sp.Max(x, 0), 6),
    "erf": sp.erf(x),
    "gelu": x * (1 + sp.erf(x / sp.sqrt(2))) / 2,
    "sin": sp.sin(x),
    "cos": sp.cos(x),
    "exp": sp.exp(x),
    "gaussian": sp.exp(-(x**2) / 2),
    "tanh": sp.tanh(x),
    "sigmoid": (1 + sp.tanh(x / 2)) / 2,
    "silu": x * (1 + sp.tanh(x / 2)) / 2,
    "softplus": sp.log(1 + sp.exp(x)),
    "elu": sp.Piecewise((sp.exp(x) - 1, x < 0), (x, True)),
    "selu": _SELU_SCALE * sp.Piecewise((_SELU_ALPHA * (sp.exp(x) - 1), x < 0), (x, True)),
}
"""Expression in `symbols.x` of every built-in activation."""


def activation(spec: "str | sp.Expr | Activation") -> Activation:
    """The activation meant by a built-in name, an expression of one real symbol, or an Activation."""
    if isinstance(spec, Activation):
        return spec
    if isinstance(spec, str):
        if spec not in BUILTIN:
            raise ActivationError(
                f"Unknown activation {spec!r}. Known names: {', '.join(BUILTIN)}; or pass a SymPy expression."
            )
        return Activation(spec, BUILTIN[spec])
    expr = sp.sympify(spec)
    free = expr.free_symbols
    if len(free) != 1:
        names = ", ".join(sorted(map(str, free))) or "none"
        raise ActivationError(
            f"The activation {expr} has free symbols: {names}. It has to be a function of exactly one."
        )
    return Activation(str(expr), expr.xreplace({free.pop(): x}))
