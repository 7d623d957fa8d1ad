"""The largest eigenvalue for T = M/rho as a prediction, with the mistakes that a test has to refuse."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy as sp

from fimcheck.theory.edge.law import TRACY_WIDOM_MEAN, Edge, edge
from fimcheck.theory.edge.units import Change, EdgeError, Units, as_it_is, is_normalized, is_plain
from fimcheck.theory.network.chain import WideNetwork
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.prediction import Prediction, value_at
from fimcheck.theory.symbols import Q1, C, Expr, M, rho

lambda_edge, width_of_edge = sp.Symbol("lambda_+", positive=True), sp.Symbol("s_+", positive=True)
excess = sp.Symbol("Delta_+", nonnegative=True)
SOURCE = "derived here (Gaussian equivalent, Dyson equation, Tracy-Widom mean)"
FORMULA: Expr = lambda_edge + excess + sp.Float(TRACY_WIDOM_MEAN) * width_of_edge * (rho / M) ** sp.Rational(2, 3)
"""lambda_+: the edge, or the outlier of the lengths of the inputs; Delta_+: what units that have split off add; s_+:
the scale of Tracy and Widom, times the chance that none has."""


def _layers(**change: Callable[[Any], Any]) -> Change:
    """Every hidden layer with some fields changed."""

    def changed(found: Units) -> Units:
        layers = (
            replace(layer, **{name: f(getattr(layer, name)) for name, f in change.items()}) for layer in found.layers
        )
        return replace(found, layers=tuple(layers))

    return changed


def _zero(value: Any) -> Any:
    return 0 * value


SLIPS: dict[str, tuple[str, Change]] = {
    "no shared eta": ("the backward signal that all samples share is dropped", _layers(e=_zero)),
    "forward alone": ("the backward part of the edge is dropped", _layers(backward=_zero)),
    "backward alone": (
        "the forward part of the edge is dropped",
        lambda found: replace(_layers(forward=_zero)(found), first=0.0),
    ),
    "no f2": ("the curvature of phi is dropped from the edge", _layers(f2=_zero, k_x=_zero)),
    "1/rho": (
        "rho is inverted in the edge",
        lambda found: replace(found, rho=1 / found.rho, shift=found.shift / found.rho**2),
    ),
}
"""Mistakes in the equation: words, and what they do to the averages."""


@dataclass(frozen=True)
class EdgePrediction(Prediction):
    """lambda_max of a chain under mean subtraction or batch normalization of the outputs, T = M/rho.

    `evaluate` solves the Dyson equation at every M, where the shared fields are cut at the most extreme of M units.
    slip: a mistake of `SLIPS`, or "no Tracy-Widom", "kappa gap", "no lengths".
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
        place, scale, excess = (replace(found, outlier=None) if self.slip == "no lengths" else found).largest
        return place, 0.0 if self.slip == "no Tracy-Widom" else scale, excess

    def edge(self, values: Mapping[str, float]) -> Edge:
        """The edge at numbers by name, those of `symbols`."""
        wide = self.network
        assert isinstance(wide, WideNetwork)

        def number(expr: Expr) -> float:
            return float(value_at(expr, {name: np.asarray(v) for name, v in values.items()}))

        net = WideNetwork(
            wide.depth, wide.activation, wide.hidden, "mean", number(wide.sigma_w2), number(wide.sigma_b2),
            [number(ratio) for ratio in wide.ratios],
            *((number(wide.gamma), number(wide.beta)) if is_normalized(wide) else ()),
        )  # fmt: skip
        change = SLIPS[self.slip][1] if self.slip in SLIPS else as_it_is
        return edge(net, values["rho"], int(values["C"]), values["M"], change)

    def accuracy(self, **numbers: Any) -> str:
        """The edge's own error."""
        found = self.edge({name: float(numbers[name]) for name in self._own})
        return f"float64; the edge to {found.error:.1g} by a second discretization"

    def remedy(self, condition: Any) -> str:  # noqa: ARG002
        """Several outputs enlarge it at finite width, by an amount that is not derived."""
        return "Ask for lambda_max_lower or lambda_max_upper."

    def scaling(self, name: str) -> Expr:
        """Exponent of a symbol in the limit, where the Tracy-Widom shift is gone (and ln M counts as a constant)."""
        limit = self.formula.subs({width_of_edge: 0, excess: 0})
        return super(EdgePrediction, replace(self, formula=limit)).scaling(name)

    def steps(self) -> tuple[str, ...]:
        """The equations, one a line."""
        return STEPS


