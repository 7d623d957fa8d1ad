"""Predictions of the Fisher information spectrum, to leading order in the width M."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from theory import symbols
from theory.network import WideNetwork
from theory.normalizations import DEGENERATE, SHARED, Group, spectrum
from theory.recursion import OrderParameters, Parameters, numeric_order_parameters, order_parameters
from theory.symbols import Q1, Q2, C, M, Qmax, T, alpha_total, kappa1, kappa2, last_gamma

QUANTITIES = (
    "m",
    "s",
    "lambda_max",
    "lambda_1",
    "lambda_top",
    "lambda_perp",
    "lambda_max_lower",
    "lambda_max_upper",
)
SAMPLES = ("fixed", "infinite", "proportional")

spread = sp.Symbol("Delta", positive=True)
"""q_1^L - q_2^L: variance over samples of an output of the network before normalization."""


@dataclass(frozen=True)
class Prediction:
    """What the theory says about one quantity.

    relation: "equals", "at most" or "at least", to leading order in M. conditions: SymPy relations that evaluation checks.
    formula: the statement in kappa1, kappa2, alpha and (averages over the network) Delta = q_1^L - q_2^L.
    """

    quantity: str
    network: WideNetwork
    samples: str
    formula: sp.Expr
    relation: str
    conditions: tuple[sp.Basic, ...]
    source: str

    @cached_property
    def expr(self) -> sp.Expr:
        """The statement in the network's own parameters, every order parameter written out."""
        values = self._order_values(order_parameters(self.network, self.samples))
        return self.formula.subs(values | {alpha_total: self.network.alpha}, simultaneous=True)

    def _order_values(self, found: OrderParameters) -> dict[sp.Symbol, Any]:
        depth = self.network.depth
        return {kappa1: found.kappa1, kappa2: found.kappa2, spread: found.q1[depth] - found.q2[depth]}

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Names that `evaluate` needs."""
        needed = self.formula.free_symbols - {kappa1, kappa2, alpha_total, spread}
        needed |= set().union(*(condition.free_symbols for condition in self.conditions))
        orders = self.formula.free_symbols & {kappa1, kappa2, spread}
        if orders or alpha_total in self.formula.free_symbols:
            needed |= set().union(*(e.free_symbols for e in self._inputs(bool(orders)).values()))
        return tuple(sorted(s.name for s in needed))

    def _inputs(self, with_orders: bool) -> dict[str, sp.Expr]:
        net = self.network
        values = {f"ratio_{i}": r for i, r in enumerate(net.ratios)}
        if with_orders:
            values |= {"sigma_w2": net.sigma_w2, "sigma_b2": net.sigma_b2}
            if net.hidden != "none":
                values |= {"gamma": net.gamma, "beta": net.beta}
        return values

    def evaluate(self, **numbers: Any) -> Any:
        """The predicted number in float64, by running the recursion layer by layer.

        numbers: one per name in `symbols`, floats or arrays that broadcast.
        """
        missing, unused = sorted(set(self.symbols) - set(numbers)), sorted(set(numbers) - set(self.symbols))
        if missing:
            raise ValueError(f"{self.quantity} needs a value for {', '.join(missing)}.")
        if unused:
            raise ValueError(
                f"{self.quantity} does not depend on {', '.join(unused)}. Leave it out; it needs {self.symbols}."
            )
        values = {name: np.asarray(number, float) for name, number in numbers.items()}
        for name, value in values.items():
            if not np.all(np.isfinite(value)):
                raise ValueError(f"{name} = {numbers[name]} is not finite.")
            _check_range(name, value)
        for condition in self.conditions:
            if not np.all(_at(condition, values)):
                raise ValueError(
                    f"{self.quantity} holds for {condition} only; the given numbers break this condition."
                )
        found = {
            k: _at(e, values)
            for k, e in self._inputs(True).items()
            if {s.name for s in e.free_symbols} <= set(values)
        }
        order: dict[sp.Symbol, Any] = {}
        ratios = tuple(found.get(f"ratio_{i}", np.nan) for i in range(self.network.depth))
        if self.formula.free_symbols & {kappa1, kappa2, spread}:
            inputs = Parameters(
                found["sigma_w2"],
                found["sigma_b2"],
                ratios,
                found.get("gamma", np.nan),
                found.get("beta", np.nan),
            )
            order = self._order_values(numeric_order_parameters(self.network, inputs, self.samples))
        order[alpha_total] = sum(a * b for a, b in zip(ratios, ratios[1:], strict=False))
        result = _at(self.formula, values | {s.name: v for s, v in order.items()})
        return float(result) if np.ndim(result) == 0 else np.asarray(result)

    def latex(self) -> str:
        """The statement as LaTeX."""
        return sp.latex(self.expr)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"


def _check_range(name: str, value: np.ndarray) -> None:
    known = getattr(symbols, name, None)
    if name.startswith("alpha_"):
        known = symbols.alpha(0)
    if isinstance(known, sp.Symbol) and known.is_positive and not np.all(value > 0):
        raise ValueError(f"{name} = {value} has to be positive.")
    if isinstance(known, sp.Symbol) and known.is_nonnegative and not np.all(value >= 0):
        raise ValueError(f"{name} = {value} has to be at least 0.")


def _at(expr: sp.Basic, values: dict[str, Any]) -> Any:
    names = sorted(s.name for s in expr.free_symbols)
    ordered = sorted(expr.free_symbols, key=lambda s: s.name)
    return sp.lambdify(ordered, expr, "numpy")(*(values[n] for n in names))


def predict(
    net: WideNetwork, quantity: str, samples: str = "fixed", given_outputs: bool = False
) -> Prediction:
    """The prediction of one quantity of `QUANTITIES`.

    samples: "fixed" (T fixed, then M large), "infinite" (T large after M), or "proportional" (T = M/rho).
    given_outputs: with normalized outputs, state it given the measured output variances (symbols Q1, Q2, Qmax, R1)
    instead of averaged over networks.
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"quantity = {quantity!r} is not predicted. Choose one of {', '.join(QUANTITIES)}.")
    if samples not in SAMPLES:
        raise ValueError(f"samples = {samples!r} is not known. Choose one of {', '.join(SAMPLES)}.")
    groups = spectrum(net.last)
    formula = _formula(groups, quantity)
    conditions: list[sp.Basic] = [(3 if net.last == "batch" else 2) <= T]
    if not given_outputs:
        formula, needed = _averaged(formula)
        conditions += needed
    return Prediction(
        quantity, net, samples, formula, "equals", tuple(conditions), "Karakida, Akaho and Amari 2019"
    )


