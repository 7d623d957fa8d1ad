"""Statements with where-lists: they fit a terminal, their Python gives the number, their LaTeX is well formed."""

import inspect
import itertools
import json
import re
import shutil
import subprocess
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sympy as sp

from fimcheck import theory
from fimcheck.theory.network.where import Statement, statement
from fimcheck.theory.writing import latex, python, unicode

GRID = list(itertools.product(("relu", "erf", "tanh", "gelu"), ("none", "layer", "batch"), ("none", "mean", "batch")))


COMPUTED = {
    *((act, "none", last) for act in ("relu", "erf", "tanh") for last in ("none", "mean", "batch")),
    ("gelu", "none", "batch"), ("erf", "layer", "none"), ("gelu", "layer", "mean"),
}  # fmt: skip


def nodes(text: str) -> tuple[Any, ...]:
    """Steps without parameters, [ ] around a branch."""
    found: list[list[Any]] = [[]]
    for word in text.split():
        if word == "skip[":
            found.append([])
        elif word == "]":
            branch = tuple(found.pop())
            found[-1].append(("skip", {}, (branch,)))
        else:
            found[-1].append((word, {}, ()))
    return tuple(found[0])


COMPOSITIONS = {
    "pre-norm residual": (
        "dense skip[ layer relu dense ] skip[ layer relu dense ] skip[ layer relu dense ] layer relu dense",
        1,
    ),
    "post-norm": ("dense relu layer dense relu layer dense", 1),
    "two dense steps a branch": ("dense skip[ rms tanh dense tanh dense ] skip[ rms tanh dense tanh dense ] dense", 1),
    "batch residual": ("dense skip[ batch relu dense ] relu dense", 1),
    "convolutional": ("conv relu conv relu pool dense", theory.symbols.N),
}

VALUES: dict[str, float] = {
    "sigma_w2": 1.7, "sigma_b2": 0.3, "gamma": 1.2, "beta": 0.4, "last_gamma": 1.3, "M": 100.0, "T": 7.0, "C": 1.0,
    "alpha_0": 1.0, "alpha_1": 0.7, "alpha_2": 1.3, "N": 5.0,
}  # fmt: skip


def run(found: Statement, **numbers: float) -> float:
    space: dict[str, Any] = {}
    exec(compile(python.written(found), "generated", "exec"), space)
    function = space[found.quantity]
    taken = inspect.signature(function).parameters
    return function(**{name: value for name, value in numbers.items() if name in taken})


@pytest.mark.parametrize(("act", "hidden", "last"), GRID)
def test_every_statement_is_readable_and_gives_the_number(act: str, hidden: str, last: str) -> None:
    net = theory.WideNetwork(3, act, hidden, last)
    predicted = theory.predict(net, "lambda_max")
    fits(predicted)
    if (act, hidden, last) not in COMPUTED:
        return  # averages by quadrature in pure Python take seconds; all of the grid were run once
    numbers = {name: VALUES[name] for name in predicted.symbols}
    assert run(predicted.statement(), **numbers) == pytest.approx(predicted.evaluate(**numbers), rel=1e-12)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_compositions_are_readable_and_give_the_number(name: str) -> None:
    text, positions = COMPOSITIONS[name]
    predicted = theory.predict(theory.compose(nodes(text), positions=positions), "lambda_max")
    fits(predicted)
    numbers = {name: VALUES[name] for name in predicted.symbols}
    assert run(predicted.statement(), **numbers) == pytest.approx(predicted.evaluate(**numbers), rel=1e-12)


def fits(predicted: theory.Prediction) -> None:
    lines = predicted.text(100).split("\n")
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 40
    assert "Piecewise" not in "".join(lines)
    source = predicted.latex()
    assert source.startswith("\\begin{align*}")
    for left, right in ("{}", "()", "[]"):
        assert source.count(left) == source.count(right)
    assert re.search(r"sigma_\{?w2|\\sigma_\{w\}\^\{2\}\^|_\d+_", source) is None
    assert all(row.count("&") == 1 for row in source.split("\n")[1:-1])


def test_a_wrong_line_changes_the_number() -> None:
    """Mutant: one line of the where-list off by a factor."""
    predicted = theory.predict(theory.WideNetwork(3, "relu"), "lambda_max")
    found = predicted.statement()
    numbers = {name: VALUES[name] for name in predicted.symbols}
    right = run(found, **numbers)
    for i, line in enumerate(found.lines):
        if line.name == theory.symbols.alpha_total:
            continue  # it divides the overlaps and multiplies the statement
        wrong = (*found.lines[:i], replace(line, value=1.01 * line.value), *found.lines[i + 1 :])
        assert abs(run(replace(found, lines=wrong), **numbers) / right - 1) > 1e-4, line.name
    for i, average in enumerate(found.averages):
        wrong_averages = (*found.averages[:i], replace(average, value=1.01 * average.value), *found.averages[i + 1 :])
        assert abs(run(replace(found, averages=wrong_averages), **numbers) / right - 1) > 1e-4