def predict(net: Composed, given_outputs: bool) -> Prediction:
    """The prediction, where it is derived."""
    if not is_plain(net):
        raise EdgeError(
            "lambda_max for T = M/rho without an all-ones outlier is derived for a chain whose hidden layers are not "
            "normalized or over their units, under mean subtraction or batch normalization of the outputs; here the "
            "theory bounds it. Ask for lambda_max_lower or lambda_max_upper."
        )
    gain = sp.S.One
    if net.output.scaled:
        if not given_outputs:
            raise EdgeError(
                "lambda_max for T = M/rho under batch normalization of the outputs is stated given the outputs. Use "
                "given_outputs=True."
            )
        gain = Q1
    return EdgePrediction("lambda_max", net, "proportional", FORMULA * gain, "equals", (sp.Eq(C, 1),), SOURCE)


STEPS = (
    "P G P = c P + (1/T) sum_l [tq_2^l Hc^{l-1} Hc^{l-1}T + (M_{l-1}/M_l) hq_2^{l-1} Dc^l Dc^lT] + O(M^-1/2)",
    "  Hc, Dc: forward and backward signals less their means over the samples",
    "  c = rho sum_l alpha_{l-1} (tq_1^l - tq_2^l) (hq_1^{l-1} - hq_2^{l-1})",
    "Unit of layer l given what its samples share, u = sqrt(q_2) xi + w, eta ~ N(0, sigma_w2 tq_2^{l+1}):",
    "  f1 = E phi', f2 = E phi'', npp = Var phi - v f1^2, kx = Cov(phi, phi') - v f1 f2, kd = Var phi' - v f2^2",
    "A normalization over the units multiplies u, its factor squared sigma_w2 and hq_2 of its layer below",
    "Dyson equation at g, lp = tq_2^{l+1} + C_l, ld = (alpha_{l-1}/alpha_l) hq_2^{l-1} + B_l, e = |eta|:",
    "  Qpp = g npp + A f1^2, Qpd = e (g kx + A f1 f2), Qdd = g (e^2 kd + gap Var phi') + A e^2 f2^2 + E f1^2",
    "  D = (1 - Qpp lp)(1 - Qdd ld) - Qpd^2 lp ld",
    "  A_1 = sigma_w2 g/(1 - g (tq_2^1 + C_0)), A_{l+1} = sigma_w2 E[(Qpp (1 - Qdd ld) + ld Qpd^2)/D]",
    "  E_{l-1} = sigma_w2 E[(Qdd (1 - Qpp lp) + lp Qpd^2)/D]; B and C likewise from what the multipliers carry",
    "  z(g) = c + 1/g + Sigma(g); the edge lambda_+ is the minimum of z over g > 0",
    "Largest eigenvalue of T samples: lambda_+ - 1.2065 s_+ T^(-2/3), s_+ = (z''(g)/2)^(1/3) (Tracy and Widom 1996)",
    "|eta| is cut where one unit in M lies beyond: in the strict limit one unit with a large output weight splits off,",
    "  and lambda_max grows like kappa_log ln M for three layers or more",
    "A unit is an eigenvalue by itself, at z(g), where D = 0; M units have N(z) = M sum_l alpha_l P(D < 0) beyond z,",
    "  and Delta_+ is the integral of 1 - exp(-N) over z > lambda_+",
    "Two layers: the lengths |x_t|^2/M_0 = 1 + r_t add r_t v f2/2 to the activations, of rank one; it is an eigenvalue",
    "  at z(g), in place of lambda_+, where 1 = g (alpha_1/alpha_0) (v^2/2) E[f2^2 lp/(1 - Qpp lp)] before the edge",
    "Not covered: the same of |h|^2 and h(t) . mean h for three layers or more, and the excess of several outputs",
    f"Source: {SOURCE}",
)
