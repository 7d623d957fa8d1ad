"""Predictions of the spectrum of the FIM to leading order in the width M."""

from dataclasses import replace
from functools import cache
from typing import Any

import sympy as sp

from fimcheck.theory import symbols
from fimcheck.theory.network import given
from fimcheck.theory.network.chain import WideNetwork
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.limits import leading_term
from fimcheck.theory.network.names import ZerosOnly, placeholder_settle
from fimcheck.theory.network.outputs import DEGENERATE, SHARED, Spectrum
from fimcheck.theory.network.prediction import Prediction, first_variance, spread
from fimcheck.theory.symbols import Q1, Q2, R1, C, Expr, M, Qmax, T, alpha_total, c_2, kappa1, kappa2, last_gamma, rho

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
ORDERS = {"kappa1": kappa1, "kappa2": kappa2}
"""Order parameters that are predicted like a quantity."""

SAMPLES = ("fixed", "infinite", "proportional")
PARAMETERS = alpha_total * M**2
"""Number of parameters P to leading order."""


def predict(net: Composed, quantity: str, samples: str = "fixed", given_outputs: bool = False) -> Prediction:
    """The prediction of one quantity.

    quantity: m = tr F/P, s = tr F^2/P, lambda_max, lambda_1 (along the all-ones direction of a class),
    lambda_top (mean of the C largest), lambda_perp (mean of the degenerate group), and for T = M/rho the
    bounds lambda_max_lower and lambda_max_upper. alignment: squared cosine between the C leading
    eigenvectors and the C mean gradients; stable_rate: largest learning rate at which gradient descent near a
    minimum does not diverge, 2/lambda_max. kappa1, kappa2: the gradient overlaps themselves.
    samples: "fixed" (T fixed, M large), "infinite" (then T large), "proportional" (T = M/rho, M large).
    given_outputs: with normalized outputs, in terms of the measured Q1, Q2, Qmax or R1 rather than averaged
    over networks.

    >>> found = theory.predict(theory.WideNetwork(3, "relu"), "lambda_max")
    >>> found.formula
    M*alpha*(kappa1/T + kappa2*(T - 1)/T)
    >>> round(found.evaluate(M=1000, T=50, sigma_w2=2, sigma_b2=0.1, alpha_0=1, alpha_1=1, alpha_2=1), 1)
    849.9
    """
    _known("quantity", quantity, (*QUANTITIES, *ORDERS))
    _known("samples", samples, SAMPLES)
    if quantity == "stable_rate":
        # Gradient descent on a quadratic multiplies the mode of eigenvalue lambda by 1 - rate * lambda.
        sharpest = predict(net, "lambda_max", samples, given_outputs)
        return replace(sharpest, quantity=quantity, formula=2 / sharpest.formula)
    if given_outputs and not (net.output.jacobian or net.output.scaled):
        raise ValueError(
            f"given_outputs has no meaning for last = {net.last!r}: its outputs do not enter. Leave it out."
        )
    if quantity in ORDERS:
        conditions = (sp.Gt(T, net.fewest_samples - 1),) if net.depends_on_samples(samples) else ()
        return Prediction(
            quantity, net, samples, ORDERS[quantity], "equals", conditions, _source(net, quantity, samples)
        )
    if net.inputs is not None:
        return given.predict(net, quantity, samples)
    if quantity == "lambda_max" and samples == "proportional" and net.output.removed:
        from fimcheck.theory.edge import prediction

        return prediction.predict(net, given_outputs)
    formula, relation, conditions = _leading(net, quantity, samples, given_outputs)
    return Prediction(quantity, net, samples, formula, relation, conditions, _source(net, quantity, samples))


def _leading(net: Composed, quantity: str, samples: str, given_outputs: bool) -> tuple[Expr, str, tuple[Any, ...]]:
    """Formula to leading order, its relation to the quantity, and the conditions that belong to it."""
    if net.output.spectrum is None:
        formula, relation, conditions = _through_outputs(net, quantity)
    else:
        formula, relation, conditions = _statement(net, net.output.spectrum, quantity, samples)
    if kappa2_vanishes(net, samples):
        formula = formula.subs(kappa2, 0)
    if not given_outputs:
        formula, needed = _averaged(formula, every_class_alike=samples != "fixed")
        conditions += needed
    if net.power == 0:  # NTK parametrization: every eigenvalue without its factor M
        formula = formula / M ** (2 if quantity == "s" else 1)
    if samples == "infinite":
        formula = leading_term(formula, T)
    elif samples == "proportional":
        formula = leading_term(formula.subs(T, M / rho), M)
    if samples != "fixed":
        conditions = [k for k in conditions if k.free_symbols != {T}]
    elif net.depends_on_samples(samples):
        conditions.append(sp.Gt(T, net.fewest_samples - 1))
    held = tuple(
        k for k in dict.fromkeys(conditions) if k == sp.Eq(C, 1) or k.free_symbols <= _free(net, formula, samples)
    )
    return formula.subs(last_gamma, net.last_gamma), relation, held


def _known(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} = {value!r} is not known. Choose one of {', '.join(known)}.")


def _free(net: Composed, formula: Expr, samples: str) -> set[sp.Basic]:
    return formula.free_symbols | ({T} if net.depends_on_samples(samples) else set())


def _statement(net: Composed, spectrum: Spectrum, quantity: str, samples: str) -> tuple[Expr, str, list[Any]]:
    conditions: list[Any] = [sp.Ge(T, net.output.fewest_samples)]
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


def _through_outputs(net: Composed, quantity: str) -> tuple[Expr, str, list[Any]]:
    """Where the spectrum is that of a matrix made of the outputs, its mean alone may have a formula."""
    if quantity != "m" or net.output.mean is None:
        only = " only m has a formula." if net.output.mean is not None else ""
        raise ValueError(
            f"{quantity} under last = {net.last!r} is that of a matrix made of the outputs;{only} Pass the outputs to "
            "output_spectrum."
        )
    return net.output.mean, "equals", [net.output.fewest_classes <= C]


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


@cache
def kappa2_vanishes(net: Composed, samples: str) -> bool:
    """Whether the network is centered, sigma_b = 0 and E phi = 0 wherever it matters, so that kappa2 = 0.

    With batch normalization over T -> infinity samples E phi(gamma z + beta) = 0 is enough. Where the order parameters
    depend on T it is not for this test to say.
    """
    if net.depends_on_samples(samples):
        return False
    count = symbols.T if samples == "fixed" else sp.oo
    run, end = net.run(ZerosOnly(), count, apart=False, settle=placeholder_settle)
    return bool(run.total(end).other == 0)


def _source(net: Composed, quantity: str, samples: str) -> str:
    added = [step.name for step in net.all_steps.values() if step.added]
    if added:
        return f"the added rule of {', '.join(dict.fromkeys(added))}, spectrum as in {PAPER}"
    if net.depends_on_samples(samples):
        return f"derived here (batch normalization exact in T), spectrum as in {PAPER}"
    if not isinstance(net, WideNetwork):
        return f"derived here (composition of steps), spectrum as in {PAPER}"
    if quantity.startswith("lambda_max_"):
        return f"{PAPER}, bounds on the largest eigenvalue for T proportional to M"
    return f"{PAPER}, {net.output.source}"
