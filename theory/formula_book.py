"""The formula book: what the engine derives, written out by the engine."""

import html
import re
from collections.abc import Iterable, Iterator

from theory.activations import BUILTIN, Activation, activation
from theory.certificate import certify
from theory.functions import ActivationError
from theory.gaussian import kernel
from theory.network.chain import WideNetwork
from theory.network.elementwise import slope_of
from theory.network.outputs import OUTPUTS
from theory.network.predict import predict
from theory.phase import critical_line
from theory.symbols import Expr, latex

_CASES = (("m", "fixed"), ("s", "fixed"), ("lambda_max", "fixed"), ("lambda_perp", "fixed"))
_PROPORTIONAL = (
    ("lambda_max", "proportional"),
    ("lambda_max_lower", "proportional"),
    ("lambda_max_upper", "proportional"),
)

_HIDDEN_RULES = {
    "none": r"\hat q_a=\mathbb E[\phi(u)\phi(v)],\ (p,c,\mu)=(q_1,q_2,0),\quad "
    r"\tilde q_a^l=\sigma_w^2\tilde q_a^{l+1}\,\mathbb E[\phi'\phi']",
    "layer": r"(p,c,\mu)=(\gamma^2,\gamma^2q_2/q_1,\beta),\quad "
    r"\tilde q_a^l=\frac{\gamma^2}{q_1}\sigma_w^2\tilde q_a^{l+1}\,\mathbb E[\phi'\phi']",
    "batch": r"(p,c,\mu)=(\gamma^2,0,\beta)\ (T\to\infty),\quad "
    r"\tilde q_1^l=\frac{\gamma^2}{q_1-q_2}\sigma_w^2\tilde q_1^{l+1}\,\mathbb E[\phi'^2],\ \tilde q_2^l=0",
}


def book(
    activations: "Iterable[str | Expr | Activation]" = tuple(BUILTIN),
    style: str = "md",
    certificates: bool = True,
) -> str:
    """The formula book as text: recursion and predictions of every case, closed forms and certificates per
    activation.

    style: "md" (Markdown with LaTeX between dollar signs) or "html" (a page that MathJax renders).
    certificates: whether to compute them; seconds per activation.
    """
    if style not in ("md", "html"):
        raise ValueError(f"style = {style!r} is not known. Choose 'md' or 'html'.")
    lines = ["# Formula book", "", "Generated from the code that derives it.", ""]
    lines += [*_recursion(), *_predictions()]
    for spec in activations:
        lines += _entry(activation(spec), certificates)
    text = "\n".join(lines) + "\n"
    return text if style == "md" else _html(text)


def _recursion() -> Iterator[str]:
    yield "## Order parameters"
    yield ""
    yield r"$$q_a^l=\sigma_w^2\hat q_a^{l-1}+\sigma_b^2,\quad \hat q_1^0=1,\ \hat q_2^0=0,\ \tilde q_a^L=1,"
    yield r"\kappa_a=\frac1\alpha\sum_{l=1}^L\alpha_{l-1}\tilde q_a^l\hat q_a^{l-1},\quad "
    yield r"\alpha=\sum_{l=1}^{L-1}\alpha_l\alpha_{l-1}$$"
    yield ""
    for name in _HIDDEN_RULES:
        yield f"- hidden normalization {name}: ${_HIDDEN_RULES[name]}$"
    yield ""
    yield "Under hidden batch normalization the sums over l < L take q-hat_1 - q-hat_2 for both a."
    yield ""


def _predictions() -> Iterator[str]:
    yield "## Predictions by the normalization of the outputs"
    yield ""
    for last in OUTPUTS:
        net = WideNetwork(3, "relu", last=last)
        yield f"### last: {last}"
        yield ""
        yield "| quantity | samples | formula | exponent of M | exponent of T |"
        yield "|---|---|---|---|---|"
        for quantity, samples in (*_CASES, *_PROPORTIONAL):
            try:
                found = predict(net, quantity, samples, given_outputs=bool(net.output.statistics))
            except ValueError:
                continue  # the theory makes no such statement
            sign = {"equals": "=", "at least": r"\ge", "at most": r"\le"}[found.relation]
            yield (
                f"| {quantity} | {samples} | ${sign} {latex(found.formula)}$ | {found.scaling('M')} "
                f"| {found.scaling('T')} |"
            )
        yield ""


def _entry(act: Activation, certificates: bool) -> Iterator[str]:
    yield f"## {act.name}"
    yield ""
    yield f"$$\\phi(x)={latex(act.expr)}$$"
    yield ""
    places = ", ".join(map(str, act.kinks)) or "none"
    yield f"Kinks: {places}. Parity: {act.parity}. Growth: {act.growth}. Homogeneous of degree: {act.degree}."
    yield ""
    try:
        slope = slope_of(act)
    except ActivationError as error:
        yield str(error)
        yield ""
        return
    for name, f in ((r"\phi", act.phi), (r"\phi'", slope)):
        k = kernel(f, f)
        pairs = ((f"{name}(u){name}(v)", k.centered), (f"{name}(u)^2", k.centered_same))
        for what, derived in pairs:
            value = "" if derived.expr is None else f"={latex(derived.expr)}"
            yield f"- $\\mathbb E[{what}]{value}$ ({derived.method})"
    weight, bias = critical_line(act)
    line = rf"\sigma_w^2={latex(weight)},\quad \sigma_b^2={latex(bias)}"
    yield f"- critical line: ${line}$ at the fixed point $q^*=p$"
    yield ""
    if certificates:
        for found in certify(act, count=1):
            agreement = f"{found.digits:.0f} digits at {len(found.points)} points"
            yield f"Certificate {found.what}: agrees with its definition to {agreement}."
        yield ""


def _html(text: str) -> str:
    """Headings, tables, lists and paragraphs of the Markdown above; the formulas are left to MathJax."""
    body = []
    for block in text.split("\n\n"):
        escaped = html.escape(block, quote=False)
        if heading := re.match(r"(#+) (.*)", escaped):
            level = len(heading[1])
            body.append(f"<h{level}>{heading[2]}</h{level}>")
            escaped = escaped[heading.end() :].strip()
        if escaped.startswith("|"):
            rows = [row.strip("|").split("|") for row in escaped.splitlines() if not row.startswith("|---")]
            cells = ("<tr>" + "".join(f"<td>{cell.strip()}</td>" for cell in row) + "</tr>" for row in rows)
            body.append("<table>" + "".join(cells) + "</table>")
        elif escaped.startswith("- "):
            items = "".join(f"<li>{item[2:]}</li>" for item in escaped.splitlines())
            body.append(f"<ul>{items}</ul>")
        elif escaped:
            body.append(f"<p>{escaped}</p>")
    script = (
        "<script>MathJax={tex:{inlineMath:[['$','$']]}}</script>"
        '<script async src="https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-chtml.js"></script>'
    )
    title = '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Formula book</title>'
    return title + script + "</head><body>" + "\n".join(body) + "</body></html>\n"
