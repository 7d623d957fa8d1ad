"""The largest eigenvalue for T = M/rho as a prediction, with the mistakes that a test has to refuse."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy as sp

from fimcheck.theory.edge import tracy_widom
from fimcheck.theory.edge.largest import Edge, Leaving
from fimcheck.theory.edge.law import edge
from fimcheck.theory.edge.residual import is_residual
from fimcheck.theory.edge.slips import SLIPS
from fimcheck.theory.edge.steps import RESIDUAL_STEPS, SOURCE, STEPS
from fimcheck.theory.edge.units import EdgeError, as_it_is, is_normalized, is_plain
from fimcheck.theory.network.chain import WideNetwork
from fimcheck.theory.network.composition import Composed, Network
from fimcheck.theory.network.prediction import Prediction, value_at
from fimcheck.theory.symbols import Q1, C, Expr, M, rho

lambda_edge, width_of_edge = sp.Symbol("lambda_+", positive=True), sp.Symbol("s_+", positive=True)
excess = sp.Symbol("Delta_+", nonnegative=True)
FORMULA: Expr = lambda_edge + excess + sp.Float(tracy_widom.MEAN) * width_of_edge * (rho / M) ** sp.Rational(2, 3)
"""lambda_+: the edge, that of several outputs raised by their overlaps, or the eigenvalue that terms of finite rank
take out of the bulk; Delta_+: what such terms and units that have split off add; s_+: the scale of Tracy and Widom,
times the chance that nothing has left."""

GAP: Expr = sp.Float(tracy_widom.GAP) * width_of_edge * (rho / (M - rho)) ** sp.Rational(2, 3)
"""Mean distance of the two largest of the T - 1 eigenvalues that centring leaves, where nothing leaves the bulk."""


@dataclass(frozen=True)
class EdgePrediction(Prediction):
    """lambda_max of a chain or residual network, outputs centered or batch normalized, T = M/rho.

    `evaluate` solves the Dyson equation at every M, where the shared fields are cut at the most extreme of M units.
    slip: a mistake of `SLIPS`, or "no Tracy-Widom", "kappa gap", "no finite rank".
    """

    slip: str = ""

    @property
    def symbols(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the numbers that `evaluate` needs."""
        return tuple(sorted(self._own | self._measured))

    @property
    def _own(self) -> set[str]:
        """What the edge depends on."""
        return {"M", "rho", "C", *(s.name for s in self.network.open_symbols)}

    @property
    def _measured(self) -> set[str]:
        """What of the formula is given by a measurement, Q1 for instance."""
        solved = {lambda_edge, width_of_edge, excess}
        return {s.name for s in self.formula.free_symbols - solved} - self._own  # type: ignore[attr-defined]

    def evaluate(self, **numbers: Any) -> Any:
        """The number of the formula, the edge solved at every width; numbers: one per name in `symbols`."""
        values = self._checked(numbers)
        known = sorted(self._own)
        arrays = np.broadcast_arrays(*(values[name] for name in known))
        points = [
            dict(zip(known, map(float, point), strict=True)) for point in zip(*map(np.ravel, arrays), strict=True)
        ]
        solved = np.array([self._solved(point) for point in points]).T.reshape(3, *arrays[0].shape)
        names = (lambda_edge.name, width_of_edge.name, excess.name)
        found = value_at(self.formula, values | dict(zip(names, solved, strict=True)))
        return float(found) if np.ndim(found) == 0 else found

    def _solved(self, values: dict[str, float]) -> tuple[float, float, float]:
        """lambda_+, s_+ and Delta_+."""
        found = self.edge(values)
        if self.slip == "kappa gap":
            return found.moment, 0.0, 0.0
        if self.slip == "no finite rank":
            found = replace(found, leaving=Leaving())
        place, scale, excess = found.largest(values["M"] / values["rho"])
        return place, 0.0 if self.slip == "no Tracy-Widom" else scale, excess

    def edge(self, values: Mapping[str, float]) -> Edge:
        """The edge at numbers by name, those of `symbols`."""

        def number(expr: Expr) -> float:
            return float(value_at(expr, {name: np.asarray(v) for name, v in values.items()}))

        if values["C"] != int(values["C"]):
            raise ValueError(f"C = {values['C']:g} has to be a whole number of outputs")
        wide = self.network
        if isinstance(wide, WideNetwork):
            net: Composed = WideNetwork(
                wide.depth, wide.activation, wide.hidden, "mean", number(wide.sigma_w2), number(wide.sigma_b2),
                [number(ratio) for ratio in wide.ratios],
                *((number(wide.gamma), number(wide.beta)) if is_normalized(wide) else ()),
            )  # fmt: skip
        else:

            def bound(expr: Expr) -> Expr:
                return sp.Float(number(expr), 17) if expr.free_symbols else expr

            net = Network(wide.steps.bound(bound), "mean", input_width=bound(wide.input_width))
        change = SLIPS[self.slip][1] if self.slip in SLIPS else as_it_is
        return edge(net, values["rho"], classes=int(values["C"]), width=values["M"], change=change)

    def accuracy(self, **numbers: Any) -> str:
        """The edge's own error."""
        found = self.edge({name: float(numbers[name]) for name in self._own})
        how = "the networks drawn" if found.overlaps else "a second discretization"
        return f"float64; the edge to {found.error:.1g} by {how}"

    def remedy(self, condition: Any) -> str:  # noqa: ARG002
        """Overlaps of several outputs enlarge it; by how much is derived for a chain under mean subtraction alone."""
        return "Ask for lambda_max_lower or lambda_max_upper."

    def scaling(self, name: str) -> Expr:
        """Exponent of a symbol in the limit, where the Tracy-Widom shift is gone (and ln M counts as a constant)."""
        limit = self.formula.subs({width_of_edge: 0, excess: 0})
        return super(EdgePrediction, replace(self, formula=limit)).scaling(name)

    def steps(self) -> tuple[str, ...]:
        """The equations, one a line."""
        return STEPS if isinstance(self.network, WideNetwork) else RESIDUAL_STEPS


def predict(net: Composed, given_outputs: bool) -> Prediction:
    """The prediction, where it is derived."""
    if not is_plain(net) and not is_residual(net):
        raise EdgeError(
            "lambda_max for T = M/rho without an all-ones outlier is derived for a chain whose hidden layers are not "
            "normalized or over their units, and for a residual network dense B*(skip(phi dense)) phi dense, whose "
            "activations may come after such a normalization, under mean subtraction or batch normalization of the "
            "outputs; here the theory bounds it. Ask for lambda_max_lower or lambda_max_upper."
        )
    gain = sp.S.One
    if net.output.scaled:
        if not given_outputs:
            raise EdgeError(
                "lambda_max for T = M/rho under batch normalization of the outputs is stated given the outputs. Use "
                "given_outputs=True."
            )
        gain = Q1
    # Each output divided by a variance of its own makes other overlaps.
    conditions = () if isinstance(net, WideNetwork) and not net.output.scaled else (sp.Eq(C, 1),)
    return EdgePrediction("lambda_max", net, "proportional", FORMULA * gain, "equals", conditions, SOURCE)
