"""The derivation of a prediction as lines of text."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import sympy as sp

from fimcheck.theory import symbols
from fimcheck.theory.gaussian.derivation import Derivation
from fimcheck.theory.gaussian.kernel import kernel
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.elementwise import Phi, slope_of
from fimcheck.theory.network.outputs import DEGENERATE, SHARED
from fimcheck.theory.network.relation import RELATIONS

if TYPE_CHECKING:
    from fimcheck.theory.network.prediction import Prediction


def steps(prediction: "Prediction") -> tuple[str, ...]:
    """From the activation to the statement, one step per line."""
    return tuple(_lines(prediction))


def _lines(prediction: "Prediction") -> Iterator[str]:
    net = prediction.network
    yield from _activations(net)
    yield "State of a signal: K, overlap of two places over the units (hq, q), m, their mean, Th, tangent overlap;"
    yield "  relations of two places: same, mate (another position of the sample), other (another sample)"
    yield f"  inputs: K = (1, 0, 0), m = 0, Th = 0; alpha_in = {net.input_width} at first; alpha = {net.alpha}"
    for name, rule in dict.fromkeys((step.words, step.rule) for step in net.all_steps.values()):
        yield f"  {name}: {rule}"
    for path, step in net.all_steps.items():
        own = ", ".join(f"{name} = {value}" for name, value in step.parameters.items())
        yield f"  step {path}: {step.words}" + (f", {own}" if own else "")
    yield "  tq of a dense step is the coefficient of what it adds in the last Th; kappa_a = Th_a/alpha"
    yield "Spectrum of the dual matrix, per class alpha (M/T) [(kappa1 - kappa2) I + kappa2 1 1^T]:"
    yield f"  {net.output.rule}"
    for group in () if net.output.spectrum is None else net.output.spectrum.groups:
        which = "along (1, .., 1)" if group.value == SHARED else "degenerate" if group.value == DEGENERATE else ""
        factor = "" if group.first == 1 else f" times {group.first} on average"
        yield f"  {group.count} eigenvalues {group.value}{factor} ({which})"
    yield f"Number of parameters {symbols.alpha_total * symbols.M**2} to leading order."
    limit = {
        "fixed": "T fixed",
        "infinite": "leading term for T -> infinity",
        "proportional": "leading term, T = M/rho",
    }
    sign = RELATIONS[prediction.relation].plain
    yield f"Result, {limit[prediction.samples]}: {prediction.quantity} {sign} {prediction.formula}"
    if prediction.conditions:
        yield f"  under {', '.join(sp.sstr(k) for k in prediction.conditions)}"
    yield f"Written out: {prediction.quantity} {sign} {prediction.expr}"
    yield f"Source: {prediction.source}"


def _activations(net: Composed) -> Iterator[str]:
    """Closed forms of every activation that occurs."""
    shifted = any(getattr(step, "beta", 0) != 0 or step.name == "shift" for step in net.all_steps.values())
    for act in dict.fromkeys(step.activation for step in net.all_steps.values() if isinstance(step, Phi)):
        yield f"Activation {act.name}: phi(x) = {act.expr}"
        places = ", ".join(map(str, act.kinks)) or "none"
        yield f"  kinks: {places}; parity: {act.parity}; growth: {act.growth}; homogeneous: {act.degree}"
        for name, f in (("phi", act.phi), ("phi'", slope_of(act))):
            k = kernel(f, f)
            pair, same = (k.shifted, k.shifted_same) if shifted else (k.centered, k.centered_same)
            yield f"Expectation E[{name}(u) {name}(v)] by {pair.method}:"
            yield from _indented(pair)
            yield f"Expectation E[{name}(u)^2] by {same.method}:"
            yield f"  {same.steps[-1]}"


def _indented(derivation: Derivation) -> Iterator[str]:
    return (f"  {line}" for line in derivation.steps)
