"""Real functions given by one SymPy expression: kinks, branches, weak derivatives and numeric values."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import sympy as sp
from scipy import special
from sympy.core.relational import Relational

from fimcheck.theory.gaussian.terms import Term, Terms, add, from_branches
from fimcheck.theory.symbols import Expr, arguments, x

_NONSMOOTH = (sp.Abs, sp.Max, sp.Min, sp.Heaviside, sp.sign, sp.Piecewise)


class ActivationError(ValueError):
    """An activation this theory has no use for; the message names it, the rule it breaks and the remedy."""


class QuadratureError(ArithmeticError):
    """A Gaussian average that is not found to its precision; the message says what was met, and the remedy."""


class DisagreementError(QuadratureError):
    """The two routes to a Gaussian average give different numbers; the message shows both."""


class ImpossibleError(QuadratureError):
    """Averages that no random variables have; the message shows them."""


@dataclass(frozen=True)
class Function:
    """branches[i] between breaks[i-1] and breaks[i] (in rising order), plus weight * DiracDelta(x - place)
    for deltas.
    """

    branches: tuple[Expr, ...]
    breaks: tuple[Expr, ...] = ()
    deltas: tuple[tuple[Expr, Expr], ...] = ()

    @classmethod
    def from_expr(cls, expr: Expr) -> "Function":
        """Branches of an expression in `symbols.x`; Abs, Max, Min, Heaviside, sign, Piecewise make kinks."""
        places = sorted(_break_places(expr), key=float)
        ends = [float(b) for b in places]
        inside = [ends[0] - 1, *((a + b) / 2 for a, b in pairwise(ends)), ends[-1] + 1] if ends else [0.5]
        branches = tuple(sp.expand(_branch(expr, sp.Float(at, 30))) for at in inside)
        return _merged(branches, tuple(places), ())

    @property
    def expr(self) -> Expr:
        """The function as one SymPy expression in x, deltas included."""
        cases = [(b, x < t) for b, t in zip(self.branches, self.breaks, strict=False)]
        regular = sp.Piecewise(*cases, (self.branches[-1], True)) if cases else self.branches[0]
        return regular + sp.Add(*(w * sp.DiracDelta(x - t) for t, w in self.deltas))

    @cached_property
    def terms(self) -> Terms | None:
        """The function in the class of terms.py, None outside it."""
        regular = from_branches(self.branches, self.breaks)
        deltas = [Term(w, kind="delta", at=(t, sp.S.Zero)) for t, w in self.deltas]
        return None if regular is None else add([*regular, *deltas])

    @property
    def jumps(self) -> tuple[tuple[Expr, Expr], ...]:
        """(place, height) of each discontinuity."""
        pairs = zip(self.breaks, self.branches, self.branches[1:], strict=False)
        heights = ((t, sp.simplify(_limit(right, t, "+") - _limit(left, t, "-"))) for t, left, right in pairs)
        return tuple((t, h) for t, h in heights if h != 0)

    @property
    def parameters(self) -> set[Expr]:
        """Symbols other than the argument."""
        weights = (w for _, w in self.deltas)
        return set().union(*(e.free_symbols for e in (*self.branches, *weights))) - {x}  # type: ignore[return-value]

    def subs(self, values: dict[Expr, Expr]) -> "Function":
        """The function with numbers for its parameters."""
        return Function(
            tuple(b.subs(values) for b in self.branches),
            self.breaks,
            tuple((t, w.subs(values)) for t, w in self.deltas),
        )

    @cached_property
    def is_odd(self) -> bool:
        """Whether f(-x) = -f(x)."""
        return self._mirrors(-1)

    @cached_property
    def is_even(self) -> bool:
        """Whether f(-x) = f(x)."""
        return self._mirrors(1)

    def _mirrors(self, sign: int) -> bool:
        mirrored = tuple(-t for t in reversed(self.breaks))
        pairs = zip(self.branches, reversed(self.branches), strict=True)
        return (
            not self.deltas and mirrored == self.breaks and all(_vanishes(a.subs(x, -x) - sign * b) for a, b in pairs)
        )

    def derivative(self) -> "Function":
        """Weak derivative; a jump becomes a delta."""
        if self.deltas:
            raise ActivationError("The derivative of a delta is needed here, which no expectation of theory uses.")
        return _merged(tuple(sp.diff(b, x) for b in self.branches), self.breaks, self.jumps)

    @cached_property
    def _compiled(self) -> tuple[Callable[[np.ndarray], np.ndarray], ...]:
        modules = [{"erf": special.erf, "erfc": special.erfc}, "numpy"]
        return tuple(sp.lambdify(x, b, modules) for b in self.branches)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Regular part at an array of points, float64."""
        out = np.empty(np.shape(values))
        interval = np.searchsorted(np.array([float(b) for b in self.breaks]), values, side="right")
        with np.errstate(over="ignore", under="ignore"):
            for i, branch in enumerate(self._compiled):
                if len(self._compiled) == 1:
                    out[...] = branch(values)
                else:
                    inside = interval == i
                    out[inside] = branch(values[inside])
        return out


