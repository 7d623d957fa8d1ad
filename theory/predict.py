"""Predictions of the spectrum of the FIM to leading order in the width M."""

from dataclasses import replace
from typing import Any

import sympy as sp

from theory import normalizations
from theory.gaussian import kernel
from theory.network import WideNetwork
from theory.normalizations import HiddenRule, Parameters, hidden_rule
from theory.prediction import Prediction, first_variance, spread
from theory.recursion import ClosedForms
from theory.scaling import leading_term
from theory.spectrum import ADDED, DEGENERATE, SHARED, SPECTRA, Spectrum
from theory.symbols import Q1, Q2, R1, C, Expr, M, Qmax, T, alpha_total, c_2, kappa1, kappa2, last_gamma, rho

PAPER = "Karakida, Akaho and Amari 2019"
QUANTITIES = (
    "m",
    "s",
    "lambda_max",
    "lambda_1",
    "lambda_top",
    "lambda_perp",
    "lambda_max_lower",
    "lambda_max_upper",
    "alignment",
    "stable_rate",
)
SAMPLES = ("fixed", "infinite", "proportional")
PARAMETERS = alpha_total * M**2
"""Number of parameters P to leading order."""


def predict(net: WideNetwork, quantity: str, samples: str = "fixed", given_outputs: bool = False) -> Prediction:
    """The prediction of one quantity.

    quantity: m = tr F/P, s = tr F^2/P, lambda_max, lambda_1 (along the all-ones direction of a class),
    lambda_top (mean of the C largest), lambda_perp (mean of the degenerate group), and for T = M/rho the
    bounds lambda_max_lower and lambda_max_upper. alignment: squared cosine between the C leading
    eigenvectors and the C mean gradients; stable_rate: largest learning rate at which gradient descent near a
    minimum does not diverge, 2/lambda_max.
    samples: "fixed" (T fixed, M large), "infinite" (then T large), "proportional" (T = M/rho, M large).
    given_outputs: with normalized outputs, in terms of the measured Q1, Q2, Qmax or R1 rather than averaged
    over networks.
    """
    _known("quantity", quantity, QUANTITIES)
    _known("samples", samples, SAMPLES)
    if quantity == "stable_rate":
        # Gradient descent on a quadratic multiplies the mode of eigenvalue lambda by 1 - rate * lambda.
        sharpest = predict(net, "lambda_max", samples, given_outputs)
        return replace(sharpest, quantity=quantity, formula=2 / sharpest.formula)
    if given_outputs and net.last not in ("batch", "layer"):
        raise ValueError(
            f"given_outputs has no meaning for last = {net.last!r}: its outputs do not enter. Leave it out."
        )
    if net.last in ADDED:
        raise ValueError(
            f"last = {net.last!r} was added by its Jacobian, which depends on the outputs: pass them to "
            "output_spectrum."
        )
    if net.last == "layer":
        formula, relation, conditions = _under_layer_norm(quantity)
    else:
        formula, relation, conditions = _statement(net, quantity, samples)
    if kappa2_vanishes(net, samples):
        formula = formula.subs(kappa2, 0)
    if not given_outputs:
        formula, needed = _averaged(formula, every_class_alike=samples != "fixed")
        conditions += needed
    formula = formula.subs(last_gamma, net.last_gamma)
    if samples == "infinite":
        formula = leading_term(formula, T)
    elif samples == "proportional":
        formula = leading_term(formula.subs(T, M / rho), M)
    if samples != "fixed":
        conditions = [k for k in conditions if k.free_symbols != {T}]
    elif net.depends_on_samples(samples):
        conditions.append(sp.Gt(T, hidden_rule(net.hidden, samples).fewest_samples - 1))
    held = tuple(
        k for k in dict.fromkeys(conditions) if k == sp.Eq(C, 1) or k.free_symbols <= _free(net, formula, samples)
    )
    formula = formula.subs(last_gamma, net.last_gamma)
    return Prediction(quantity, net, samples, formula, relation, held, _source(net, quantity, samples))


def _known(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} = {value!r} is not known. Choose one of {', '.join(known)}.")


def _free(net: WideNetwork, formula: Expr, samples: str) -> set[sp.Basic]:
    return formula.free_symbols | ({T} if net.depends_on_samples(samples) else set())


def _statement(net: WideNetwork, quantity: str, samples: str) -> tuple[Expr, str, list[Any]]:
    spectrum = SPECTRA[net.last]
    fewest = 3 if net.last == "batch" else 2
    conditions: list[Any] = [sp.Ge(T, fewest)]
    no_outlier = spectrum.shared is None or kappa2_vanishes(net, samples)
    if quantity in ("lambda_max_lower", "lambda_max_upper"):
        if samples != "proportional" or not no_outlier:
            raise ValueError(
                f'{quantity} bounds lambda_max where its limit is not known: samples="proportional" and '
                "outputs that are mean-subtracted or batch-normalized, or kappa2 = 0. Here it is known: "
                'ask for "lambda_max".'
            )
        return _bound(spectrum, quantity)
    if samples == "proportional" and no_outlier and quantity in ("lambda_max", "lambda_top"):
        raise ValueError(
            f"{quantity} has no known limit for T = M/rho without an all-ones outlier; the theory bounds "
            "lambda_max. Ask for lambda_max_lower or lambda_max_upper."
        )
    if quantity == "alignment":
        if no_outlier:
            raise ValueError("alignment needs an all-ones outlier: outputs that are not normalized, and kappa2 > 0.")
        # SHARED belongs to the all-ones directions of the classes, whose images in parameter space are mean gradients.
        return sp.S.One, "equals", conditions
    if quantity == "m":
        return sp.factor(spectrum.trace / PARAMETERS), "equals", conditions
    if quantity == "s":
        # Overlaps of different samples fluctuate by O(M^-1/2); M^2 of them add to tr F^2 at the order of
        # the rest.
        relation = "at least" if samples == "proportional" and no_outlier else "equals"
        return sp.factor(spectrum.trace_of_square / PARAMETERS), relation, conditions
    if quantity == "lambda_1":
        return (sp.S.Zero if spectrum.shared is None else SHARED), "equals", conditions
    if quantity == "lambda_perp":
        return DEGENERATE * spectrum.rest.first, "equals", conditions
    if spectrum.shared is None:
        return DEGENERATE * spectrum.rest.largest, "equals", conditions
    # kappa2 >= 0, so the shared direction is the top one; over finite batches kappa2 may be negative.
    either = net.depends_on_samples(samples)
    return (sp.Max(SHARED, DEGENERATE) if either else SHARED), "equals", conditions


