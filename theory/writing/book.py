"""The formula book: what the engine derives, as data and as Markdown."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sympy as sp

from fimcheck.theory.gaussian.activations import Activation, activation
from fimcheck.theory.gaussian.certificate import certify
from fimcheck.theory.gaussian.functions import ActivationError
from fimcheck.theory.gaussian.kernel import kernel
from fimcheck.theory.network.chain import WideNetwork
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.elementwise import slope_of
from fimcheck.theory.network.phase import critical_line
from fimcheck.theory.network.predict import predict
from fimcheck.theory.network.prediction import Prediction
from fimcheck.theory.network.where import Statement
from fimcheck.theory.symbols import Expr, latex
from fimcheck.theory.writing import latex as in_latex

CASES = (
    *((quantity, "fixed") for quantity in ("m", "s", "lambda_max", "lambda_perp")),
    *((quantity, "proportional") for quantity in ("lambda_max", "lambda_max_lower", "lambda_max_upper")),
)
"""Quantities, and how the samples go with the width."""

ACTIVATIONS = ("relu", "erf", "tanh", "gelu")
"""Those of a book for which no others are named."""

DEPTH = 3


@dataclass(frozen=True)
class ClosedForm:
    """An average of an activation in LaTeX, and how it was derived."""

    formula: str
    method: str


@dataclass(frozen=True)
class Entry:
    """What is known of an activation by itself: its averages, the line between order and chaos, certificates."""

    activation: Activation
    forms: tuple[ClosedForm, ...]
    critical: str
    certificates: tuple[str, ...]
    trouble: str = ""


@dataclass(frozen=True)
class Chapter:
    """The statements about one network: formulas by prediction, and one where-list that serves them all."""

    predictions: tuple[Prediction, ...]
    where: tuple[str, ...]


def entry(spec: "str | Expr | Activation", certificates: bool = True) -> Entry:
    """An activation's averages; certificates: whether to compute them, which takes seconds."""
    act = activation(spec)
    try:
        slope = slope_of(act)
    except ActivationError as error:
        return Entry(act, (), "", (), str(error))
    forms = []
    for name, f in ((r"\phi", act.phi), (r"\phi'", slope)):
        k = kernel(f, f)
        for what, derived in ((f"{name}(u){name}(v)", k.centered), (f"{name}(u)^2", k.centered_same)):
            value = "" if derived.expr is None else f"={latex(derived.expr)}"
            forms.append(ClosedForm(rf"\mathbb{{E}}[{what}]{value}", derived.method))
    weight, bias = critical_line(act)
    line = rf"\sigma_w^2={latex(weight)},\quad \sigma_b^2={latex(bias)}"
    found = certify(act, count=1) if certificates else ()
    told = tuple(
        f"{c.what}: agrees with its definition to {c.digits:.0f} digits at {len(c.points)} points" for c in found
    )
    return Entry(act, tuple(forms), line, told)


def chapter(net: Composed) -> Chapter:
    """Everything that is stated about a network: what the theory does not state is left out."""
    found = []
    for quantity, samples in CASES:
        try:
            found.append(predict(net, quantity, samples, given_outputs=bool(net.output.statistics)))
        except ValueError:
            continue
    shown = [prediction.statement() for prediction in found if prediction.samples == "fixed" or net.couples_samples]
    return Chapter(tuple(found), tuple(_where(shown)))


def _where(statements: list[Statement]) -> Iterator[str]:
    """Lines of all statements, each name once: names of one network mean the same wherever they stand."""
    seen: dict[str, None] = {}
    for found in sorted(statements, key=lambda s: -len(s.lines)):
        seen |= dict.fromkeys(in_latex.lines(found)[1:])
    yield from seen


def chains(spec: "str | Expr | Activation") -> Iterator[WideNetwork]:
    """The paper's chains of an activation: hidden and last normalizations."""
    for hidden in ("none", "layer", "batch"):
        for last in ("none", "mean", "batch", "layer"):
            yield WideNetwork(DEPTH, spec, hidden, last)


def book(activations: "Iterable[str | Expr | Activation]" = ACTIVATIONS, certificates: bool = True) -> str:
    """The formula book in Markdown with LaTeX: closed forms, certificates and statements of every activation.

    certificates: whether to compute them; seconds per activation.

    >>> print(theory.book(["linear"], certificates=False).splitlines()[0])
    # Formula book
    """
    lines = ["# Formula book", "", "Generated from the code that derives it.", ""]
    for spec in activations:
        found = entry(spec, certificates)
        act = found.activation
        lines += [f"## {act.name}", "", f"$$\\phi(x)={latex(act.expr)}$$", "", facts(act), ""]
        lines += [found.trouble, ""] if found.trouble else []
        lines += [f"- ${form.formula}$ ({form.method})" for form in found.forms]
        lines += [f"- critical line: ${found.critical}$ at the fixed point $q^*=p$"] if found.critical else []
        lines += ["", *(f"Certificate {text}." for text in found.certificates), ""]
        if found.trouble:
            continue
        for net in chains(spec):
            lines += [f"### {act.name}, hidden {net.hidden}, last {net.last}", ""]
            written = chapter(net)
            lines += ["| statement | samples | exponent of M |", "|---|---|---|"]
            lines += [f"| ${in_latex.formula(p)}$ | {p.samples} | {exponent(p)} |" for p in written.predictions]
            lines += ["", *(f"- ${line}$" for line in written.where), ""]
    return "\n".join(lines) + "\n"


def facts(act: Activation) -> str:
    """Kinks, parity, growth and homogeneity of an activation in a line."""
    places = ", ".join(map(str, act.kinks)) or "none"
    return f"Kinks: {places}. Parity: {act.parity}. Growth: {act.growth}. Homogeneous of degree: {act.degree}."


def exponent(found: Prediction) -> str:
    """The exponent of M of a statement, a dash where it has none."""
    try:
        return sp.sstr(found.scaling("M"))
    except ValueError:
        return "–"
