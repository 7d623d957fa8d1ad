"""Order parameters of a wide network, layer by layer, as expressions or as float64 numbers.

With t, s two different samples (Karakida, Akaho and Amari 2019, section on order parameters):

    hq_1^0 = 1, hq_2^0 = 0,   q_a^l = sigma_w2 hq_a^(l-1) + sigma_b2,   hq_a^l = E[phi(u) phi(v)]
    tq_a^L = 1,               tq_a^l = sigma_w2 tq_a^(l+1) E[phi'(u) phi'(v)]
    kappa_a = sum_l (alpha_(l-1)/alpha) tq_a^l hq_a^(l-1)

a = 1 for one sample with itself (v = u), a = 2 for two samples. The recursion is written once; it runs on expressions
and on numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sympy as sp

from theory.activations import Activation
from theory.functions import ActivationError
from theory.gaussian import Kernel, kernel
from theory.network import WideNetwork
from theory.normalizations import HIDDEN_RULES

Value = Any
Expectation = Callable[[Kernel, Value, Value, Value], Value]


@dataclass(frozen=True)
class Parameters:
    """The values that enter the recursion: expressions, or float64 numbers and arrays."""

    sigma_w2: Value
    sigma_b2: Value
    ratios: tuple[Value, ...]
    gamma: Value
    beta: Value


@dataclass(frozen=True)
class OrderParameters:
    """hq1, hq2: forward overlaps E phi^2 and E phi phi' of layers 0..L-1. q1, q2: pre-activation variance and covariance
    of layers 1..L. tq1, tq2: backward overlaps of layers 1..L. Each maps the layer to its value. kappa1, kappa2: gradient
    overlaps per parameter and width, of one sample with itself and of two samples.
    """

    hq1: dict[int, Value]
    hq2: dict[int, Value]
    q1: dict[int, Value]
    q2: dict[int, Value]
    tq1: dict[int, Value]
    tq2: dict[int, Value]
    kappa1: Value
    kappa2: Value


def parameters(net: WideNetwork) -> Parameters:
    """The network's own expressions as parameters."""
    return Parameters(net.sigma_w2, net.sigma_b2, net.ratios, net.gamma, net.beta)


def order_parameters(net: WideNetwork, samples: str = "fixed") -> OrderParameters:
    """Order parameters as SymPy expressions in the network's parameters."""
    return run(
        net, parameters(net), lambda k, p, c, m: k.expr(sp.sympify(p), sp.sympify(c), sp.sympify(m)), samples
    )


def numeric_order_parameters(net: WideNetwork, values: Parameters, samples: str = "fixed") -> OrderParameters:
    """Order parameters as float64 numbers or arrays; the values broadcast."""
    return run(net, values, lambda k, p, c, m: k(p, c, m), samples)


def run(net: WideNetwork, values: Parameters, expect: Expectation, samples: str) -> OrderParameters:  # noqa: ARG001
    """The recursion over the value type that `expect` returns."""
    rule = HIDDEN_RULES[net.hidden]
    forward, backward = _kernels(net.activation)
    depth, w2, b2 = net.depth, values.sigma_w2, values.sigma_b2
    zero = 0 * (w2 + b2)
    hq1, hq2, q1, q2 = {0: 1 + zero}, {0: zero}, {}, {}
    for layer in range(1, depth + 1):
        q1[layer] = w2 * hq1[layer - 1] + b2
        q2[layer] = w2 * hq2[layer - 1] + b2
        if layer < depth:
            p, c, mean = rule.pair(q1[layer], q2[layer], values.gamma, values.beta)
            hq1[layer], hq2[layer] = expect(forward, p, p, mean), expect(forward, p, c, mean)
    tq1, tq2 = {depth: 1 + zero}, {depth: 1 + zero}
    for layer in range(depth - 1, 0, -1):
        p, c, mean = rule.pair(q1[layer], q2[layer], values.gamma, values.beta)
        gain1, gain2 = rule.gain(q1[layer], q2[layer], values.gamma)
        tq1[layer] = w2 * tq1[layer + 1] * gain1 * expect(backward, p, p, mean)
        tq2[layer] = w2 * tq2[layer + 1] * gain2 * expect(backward, p, c, mean)
    alpha = sum(a * b for a, b in zip(values.ratios, values.ratios[1:], strict=False))
    kappa1 = values.ratios[-1] * hq1[depth - 1]
    kappa2 = values.ratios[-1] * hq2[depth - 1]
    for layer in range(1, depth):
        one, two = rule.overlaps(hq1[layer - 1], hq2[layer - 1])
        kappa1 = kappa1 + values.ratios[layer - 1] * tq1[layer] * one
        kappa2 = kappa2 + values.ratios[layer - 1] * tq2[layer] * two
    return OrderParameters(hq1, hq2, q1, q2, tq1, tq2, kappa1 / alpha, kappa2 / alpha)


def _kernels(act: Activation) -> tuple[Kernel, Kernel]:
    slope = act.phi.derivative()
    if slope.deltas:
        places = ", ".join(str(t) for t, _ in slope.deltas)
        raise ActivationError(
            f"The activation {act.name} jumps at x = {places}: E phi'^2 is infinite there, so the network has no Fisher "
            "information of finite order. Use a continuous activation."
        )
    return kernel(act.phi, act.phi), kernel(slope, slope)