def _bound(spectrum: Spectrum, quantity: str) -> tuple[Expr, str, list[Any]]:
    """tr F^2/tr F <= lambda_max <= (tr F^2)^(1/2); above, fluctuations add c_2 M to tr F^2.

    For one output, mean subtraction and plain hidden layers c_2 is `fluctuation_variance`.
    """
    if quantity == "lambda_max_lower":
        return spectrum.rest.value * spectrum.rest.second / spectrum.rest.first, "at least", []
    return sp.sqrt(spectrum.trace_of_square + c_2 * M), "at most", []


def _under_layer_norm(quantity: str) -> tuple[Expr, str, list[Any]]:
    if quantity != "m":
        raise ValueError(
            f'{quantity} under last = "layer" is that of a matrix made of the outputs; only m has a formula. '
            "Pass the outputs to layer_output_spectrum."
        )
    # tr F = sum_t alpha M kappa1/T tr(P_t) last_gamma^2/sd(t)^2, and the projection P_t has rank C - 2.
    return kappa1 * (C - 2) / M * last_gamma**2 * R1, "equals", [C >= 3]


def _averaged(formula: Expr, every_class_alike: bool) -> tuple[Expr, list[Any]]:
    """Averages over networks: T sd_k^2/(q_1^L - q_2^L) and C sd(t)^2/q_1^L are chi-square, one degree less
    than T or C.
    """
    conditions: list[Any] = []
    if formula.has(Qmax):
        formula = formula.subs(Qmax, Q1)
        conditions += [] if every_class_alike else [sp.Eq(C, 1)]
    for symbol, power, size, scale in ((Q1, 1, T, spread), (Q2, 2, T, spread), (R1, 1, C, first_variance)):
        if formula.has(symbol):
            gain = sp.S.One if symbol == R1 else last_gamma ** (2 * power)
            formula = formula.subs(symbol, gain * (size / scale) ** power * inverse_chi_square(power, size))
            conditions.append(size > 2 * power + 1)
    return formula, conditions


def inverse_chi_square(power: int, size: Expr) -> Expr:
    """E X^-power of a chi-square variable with size - 1 degrees of freedom, finite for size > 2 power + 1."""
    value, excess = sp.Symbol("X", positive=True), sp.Symbol("nu", positive=True)
    shape = (excess + 2 * power) / 2  # excess > 0 is where the integral converges
    density = value ** (shape - 1) * sp.exp(-value / 2) / (2**shape * sp.gamma(shape))
    moment = sp.integrate(value ** (-power) * density, (value, 0, sp.oo))
    return sp.factor(sp.gammasimp(moment).subs(excess, size - 1 - 2 * power))


def kappa2_vanishes(net: WideNetwork, samples: str) -> bool:
    """Whether the network is centered: sigma_b = 0 and E phi = 0 in every layer, so that kappa2 = 0.

    With batch normalization over T -> infinity samples E phi(gamma z + beta) = 0 is enough.
    """
    rule, phi = hidden_rule(net.hidden, samples), net.activation.phi
    if type(rule).forward is not HiddenRule.forward or net.depends_on_samples(samples):
        return False  # not for this test to say
    if not rule.couples_samples and net.sigma_b2 != 0:
        return False
    at = Parameters(net.sigma_w2, net.sigma_b2, net.ratios, net.gamma, net.beta, sp.oo)
    seen = None
    q = (net.sigma_w2 + net.sigma_b2, net.sigma_b2)
    for _ in range(1, net.depth):
        seen = rule.seen(q, seen, at)
        p, c, mean = seen
        if kernel(phi, phi).expr(p, sp.sympify(c), sp.sympify(mean)) != 0:
            return False
        if phi.is_odd:
            return True  # and so in every further layer
        q = (net.sigma_w2 * ClosedForms().same(phi, p, mean) + net.sigma_b2, net.sigma_b2)
    return True


def _source(net: WideNetwork, quantity: str, samples: str) -> str:
    if net.hidden in normalizations.ADDED:
        return f"the added rule of {net.hidden}, spectrum as in {PAPER}"
    if net.hidden == "batch" and samples == "fixed":
        return f"derived here (batch normalization exact in T), spectrum as in {PAPER}"
    if quantity.startswith("lambda_max_"):
        return f"{PAPER}, bounds on the largest eigenvalue for T proportional to M"
    parts = {
        "none": "the FIM without normalization of the outputs",
        "mean": "mean subtraction in the last layer",
        "batch": "batch normalization in the last layer",
        "layer": "layer normalization of the outputs",
    }
    return f"{PAPER}, {parts[net.last]}"
