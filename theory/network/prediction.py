"""A prediction: a formula in the order parameters, its written-out expression and its numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from fimcheck.theory import symbols
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.expectations import ClosedForms, Numbers, SecondRoute
from fimcheck.theory.network.explain import steps
from fimcheck.theory.network.given import GIVEN, numbers_of
from fimcheck.theory.network.limits import leading
from fimcheck.theory.network.state import Expectations
from fimcheck.theory.symbols import Expr, T, alpha_total, kappa1, kappa2

if TYPE_CHECKING:
    from fimcheck.theory.network.where import Statement

first_variance = sp.Symbol("q1_L", positive=True)
"""q_1^L: variance over networks of an output before normalization."""

spread = sp.Symbol("Delta", positive=True)
"""q_1^L - q_2^L: what of it varies from sample to sample."""

ORDER_SYMBOLS = {kappa1, kappa2, spread, first_variance, *GIVEN}


@dataclass(frozen=True)
class Prediction:
    """What the theory says about one quantity of one network.

    relation: "equals", "at least" or "at most", to leading order in M. conditions: SymPy relations that
    `evaluate` checks. formula: the statement in kappa1, kappa2, alpha and, averaged over networks, Delta =
    q_1^L - q_2^L or q1_L.
    """

    quantity: str
    network: Composed
    samples: str
    formula: Expr
    relation: str
    conditions: tuple[Any, ...]
    source: str

    @cached_property
    def expr(self) -> Expr:
        """The statement in the network's own parameters, every order parameter written out."""
        values: dict[Expr, Any] = {alpha_total: self.network.alpha}
        if self._needs_orders:
            values |= self._order_values(
                ClosedForms(), T if self.samples == "fixed" else sp.oo, lambda value: value, apart=True
            )
        return self.formula.subs(values, simultaneous=True)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Names of the numbers that `evaluate` needs."""
        needed = self.formula.free_symbols - ORDER_SYMBOLS - {alpha_total}
        needed |= set().union(*(condition.free_symbols for condition in self.conditions))
        if self._needs_orders:
            needed |= self.network.open_symbols
            needed |= {T} if self.network.depends_on_samples(self.samples) else set()
        elif alpha_total in self.formula.free_symbols:
            needed |= self.network.alpha.free_symbols
        return tuple(sorted(s.name for s in needed))

    @property
    def _needs_orders(self) -> bool:
        return bool(self.formula.free_symbols & ORDER_SYMBOLS)

    def _order_values(
        self, expect: Expectations, samples: Any, number: Callable[[Expr], Any], apart: bool = False
    ) -> dict[Expr, Any]:
        """Values of the symbols that stand for order parameters, from a run of the given kind."""
        run, end = self.network.run(expect, samples, apart=apart, number=number)
        total, K = run.total(end), end.K
        if self.network.inputs is not None:
            return numbers_of(total, run.count, self.network)
        orders = {kappa1: total.same / run.count, kappa2: total.other / run.count}
        return orders | {spread: K.same - K.other, first_variance: K.same}

    def evaluate(self, **numbers: Any) -> Any:
        """The predicted number in float64, from the recursion run layer by layer.

        numbers: one per name in `symbols`; floats, or arrays that broadcast.
        """
        return self._evaluated(self._checked(numbers), Numbers())

    def distance(self, **numbers: Any) -> float:
        """How far `evaluate` is from the same recursion with averages by a rule that only evaluates the activation."""
        values = self._checked(numbers)
        return float(np.max(np.abs(self._evaluated(values, Numbers()) - self._evaluated(values, SecondRoute()))))

    def _evaluated(self, values: dict[str, np.ndarray], expect: Expectations) -> Any:
        """The number, from averages of the given kind."""

        def number(expr: Expr) -> Any:
            return value_at(expr, values)

        order: dict[Expr, Any] = {}
        if self._needs_orders:
            samples = values.get("T", np.inf) if self.samples == "fixed" else np.inf
            with np.errstate(over="ignore", invalid="ignore"):
                order = self._order_values(expect, samples, number)
        if alpha_total in self.formula.free_symbols:
            order[alpha_total] = number(self.network.alpha)
        with np.errstate(over="ignore", invalid="ignore"):
            result = value_at(self.formula, values | {s.name: v for s, v in order.items()})  # type: ignore[attr-defined]
        if not np.all(np.isfinite(result)):
            raise OverflowError(f"{self.quantity} exceeds float64 at these numbers: overlaps grow too fast with depth.")
        return float(result) if np.ndim(result) == 0 else np.asarray(result)

    def latex_formula(self) -> str:
        """The right-hand side of the statement in LaTeX."""
        from fimcheck.theory.writing import latex

        return latex.text(self.formula)

    def accuracy(self, **numbers: Any) -> str:  # noqa: ARG002
        """How well `evaluate` knows the number, in words; "" where its formula can be evaluated to more digits."""
        return ""

    def remedy(self, condition: Any) -> str:
        """What to do where a condition does not hold, in words."""
        return "Use given_outputs=True with the measured outputs." if condition == sp.Eq(symbols.C, 1) else ""

    def _checked(self, numbers: dict[str, Any]) -> dict[str, np.ndarray]:
        missing, unused = sorted(set(self.symbols) - set(numbers)), sorted(set(numbers) - set(self.symbols))
        if missing:
            raise ValueError(f"{self.quantity} needs a value for {', '.join(missing)}.")
        if unused:
            needed = ", ".join(self.symbols) or "nothing"
            raise ValueError(f"{self.quantity} does not depend on {', '.join(unused)}. Leave it out; needed: {needed}.")
        values = {name: np.asarray(number, float) for name, number in numbers.items()}
        for name, value in values.items():
            check_range(name, value)
        for condition in self.conditions:
            if not np.all(value_at(condition, values)):
                given = ", ".join(f"{s} = {values[s.name]}" for s in condition.free_symbols)
                raise ValueError(
                    f"{self.quantity} is predicted for {sp.pycode(condition)} only; given {given}. "
                    f"{self.remedy(condition)}".rstrip()
                )
        return values

    def scaling(self, name: str) -> Expr:
        """Exponent of a symbol, "M" or "T": the quantity, or its bound, grows like this power of it."""
        found = [s for s in self.formula.free_symbols if s.name == name]  # type: ignore[attr-defined]
        if name == "T" and self._needs_orders and self.network.depends_on_samples(self.samples):
            raise ValueError('The order parameters depend on T here. Predict with samples="infinite" instead.')
        if self.formula == 0:
            raise ValueError(f"{self.quantity} is zero here, so it has no exponent.")
        return leading(self.formula, found[0])[0] if found else sp.S.Zero

    def statement(self, at: Mapping[str, Expr] | None = None) -> "Statement":
        """The statement with its where-list; at: numbers in the place of symbols, by name."""
        from fimcheck.theory.network.where import statement

        return statement(self, at)

    def text(self, width: int = 100) -> str:
        """The statement and its where-list, in lines of at most ``width`` characters."""
        from fimcheck.theory.writing import unicode

        return unicode.written(self.statement(), width)

    def latex(self) -> str:
        """The same as a LaTeX align block."""
        from fimcheck.theory.writing import latex

        return latex.written(self.statement())

    def _repr_latex_(self) -> str:
        return self.latex()

    def steps(self) -> tuple[str, ...]:
        """The derivation, one step per line."""
        return steps(self)

    def python(self) -> str:
        """Source of a Python function of the same name as the quantity that runs without this package."""
        from fimcheck.theory.writing import python

        return python.written(self.statement())


def check_range(name: str, value: np.ndarray) -> None:
    """Refuse a number that its symbol cannot stand for: not finite, not positive, negative."""
    if not np.all(np.isfinite(value)):
        raise ValueError(f"{name} = {value} is not finite. Give a finite number.")
    known = symbols.alpha(0) if name.startswith("alpha_") else getattr(symbols, name, None)
    if isinstance(known, sp.Symbol) and known.is_positive and not np.all(value > 0):
        raise ValueError(f"{name} = {value} has to be positive.")
    if isinstance(known, sp.Symbol) and known.is_nonnegative and not np.all(value >= 0):
        raise ValueError(f"{name} = {value} is negative; it has to be at least 0.")


def value_at(expr: sp.Basic, values: dict[str, Any]) -> Any:
    """Value of an expression at numbers by symbol name."""
    free = sorted(expr.free_symbols, key=lambda s: s.name)  # type: ignore[attr-defined]
    arrays = np.broadcast_arrays(*(values[s.name] for s in free)) if free else []  # type: ignore[attr-defined]
    return sp.lambdify(free, expr, "numpy")(*arrays)
