"""Order parameters of a wide network, layer by layer, as expressions or as float64 numbers.

With t, s two different samples (Karakida, Akaho and Amari 2019, section on order parameters):

    hq_1^0 = 1, hq_2^0 = 0,   q_a^l = sigma_w2 hq_a^(l-1) + sigma_b2,   hq_a^l = E[phi(u) phi(v)]
    tq_a^L = 1,               tq_a^l = sigma_w2 tq_a^(l+1) E[phi'(u) phi'(v)]
    kappa_a = sum_l (alpha_(l-1)/alpha) tq_a^l hq_a^(l-1)

a = 1 for one sample with itself (v = u), a = 2 for two samples. The recursion is written once; it runs on
expressions and on numbers, and the rule of the hidden normalization says how phi and the backward signal
see a layer.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import sympy as sp

from theory import sphere, symbols
from theory.activations import Activation
from theory.functions import ActivationError, Function
from theory.gaussian import kernel
from theory.network import WideNetwork
from theory.normalizations import Expectations, Parameters, hidden_rule
from theory.symbols import Expr

Value = Any

ROUNDING = 1e-9
"""How far, relative to the variance, a covariance may exceed it before it is an error and not rounding."""


@dataclass(frozen=True)
class OrderParameters:
    """Forward overlaps hq1, hq2 of layers 0..L-1, pre-activation variance q1 and covariance q2 and backward
    overlaps tq1, tq2 of layers 1..L, each a mapping from the layer; kappa1, kappa2: gradient overlaps of
    one sample with itself and of two samples, per M.

    Under hidden batch normalization tq1 and tq2 are the overlaps of the signals of one output with itself
    and of two outputs, summed over the samples they pass through.
    """

    hq1: dict[int, Value]
    hq2: dict[int, Value]
    q1: dict[int, Value]
    q2: dict[int, Value]
    tq1: dict[int, Value]
    tq2: dict[int, Value]
    kappa1: Value
    kappa2: Value

    def _repr_latex_(self) -> str:
        one, two = (symbols.latex(sp.sympify(k)) for k in (self.kappa1, self.kappa2))
        return rf"$\kappa_1 = {one},\quad \kappa_2 = {two}$"


class ClosedForms:
    """Expectations as expressions."""

    def same(self, f: Function, p: Value, mean: Value) -> Expr:
        """E f(u)^2."""
        return kernel(f, f).expr(p, p, sp.sympify(mean))

    def pair(self, f: Function, p: Value, c: Value, mean: Value) -> Expr:
        """E f(u) f(v)."""
        return kernel(f, f).expr(p, c, sp.sympify(mean))

    def sphere(self, f: Function, power: int, count: int, samples: Value, gamma: Value, beta: Value) -> Expr:
        """E h(z_1) h(z_2) or E h(z_1)^2."""
        return sphere.expr(f, power, count, samples, gamma, beta)


class Numbers:
    """Expectations as float64 numbers; arguments broadcast."""

    def same(self, f: Function, p: Value, mean: Value) -> np.ndarray:
        """E f(u)^2."""
        _square_fits(p)
        return kernel(f, f)(p, p, mean)

    def pair(self, f: Function, p: Value, c: Value, mean: Value) -> np.ndarray:
        """E f(u) f(v)."""
        _square_fits(p)
        # Two samples that depth has aligned differ by less than the rounding of the expectations before.
        aligned = np.abs(c) <= p * (1 + ROUNDING)
        return kernel(f, f)(p, np.where(aligned, np.clip(c, -p, p), c), mean)

    def sphere(self, f: Function, power: int, count: int, samples: Value, gamma: Value, beta: Value) -> np.ndarray:
        """E h(z_1) h(z_2) or E h(z_1)^2."""
        samples, gamma, beta = np.broadcast_arrays(samples, gamma, beta)
        out = np.empty(samples.shape)
        for i in np.ndindex(samples.shape):
            out[i] = sphere.value(f, power, count, float(samples[i]), float(gamma[i]), float(beta[i]))
        return out


def _square_fits(p: Value) -> None:
    """Expectations square the variance; 1 / inf would be a wrong 0."""
    if np.any(np.abs(p) > np.sqrt(np.finfo(float).max)):
        raise OverflowError(
            f"A variance of {np.max(np.abs(p)):.3g} before phi: its square exceeds float64. Take a smaller sigma_w2, "
            "sigma_b2 or gamma, or fewer layers."
        )


def order_parameters(net: WideNetwork, samples: str = "fixed") -> OrderParameters:
    """Order parameters as SymPy expressions in the network's parameters.

    samples: "fixed" makes batch normalization in the hidden layers exact in the number of samples T;
    "infinite" and "proportional" take T -> infinity there.
    """
    count = symbols.T if samples == "fixed" else sp.oo
    values = Parameters(net.sigma_w2, net.sigma_b2, net.ratios, net.gamma, net.beta, count)
    return run(net, values, ClosedForms(), samples)


def numeric_order_parameters(net: WideNetwork, samples: str = "fixed", T: int | None = None) -> OrderParameters:
    """Order parameters in float64 of a network whose parameters are all numbers.

    T, the number of samples, is needed where hidden batch normalization is exact in it.
    """
    if net.depends_on_samples(samples) and T is None:
        raise ValueError("Normalization over finitely many samples depends on T. Give T, or samples='infinite'.")
    given = {"sigma_w2": net.sigma_w2, "sigma_b2": net.sigma_b2, "gamma": net.gamma, "beta": net.beta}
    given |= {f"ratios[{i}]": r for i, r in enumerate(net.ratios)}
    if net.hidden == "none":
        given |= {"gamma": sp.S.One, "beta": sp.S.Zero}
    for name, value in given.items():
        if not value.is_number:
            raise ValueError(f"{name} = {value} is not a number; numeric order parameters need numbers throughout.")
    w2, b2, gamma, beta, *ratios = (float(v) for v in given.values())
    return run(
        net,
        Parameters(w2, b2, tuple(ratios), gamma, beta, np.inf if T is None or samples != "fixed" else float(T)),
        Numbers(),
        samples,
    )


def run(net: WideNetwork, at: Parameters, expect: Expectations, samples: str) -> OrderParameters:
    """The recursion over whatever values `at` and `expect` hold."""
    rule, depth = hidden_rule(net.hidden, samples), net.depth
    phi, slope = net.activation.phi, slope_of(net.activation)
    zero = 0 * (at.sigma_w2 + at.sigma_b2)
    hq = {0: (1 + zero, zero)}
    q, seen = {}, {}
    for layer in range(1, depth + 1):
        q[layer] = tuple(at.sigma_w2 * h + at.sigma_b2 for h in hq[layer - 1])
        if layer < depth:
            seen[layer] = rule.seen(q[layer], seen.get(layer - 1), at)
            hq[layer] = rule.forward(expect, phi, seen[layer], at)
    tq, above = {depth: (1 + zero, 1 + zero)}, None
    for layer in range(depth - 1, 0, -1):
        tq[layer], above = rule.backward(expect, slope, q[layer], seen[layer], tq[layer + 1], above, at)
    met = {layer: rule.overlaps(hq[layer]) for layer in range(depth - 1)} | {depth - 1: hq[depth - 1]}
    alpha = sum(a * b for a, b in pairwise(at.ratios))
    kappas = (sum(at.ratios[n] * tq[n + 1][a] * met[n][a] for n in range(depth)) / alpha for a in (0, 1))
    columns = ({layer: two[a] for layer, two in values.items()} for values in (hq, q, tq) for a in (0, 1))
    return OrderParameters(*columns, *kappas)


def slope_of(act: Activation) -> Function:
    """phi', refused where phi jumps."""
    slope = act.phi.derivative()
    if slope.deltas:
        places = ", ".join(str(t) for t, _ in slope.deltas)
        raise ActivationError(
            f"The activation {act.name} jumps at x = {places}: E phi'^2 is infinite there, so the "
            "network has no Fisher information of finite order. Use a continuous activation."
        )
    return slope