def test_numbers_in_the_place_of_some_symbols() -> None:
    predicted = theory.predict(theory.WideNetwork(3, "erf", "layer"), "lambda_max")
    found = predicted.statement({"sigma_w2": sp.Integer(2), "beta": sp.Integer(0), "gamma": sp.Integer(1)})
    shown = unicode.written(found)
    assert "β" not in shown
    assert "2 arcsin(" in shown
    rest = {name: VALUES[name] for name in ("M", "T", "sigma_b2", "alpha_0", "alpha_1", "alpha_2")}
    whole = predicted.evaluate(sigma_w2=2.0, beta=0.0, gamma=1.0, **rest)
    assert run(found, **rest) == pytest.approx(whole, rel=1e-12)


def test_repeated_layers_are_written_once() -> None:
    predicted = theory.predict(theory.WideNetwork(12, "gelu"), "lambda_max")
    shown = predicted.text()
    assert "for k = 3..11:" in shown
    assert "q1_{k-1}" in shown
    assert shown.count("\n") < 30
    uneven = theory.WideNetwork(5, "relu", ratios=(1, 2, 1, 3, 1))
    assert "for k" not in theory.predict(uneven, "lambda_max").text()


def test_known_formulas_read_as_in_the_papers() -> None:
    """Arc-cosine kernels (Cho and Saul 2009), the kernel of erf (Williams 1997), the paper's statements."""

    def averages(act: str, quantity: str) -> str:
        return theory.predict(theory.WideNetwork(3, act), quantity).text()

    assert "E[φ(u) φ(v)] = c arcsin(c/p)/(2 π) + c/4 + √(-c² + p²)/(2 π)" in averages("relu", "kappa2"), "degree 1"
    assert "(arcsin(q2_2/q1_2)/(2 π) + 1/4)" in averages("relu", "kappa2"), "degree 0"
    assert "E[φ'(u) φ'(v)] = 4/(π √(-4 c² + 4 p² + 4 p + 1))" in averages("erf", "kappa2")
    assert "κ₁ = Th1_3/α" in averages("relu", "m")
    assert "h2_1 = 2 arcsin(σ_b²/(q1_1 + 1/2))/π" in averages("erf", "kappa2")
    assert "lambda_max ~ M α (κ₂ + (κ₁ - κ₂)/T)" in averages("relu", "lambda_max")
    assert "m ~ C κ₁/M" in averages("relu", "m")
    assert "Th1_2 = (α_0 σ_w² + α_1 q1_1)/2" in averages("relu", "kappa1")
    centred = theory.predict(theory.WideNetwork(3, "relu", last="mean"), "lambda_max").text()
    assert "lambda_max ~ M α (κ₁ - κ₂)/T" in centred
    bound = theory.predict(theory.WideNetwork(3, "relu", last="mean"), "lambda_max_lower", "proportional").text()
    assert "lambda_max_lower >= α ρ (κ₁ - κ₂)" in bound


def test_an_average_without_closed_form_stands_as_an_average() -> None:
    shown = theory.predict(theory.WideNetwork(3, "tanh"), "kappa2").text()
    assert "F2(p, c) = E[φ(u) φ(v)]\n" in shown
    batch = theory.predict(theory.WideNetwork(3, "gelu", "batch"), "kappa2").text()
    assert "SF2(n, γ, β) = E_S[h(z₁) h(z₂)], h(z) = φ(γ z + β)" in batch
    assert "E_S over z uniform on the sphere" in batch


def test_given_inputs_are_refused() -> None:
    net = theory.compose(nodes("dense relu dense"), inputs=theory.GivenInputs(np.eye(2)))
    with pytest.raises(ValueError, match="matrices of numbers"):
        theory.predict(net, "m").statement()


def test_powers_of_the_deviations() -> None:
    w2, b2 = theory.symbols.sigma_w2, theory.symbols.sigma_b2
    assert unicode.text(w2**2 * b2) == "σ_b² σ_w⁴"
    assert latex.text(w2**2) == r"\sigma_w^{4}"
    assert unicode.text(1 / sp.sqrt(b2)) == "1/√(σ_b²)"
    assert unicode.text((1 + w2) ** sp.Rational(3, 2)) == "(σ_w² + 1)^(3/2)"


def test_statements_are_of_the_same_kind_everywhere() -> None:
    predicted = theory.predict(theory.WideNetwork(3, "relu"), "m")
    assert statement(predicted) == predicted.statement()
    assert predicted._repr_latex_() == predicted.latex()


KATEX = "const k=require('katex');const s=JSON.parse(require('fs').readFileSync(0));" + (
    "for(const t of s)k.renderToString(t,{displayMode:true,throwOnError:true,strict:'error'});"
)


def test_the_latex_compiles() -> None:
    """By KaTeX, which knows amsmath: the first error ends it."""
    node = shutil.which("node")
    if node is None or subprocess.run([node, "-e", "require('katex')"], capture_output=True, check=False).returncode:
        pytest.skip("needs node with katex (npm install katex, NODE_PATH)")
    made = [theory.predict(theory.WideNetwork(3, *which), "lambda_max").latex() for which in GRID]
    for text, positions in COMPOSITIONS.values():
        made.append(theory.predict(theory.compose(nodes(text), positions=positions), "kappa2").latex())
    done = subprocess.run([node, "-e", KATEX], input=json.dumps(made), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    broken = json.dumps([made[0].replace("\\frac", "\\fracc")])
    assert subprocess.run([node, "-e", KATEX], input=broken, capture_output=True, text=True, check=False).returncode