def _limit(branch: Expr, place: Expr, side: str) -> Expr:
    """Value at the end of a branch; by a limit where it is written as a quotient of zeros."""
    value = branch.subs(x, place)
    return value if value.is_finite else sp.limit(branch, x, place, side)


def _vanishes(expr: Expr) -> bool:
    """Whether an expression in x is zero: one number can deny it in milliseconds, SymPy's proof may take a minute."""
    value = expr.subs(x, sp.Rational(7, 10)).evalf(30)
    if value.is_comparable and abs(value) > sp.Float("1e-15"):
        return False
    return sp.simplify(expr) == 0


def _merged(branches: tuple[Expr, ...], breaks: tuple[Expr, ...], deltas: tuple[tuple[Expr, Expr], ...]) -> Function:
    """Drops breaks between equal branches."""
    kept, places = [branches[0]], []
    for place, branch in zip(breaks, branches[1:], strict=True):
        if branch - kept[-1] != 0:
            kept.append(branch)
            places.append(place)
    return Function(tuple(kept), tuple(places), deltas)


def _break_places(expr: Expr) -> set[Expr]:
    places: set[Expr] = set()
    for node in expr.atoms(*_NONSMOOTH):
        if isinstance(node, sp.Piecewise):
            switches = [r.lhs - r.rhs for _, cond in arguments(node) for r in cond.atoms(Relational)]
        elif isinstance(node, sp.Max | sp.Min):
            parts = arguments(node)
            switches = [a - b for i, a in enumerate(parts) for b in parts[:i]]
        else:
            switches = [node.args[0]]
        for switch in switches:
            for smooth in _alternatives(switch):
                places |= _roots(smooth)
    return places


def _alternatives(expr: Expr) -> set[Expr]:
    """Every smooth expression that a nested one may stand for, over all its branches."""
    inner = next((n for n in sp.postorder_traversal(expr) if isinstance(n, _NONSMOOTH)), None)
    if inner is None:
        return {expr}
    if isinstance(inner, sp.Piecewise):
        choices = [value for value, _ in arguments(inner)]
    elif isinstance(inner, sp.Max | sp.Min):
        choices = list(inner.args)
    elif isinstance(inner, sp.Abs):
        choices = [inner.args[0], -inner.args[0]]
    else:
        choices = [sp.S.Zero, sp.S.One, sp.S.NegativeOne]
    return set().union(*(_alternatives(expr.xreplace({inner: choice})) for choice in choices))


def _roots(switch: Expr) -> set[Expr]:
    """Real zeros of the argument of a kink, a polynomial in x with numeric coefficients."""
    if not switch.has(x):
        return set()
    if not switch.is_polynomial(x) or switch.free_symbols != {x}:
        raise ActivationError(
            f"The kink condition {switch} is not a polynomial in one variable with numeric coefficients; "
            "kinks are found by solving it. Write the function with Piecewise and numeric thresholds "
            "instead."
        )
    return {root for root in sp.roots(sp.Poly(switch, x)) if root.is_real} or set(sp.real_roots(sp.Poly(switch, x)))


def _branch(expr: Expr, at: Expr) -> Expr:
    """The smooth expression that equals `expr` around the point `at`, which is not a break."""
    if not isinstance(expr, _NONSMOOTH):
        return expr.func(*(_branch(a, at) for a in expr.args)) if expr.args else expr
    if isinstance(expr, sp.Piecewise):
        for value, cond in arguments(expr):
            if cond.subs(x, at) == sp.true:
                return _branch(value, at)
        raise ActivationError(f"{expr} has no value at x = {at}. Add a last case (value, True).")
    if isinstance(expr, sp.Max | sp.Min):
        pick = max if isinstance(expr, sp.Max) else min
        return _branch(pick(arguments(expr), key=lambda a: float(a.subs(x, at))), at)
    positive = bool(arguments(expr)[0].subs(x, at) > 0)
    if isinstance(expr, sp.Abs):
        inner = _branch(expr.args[0], at)
        return inner if positive else -inner
    if isinstance(expr, sp.sign):
        return sp.S.One if positive else sp.S.NegativeOne
    return sp.S.One if positive else sp.S.Zero