def _formula(groups: tuple[Group, ...], quantity: str) -> sp.Expr:
    parameters = alpha_total * M**2
    shared = len(groups) == 2
    rest = groups[-1]
    if quantity == "m":
        return sp.factor(sum(g.count * g.value * g.first for g in groups) / parameters)
    if quantity == "s":
        return sp.factor(sum(g.count * g.value**2 * g.second for g in groups) / parameters)
    if quantity in ("lambda_max", "lambda_top"):
        return SHARED if shared else rest.value * rest.largest
    if quantity == "lambda_1":
        return SHARED if shared else sp.S.Zero
    if quantity == "lambda_perp":
        return DEGENERATE * rest.first
    raise NotImplementedError(quantity)


def _averaged(formula: sp.Expr) -> tuple[sp.Expr, list[sp.Basic]]:
    """Averages over networks: T sd_k^2 / (q_1^L - q_2^L) is chi-square with T - 1 degrees of freedom."""
    conditions: list[sp.Basic] = []
    if formula.has(Qmax):
        formula, conditions = formula.subs(Qmax, Q1), [sp.Eq(C, 1)]
    if formula.has(Q1):
        formula, conditions = (
            formula.subs(Q1, last_gamma**2 * T / spread * inverse_chi_square(1)),
            [*conditions, T > 3],
        )
    if formula.has(Q2):
        formula = formula.subs(Q2, last_gamma**4 * (T / spread) ** 2 * inverse_chi_square(2))
        conditions.append(T > 5)
    return formula, conditions


def inverse_chi_square(power: int) -> sp.Expr:
    """E X^-power of a chi-square variable with T - 1 degrees of freedom, T > 2 power + 1."""
    value, degrees = sp.Symbol("X", positive=True), sp.Symbol("nu", positive=True)
    shape = degrees + 2 * power  # T - 1, large enough for the integral to converge
    density = value ** (shape / 2 - 1) * sp.exp(-value / 2) / (2 ** (shape / 2) * sp.gamma(shape / 2))
    moment = sp.integrate(value ** (-power) * density, (value, 0, sp.oo))
    return sp.factor(sp.gammasimp(moment).subs(degrees, T - 1 - 2 * power))
