"""The second moment of the spectrum when T grows with M: what overlaps of different samples fluctuate
(derived here).

At finite width the forward overlap hq_st and the backward overlap tq_st of two samples differ from their
limits by a_st/sqrt(M) and b_st/sqrt(M). Mean subtraction keeps the part that is centered over both samples.
There are T^2 = (M/rho)^2 pairs, so the squares add to tr F^2 at the order of its limit. Per unit, u_s =
sqrt(q_2) xi + sqrt(q_1 - q_2) z_s with xi shared by the samples, and the signal from above g_s = sigma_w
(sqrt(tq_2) eta + sqrt(tq_1 - tq_2) zeta_s):

    a^0 ~ N(0, 1/alpha_0),   a^l = chi_l a^(l-1) + n_l,   chi_l = sigma_w2 E[phi' phi']
    b^L = 0,   b^l = chi_l b^(l+1) + sigma_w2^2 tq_2^(l+1) E[phi'' phi''] a^(l-1) + nt_l
    Var n_l = E[Var(phi)^2]/alpha_l,  Var nt_l = E[Var(phi' g)^2]/alpha_l,
    Cov(n_l, nt_l) = E[Cov(phi, phi' g)^2]/alpha_l

with variances over z, zeta given xi, eta, and sources of different layers independent.
"""

from dataclasses import dataclass

import numpy as np

from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.gaussian.kernel import kernel
from fimcheck.theory.gaussian.quadrature import spread_moments
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.elementwise import Phi, slope_of
from fimcheck.theory.network.orders import numeric_order_parameters


@dataclass(frozen=True)
class _Sources:
    """Covariance of (n_l, nt_l), times alpha_l."""

    forward: float
    backward: float
    cross: float


def fluctuation_variance(net: Composed) -> float:
    """V = Var sum_l alpha_(l-1) (tq_2^l a^(l-1) + hq_2^(l-1) b^l), for one output.

    Then sum_i lambda_i^2/M -> rho alpha^2 (kappa_1 - kappa_2)^2 + V for mean subtraction in the last layer,
    C = 1, T = M/rho, and V is the c_2 of the upper bound on lambda_max. Numbers throughout and no hidden
    normalization.

    >>> net = theory.WideNetwork(3, "relu", last="mean", sigma_w2=2, sigma_b2=0.1, ratios=1)
    >>> round(theory.fluctuation_variance(net), 4)
    2.4747
    """
    *layers, top = net.steps.steps
    dense, acts = layers[::2], layers[1::2]
    if not all(type(d) is Dense for d in (*dense, top)) or {type(a) for a in acts} != {Phi} or len(set(acts)) > 1:
        raise ValueError(
            "the fluctuations are derived for a chain of dense weights and one activation, without normalization of "
            'the hidden layers. Leave hidden = "none".'
        )
    phi = acts[0]
    assert isinstance(phi, Phi)
    orders = numeric_order_parameters(net)
    depth, w2 = len(dense) + 1, float(top.sigma_w2)  # type: ignore[attr-defined]
    alpha = [float(net.input_width), *(float(d.width) for d in dense)]  # type: ignore[attr-defined]
    slope = slope_of(phi.activation)
    bend = slope.derivative()
    # Every a^l and b^l is a sum over independent sources: a^0, and (n_l, nt_l) of the layers 1..L-1.
    size = 2 * depth - 1
    forward = np.zeros((depth, size))
    backward = np.zeros((depth + 1, size))
    covariance = np.zeros((size, size))
    forward[0, 0], covariance[0, 0] = 1.0, 1 / alpha[0]
    chi, curvature = np.zeros(depth), np.zeros(depth)
    for layer in range(1, depth):
        p, c = float(orders.q1[layer]), float(orders.q2[layer])
        chi[layer] = w2 * float(kernel(slope, slope)(p, c))
        curvature[layer] = w2**2 * float(orders.tq2[layer + 1]) * float(kernel(bend, bend)(p, c))
        n, nt = 2 * layer - 1, 2 * layer
        found = _sources(phi.activation.phi, slope, p, c, w2 * orders.tq1[layer + 1], w2 * orders.tq2[layer + 1])
        covariance[n, n], covariance[nt, nt] = found.forward / alpha[layer], found.backward / alpha[layer]
        covariance[n, nt] = covariance[nt, n] = found.cross / alpha[layer]
        forward[layer] = chi[layer] * forward[layer - 1]
        forward[layer, n] = 1.0
    for layer in range(depth - 1, 0, -1):
        backward[layer] = chi[layer] * backward[layer + 1] + curvature[layer] * forward[layer - 1]
        backward[layer, 2 * layer] += 1.0
    total = sum(
        alpha[layer - 1] * (orders.tq2[layer] * forward[layer - 1] + orders.hq2[layer - 1] * backward[layer])
        for layer in range(1, depth + 1)
    )
    return float(total @ covariance @ total)


def _sources(phi: Function, slope: Function, p: float, c: float, above1: float, above2: float) -> _Sources:
    """above1, above2: sigma_w2 tq_1 and sigma_w2 tq_2 of the layer above."""
    kinks = tuple(sorted({float(b) for b in (*phi.breaks, *slope.breaks)}))

    def integrands(u: np.ndarray) -> tuple[np.ndarray, ...]:
        value, d = phi(u), slope(u)
        return value, value**2, d, d**2, value * d

    weights, (first, square, d_first, d_square, mixed) = spread_moments(integrands, kinks, p, c)
    # Given xi and eta, with m = E[g | eta] and v = above1 - above2:
    # Var(phi' g) = (E phi'^2 - (E phi')^2) m^2 + E phi'^2 v, and E m^2 = above2, E m^4 = 3 above2^2.
    v, spread = above1 - above2, d_square - d_first**2
    backward = 3 * spread**2 * above2**2 + 2 * spread * d_square * above2 * v + d_square**2 * v**2
    return _Sources(
        float(weights @ (square - first**2) ** 2),
        float(weights @ backward),
        float(weights @ (mixed - first * d_first) ** 2) * above2,
    )
