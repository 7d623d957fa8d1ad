"""A prediction: a formula in the order parameters, its written-out expression and its numbers."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import sympy as sp

from theory import symbols
from theory.codegen import python_source
from theory.explain import steps
from theory.network import WideNetwork
from theory.normalizations import Parameters
from theory.recursion import Numbers, OrderParameters, order_parameters, run
from theory.scaling import leading
from theory.symbols import Expr, T, alpha_total, kappa1, kappa2, latex

first_variance = sp.Symbol("q1_L", positive=True)
"""q_1^L: variance over networks of an output before normalization."""

spread = sp.Symbol("Delta", positive=True)
"""q_1^L - q_2^L: what of it varies from sample to sample."""

ORDER_SYMBOLS = {kappa1, kappa2, spread, first_variance}


@dataclass(frozen=True)
class Prediction:
    """What the theory says about one quantity of one network.

    relation: "equals", "at least" or "at most", to leading order in M. conditions: SymPy relations that
    `evaluate` checks. formula: the statement in kappa1, kappa2, alpha and, averaged over networks, Delta =
    q_1^L - q_2^L or q1_L.
    """

    quantity: str
    network: WideNetwork
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
            values |= self._order_values(order_parameters(self.network, self.samples))
        return self.formula.subs(values, simultaneous=True)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Names of the numbers that `evaluate` needs."""
        needed = self.formula.free_symbols - ORDER_SYMBOLS - {alpha_total}
        needed |= set().union(*(condition.free_symbols for condition in self.conditions))
        needed |= set().union(*(e.free_symbols for e in self._inputs.values()))
        if self._needs_orders:
            needed |= self.network.activation.parameters
            needed |= {T} if self.network.depends_on_samples(self.samples) else set()
        return tuple(sorted(s.name for s in needed))

    @property
    def _needs_orders(self) -> bool:
        return bool(self.formula.free_symbols & ORDER_SYMBOLS)

    @cached_property
    def _inputs(self) -> dict[str, Expr]:
        """The network's parameters that enter."""
        net, values = self.network, {}
        if self._needs_orders or alpha_total in self.formula.free_symbols:
            values |= {f"ratio_{i}": r for i, r in enumerate(net.ratios)}
        if self._needs_orders:
            values |= {"sigma_w2": net.sigma_w2, "sigma_b2": net.sigma_b2}
            values |= {"gamma": net.gamma, "beta": net.beta} if net.hidden != "none" else {}
        return values

    def _order_values(self, found: OrderParameters) -> dict[Expr, Any]:
        last = self.network.depth
        gap = found.q1[last] - found.q2[last]
        return {kappa1: found.kappa1, kappa2: found.kappa2, spread: gap, first_variance: found.q1[last]}

    def evaluate(self, **numbers: Any) -> Any:
        """The predicted number in float64, from the recursion run layer by layer.

        numbers: one per name in `symbols`; floats, or arrays that broadcast.
        """
        values = self._checked(numbers)
        names = {s.name: s for s in self.network.activation.parameters}
        net = self.network.with_activation_values({s: values.pop(n) for n, s in names.items() if n in values})
        found = {key: _at(expr, values) for key, expr in self._inputs.items()}
        ratios = tuple(found[f"ratio_{i}"] for i in range(net.depth)) if found else ()
        order: dict[Expr, Any] = {alpha_total: sum(a * b for a, b in pairwise(ratios))}
        if self._needs_orders:
            at = Parameters(
                found["sigma_w2"],
                found["sigma_b2"],
                ratios,
                found.get("gamma", 1.0),
                found.get("beta", 0.0),
                values.get("T", np.inf),
            )
            with np.errstate(over="ignore", invalid="ignore"):
                order |= self._order_values(run(net, at, Numbers(), self.samples))
        with np.errstate(over="ignore", invalid="ignore"):
            result = _at(self.formula, values | {s.name: v for s, v in order.items()})  # type: ignore[attr-defined]
        if not np.all(np.isfinite(result)):
            raise OverflowError(f"{self.quantity} exceeds float64 at these numbers: overlaps grow too fast with depth.")
        return float(result) if np.ndim(result) == 0 else np.asarray(result)

    def _checked(self, numbers: dict[str, Any]) -> dict[str, np.ndarray]:
        missing, unused = sorted(set(self.symbols) - set(numbers)), sorted(set(numbers) - set(self.symbols))
        if missing:
            raise ValueError(f"{self.quantity} needs a value for {', '.join(missing)}.")
        if unused:
            needed = ", ".join(self.symbols) or "nothing"
            raise ValueError(f"{self.quantity} does not depend on {', '.join(unused)}. Leave it out; needed: {needed}.")
        values = {name: np.asarray(number, float) for name, number in numbers.items()}
        for name, value in values.items():
            _check_range(name, value)
        for condition in self.conditions:
            if not np.all(_at(condition, values)):
                given = ", ".join(f"{s} = {values[s.name]}" for s in condition.free_symbols)
                remedy = (
                    " Use given_outputs=True with the measured outputs." if condition == sp.Eq(symbols.C, 1) else ""
                )
                raise ValueError(
                    f"{self.quantity} is predicted for {sp.pycode(condition)} only; given {given}.{remedy}"
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

    def latex(self) -> str:
        """The statement as LaTeX."""
        sign = {"equals": r"\simeq", "at least": r"\ge", "at most": r"\le"}[self.relation]
        return f"{_LATEX_NAMES[self.quantity]} {sign} {latex(self.expr)}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def steps(self) -> tuple[str, ...]:
        """The derivation, one step per line."""
        return steps(self)

    def python(self) -> str:
        """Source of a Python function of the same name as the quantity that runs without this package."""
        return python_source(self.quantity, self.expr, f"{self.quantity} ({self.relation}), {self.source}.")


_LATEX_NAMES = {
    "m": "m",
    "s": "s",
    "lambda_max": r"\lambda_{\max}",
    "lambda_1": r"\lambda_1",
    "lambda_top": r"\lambda_{\mathrm{top}}",
    "lambda_perp": r"\lambda_\perp",
    "alignment": r"\cos^2",
    "stable_rate": r"\eta_{\max}",
    "lambda_max_lower": r"\lambda_{\max}",
    "lambda_max_upper": r"\lambda_{\max}",
}


def _check_range(name: str, value: np.ndarray) -> None:
    if not np.all(np.isfinite(value)):
        raise ValueError(f"{name} = {value} is not finite. Give a finite number.")
    known = symbols.alpha(0) if name.startswith("alpha_") else getattr(symbols, name, None)
    if isinstance(known, sp.Symbol) and known.is_positive and not np.all(value > 0):
        raise ValueError(f"{name} = {value} has to be positive.")
    if isinstance(known, sp.Symbol) and known.is_nonnegative and not np.all(value >= 0):
        raise ValueError(f"{name} = {value} is negative; it has to be at least 0.")


def _at(expr: sp.Basic, values: dict[str, Any]) -> Any:
    """Value of an expression at numbers by symbol name."""
    free = sorted(expr.free_symbols, key=lambda s: s.name)  # type: ignore[attr-defined]
    arrays = np.broadcast_arrays(*(values[s.name] for s in free)) if free else []  # type: ignore[attr-defined]
    return sp.lambdify(free, expr, "numpy")(*arrays)
