"""The derivation of a prediction as lines of text."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import sympy as sp

from theory import symbols
from theory.derivation import Derivation
from theory.gaussian import kernel
from theory.recursion import slope_of
from theory.spectrum import DEGENERATE, SHARED, SPECTRA

if TYPE_CHECKING:
    from theory.prediction import Prediction

_HIDDEN = {
    "none": "phi sees (u, v) with variance p = q_1, covariance c = q_2 and mean mu = 0",
    "layer": "layer normalization: p = gamma^2, c = gamma^2 q_2/q_1, mu = beta; backward factor gamma^2/q_1",
    "batch": "batch normalization, T -> infinity: independent N(beta, gamma^2) variables; backward factor "
    "gamma^2/(q_1 - q_2), and constants over the samples are removed, so tq_2 = 0 below",
    "batch exact": "batch normalization over T samples: phi sees gamma z + beta, z uniform on the sphere of "
    "radius sqrt(T) orthogonal to (1, .., 1); sigma_w2 E[1/sd^2] = sigma_w2 T/((T - 3)(q_1 - q_2))",
}
_LAST = {
    "none": "outputs as they are: one eigenvalue along (1, .., 1) and T - 1 equal ones per class",
    "mean": "mean subtraction multiplies by I - 1 1^T/T: the direction (1, .., 1) is removed",
    "batch": "batch normalization multiplies by (last_gamma/sd_k)(I - 1 1^T/T - z z^T/T): (1, .., 1) and the "
    "normalized output z are removed, Q1 and Q2 are the means of last_gamma^2/sd_k^2 and of its square",
    "layer": "layer normalization multiplies by P_t/sd(t), P_t = I - 1 1^T/C - z_t z_t^T/C of rank C - 2, "
    "and R1 is the mean of 1/sd(t)^2",
}


def steps(prediction: "Prediction") -> tuple[str, ...]:
    """From the activation to the statement, one step per line."""
    return tuple(_lines(prediction))


def _lines(prediction: "Prediction") -> Iterator[str]:
    net = prediction.network
    act = net.activation
    exact = net.hidden == "batch" and prediction.samples == "fixed"
    yield f"Activation {act.name}: phi(x) = {act.expr}"
    places = ", ".join(map(str, act.kinks)) or "none"
    yield f"  kinks: {places}; parity: {act.parity}; growth: {act.growth}; homogeneous: {act.degree}"
    shifted = net.hidden != "none" and net.beta != 0
    for name, f in (("phi", act.phi), ("phi'", slope_of(act))):
        k = kernel(f, f)
        pair, same = (k.shifted, k.shifted_same) if shifted else (k.centered, k.centered_same)
        yield f"Expectation E[{name}(u) {name}(v)] by {pair.method}:"
        yield from _indented(pair)
        yield f"Expectation E[{name}(u)^2] by {same.method}:"
        yield f"  {same.steps[-1]}"
    yield "Recursion, a = 1 for one sample and a = 2 for two:"
    yield "  hq_1^0 = 1, hq_2^0 = 0, q_a^l = sigma_w2 hq_a^(l-1) + sigma_b2, hq_a^l = E[phi phi]"
    yield "  tq_a^L = 1, tq_a^l = sigma_w2 tq_a^(l+1) E[phi' phi'] times the backward factor"
    added = f"{net.hidden}: an added rule says what phi sees and the backward factor"
    yield f"  {_HIDDEN.get('batch exact' if exact else str(net.hidden), added)}"
    met = "hq_1^(l-1) - hq_2^(l-1) for l < L, hq_a^(L-1) for l = L" if net.hidden == "batch" else "hq_a^(l-1)"
    yield f"  kappa_a = sum_l (alpha_(l-1)/alpha) tq_a^l h, h = {met}; alpha = {net.alpha}"
    yield "Spectrum of the dual matrix, per class alpha (M/T) [(kappa1 - kappa2) I + kappa2 1 1^T]:"
    yield f"  {_LAST.get(net.last, f'{net.last} multiplies by its added Jacobian')}"
    if net.last in SPECTRA:
        for group in SPECTRA[net.last].groups:
            which = "along (1, .., 1)" if group.value == SHARED else "degenerate" if group.value == DEGENERATE else ""
            factor = "" if group.first == 1 else f" times {group.first} on average"
            yield f"  {group.count} eigenvalues {group.value}{factor} ({which})"
    yield f"Number of parameters {symbols.alpha_total * symbols.M**2} to leading order."
    limit = {
        "fixed": "T fixed",
        "infinite": "leading term for T -> infinity",
        "proportional": "leading term, T = M/rho",
    }
    sign = {"equals": "=", "at least": ">=", "at most": "<="}[prediction.relation]
    yield f"Result, {limit[prediction.samples]}: {prediction.quantity} {sign} {prediction.formula}"
    if prediction.conditions:
        yield f"  under {', '.join(sp.sstr(k) for k in prediction.conditions)}"
    yield f"Written out: {prediction.quantity} {sign} {prediction.expr}"
    yield f"Source: {prediction.source}"


def _indented(derivation: Derivation) -> Iterator[str]:
    return (f"  {line}" for line in derivation.steps)
