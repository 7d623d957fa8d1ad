"""Activations: built-in ones by name, and any SymPy expression of one real variable."""

from dataclasses import dataclass, field
from functools import cache

import sympy as sp

from fimcheck.theory.gaussian.analysis import growth, homogeneity, require_expectations
from fimcheck.theory.gaussian.functions import ActivationError, Function
from fimcheck.theory.naming import check_new
from fimcheck.theory.symbols import Expr, x


@dataclass(frozen=True)
class Activation:
    """An activation phi: its name and its expression in `symbols.x`."""

    name: str
    expr: Expr
    phi: Function = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        phi = Function.from_expr(self.expr)
        require_expectations(self.name, phi)
        object.__setattr__(self, "phi", phi)

    @property
    def kinks(self) -> tuple[Expr, ...]:
        """Places where the function or its slope is discontinuous."""
        return self.phi.breaks

    @property
    def parity(self) -> str:
        """ "odd", "even" or "none"."""
        return "odd" if self.phi.is_odd else "even" if self.phi.is_even else "none"

    @property
    def growth(self) -> str:
        """ "bounded", "polynomial" or "exponential"."""
        return growth(self.phi)

    @property
    def degree(self) -> int | None:
        """The k with phi(r x) = r^k phi(x) for r > 0; None for a function that is not homogeneous."""
        return homogeneity(self.phi)

    def _repr_latex_(self) -> str:
        return f"$\\phi(x) = {sp.latex(self.expr)}$"

    @property
    def parameters(self) -> set[sp.Symbol]:
        """Symbols other than the argument, such as a slope."""
        return self.expr.free_symbols - {x}  # type: ignore[return-value]


# Fixed point of mean 0 and variance 1 under iteration (Klambauer et al. 2017), to 20 digits.
_SELU_ALPHA = sp.Rational("1.6732632423543772848")
_SELU_SCALE = sp.Rational("1.0507009873554804934")


def leaky_relu(slope: Expr | float) -> Activation:
    """x for x > 0 and slope * x below; the slope may be a symbol.

    >>> theory.leaky_relu(0.1).expr
    Piecewise((x/10, x < 0), (x, True))
    """
    return Activation("leaky_relu", sp.Piecewise((sp.nsimplify(slope, rational=True) * x, x < 0), (x, True)))


BUILTIN: dict[str, Expr] = {
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


def add_activation(name: str, expr: Expr) -> None:
    """Add an expression of one real symbol as an activation under a new name, which then stands in `BUILTIN`.

    An expression whose Gaussian expectations do not exist is refused, as everywhere.

    >>> theory.add_activation("cubed", theory.symbols.x**3)
    >>> theory.activation("cubed").degree
    3
    """
    check_new("activation", name, tuple(BUILTIN))
    BUILTIN[name] = activation(expr).expr


def activation(spec: "str | Expr | Activation") -> Activation:
    """The activation meant by a built-in name, an expression of one real symbol, or an Activation.

    >>> theory.activation("erf").parity
    'odd'
    >>> theory.activation("relu").kinks
    (0,)
    """
    if isinstance(spec, Activation):
        return spec
    if isinstance(spec, str):
        return named(spec)
    if isinstance(spec, bool) or not isinstance(spec, sp.Expr):
        raise ActivationError(
            f"activation = {spec!r}: give a name, a SymPy expression of one real symbol, or an Activation."
        )
    free = spec.free_symbols
    if len(free) != 1:
        names = ", ".join(sorted(map(str, free))) or "none"
        raise ActivationError(
            f"The activation {spec} has free symbols: {names}. It has to be a function of exactly one; "
            "build functions with parameters as Activation(name, expression in theory.symbols.x)."
        )
    return Activation(str(spec), spec.xreplace({free.pop(): x}))


@cache
def named(name: str) -> Activation:
    if name not in BUILTIN:
        raise ActivationError(
            f"Unknown activation {name!r}. Known names: {', '.join(BUILTIN)}; or pass a SymPy expression."
        )
    return Activation(name, BUILTIN[name])
