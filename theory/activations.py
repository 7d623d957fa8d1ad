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
    def is_odd(self) -> bool:
        """Whether phi(-x) = -phi(x)."""
        return sp.simplify(self.expr.subs(x, -x) + self.expr) == 0


def _builtin() -> dict[str, sp.Expr]:
    return {
        "linear": x,
        "relu": sp.Max(x, 0),
        "erf": sp.erf(x),
        "tanh": sp.tanh(x),
    }


BUILTIN = {name: expr for name, expr in _builtin().items()}
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
