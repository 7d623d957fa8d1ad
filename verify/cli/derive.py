"""The command that derives a formula."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import sympy as sp
import typer

from fimcheck import theory
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.depth import Blocks, chain_blocks
from fimcheck.theory.network.predict import ORDERS
from fimcheck.theory.network.prediction import check_range
from fimcheck.theory.network.where import Statement
from fimcheck.theory.writing import digits
from fimcheck.theory.writing.latex import written as in_latex
from fimcheck.theory.writing.python import written as python_source
from fimcheck.theory.writing.unicode import written as in_lines
from fimcheck.verify.claims.extension import ExtensionError, time_limit
from fimcheck.verify.cli.console import err, out
from fimcheck.verify.cli.depth import SYMBOLIC, blocks_of, lines
from fimcheck.verify.cli.kept import write_data
from fimcheck.verify.cli.options import Json

app = typer.Typer()

SECONDS = 5
"""Time that the check of a number against its value to many digits may take."""

LONGEST = 300
"""Most steps of a network whose formula is written out: the time goes with their square."""

# Symbols that a formula may depend on: what is given and does not enter a formula at hand is not a mistake.
SYMBOLS = (
    *("M", "T", "C", "N", "rho", "sigma_w2", "sigma_b2", "gamma", "beta", "last_gamma"),
    *("Q1", "Q2", "Qmax", "R1", "c_2"),
)


@app.command()
def derive(
    quantity: Annotated[str, typer.Argument(help=f"one of {', '.join((*theory.QUANTITIES, *ORDERS))}")],
    network: Annotated[
        str | None,
        typer.Argument(
            help='a network of steps, "dense 2*(skip(layer relu dense)) relu dense", L*(...) for a symbolic number; '
            "a chain if none"
        ),
    ] = None,
    activation: Annotated[str, typer.Option(help='a name ("erf") or an expression in x ("x*Phi(x)**2")')] = "relu",
    hidden: Annotated[
        str, typer.Option(help="none, or a step before every activation: layer, batch, rms, ...")
    ] = "none",
    last: Annotated[str, typer.Option(help="none, mean, batch, layer or softmax")] = "none",
    depth: Annotated[str, typer.Option(help="number of weight layers, or symbolic: the formula in L")] = "3",
    samples: Annotated[str, typer.Option(help="fixed, infinite or proportional (T = M/rho)")] = "fixed",
    given: Annotated[bool, typer.Option("--given", help="given the measured outputs (Q1, Q2, Qmax, R1)")] = False,
    at: Annotated[str | None, typer.Option(help="numbers, such as sigma_w2=2,sigma_b2=0.1,M=1000,T=50")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="print LaTeX")] = False,
    python: Annotated[bool, typer.Option("--python", help="print a function that runs without fimcheck")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="print the one expression written out, without a where-list")
    ] = False,
    steps: Annotated[bool, typer.Option("--steps", help="print the derivation")] = False,
    json: Json = None,
) -> None:
    """Derive a formula from the activation and print it, with its order parameters step by step."""
    style = _style(latex, python, full, steps)
    _check_alone(network, activation, hidden, depth)
    numbers = _numbers(at)
    if depth == "symbolic" or (network and SYMBOLIC.search(network)):
        if steps or full or given or json is not None:
            raise ValueError(
                "a symbolic depth with --steps, --full, --given or --json: they need a number of layers; give one"
            )
        blocks = _blocks(network, activation, hidden, last)
        found = theory.predict(blocks.make(1), quantity, samples)
        check_numbers(found, numbers)
        for text in lines(found, blocks, numbers, style, partial(_listed, style=style)):
            print(text)
        return
    found = theory.predict(_network(network, activation, hidden, last, depth), quantity, samples, given)
    if steps:
        print("\n".join(found.steps()))
    else:
        check_numbers(found, numbers)
        _write(found, numbers, style, full, json)


def _style(latex: bool, python: bool, full: bool, steps: bool) -> str:
    if latex + python + steps > 1 or (full and (python or steps)):
        raise ValueError("--latex, --python, --steps and --full with --python or --steps contradict; give one")
    return "latex" if latex else "python" if python else "text"


def _check_alone(network: str | None, activation: str, hidden: str, depth: str) -> None:
    """Refuse beside a network of steps what it says itself."""
    for name, value, plain in (("activation", activation, "relu"), ("hidden", hidden, "none"), ("depth", depth, "3")):
        if network is not None and value != plain:
            raise ValueError(f"--{name} {value}: the network {network!r} says it itself; leave it out")


def _network(network: str | None, activation: str, hidden: str, last: str, depth: str) -> Composed:
    if network is not None:
        return theory.compose(network, last=last)
    if not depth.isdecimal():
        raise ValueError(f"--depth {depth}: it must be a whole number of at least 2, or symbolic")
    return theory.WideNetwork(int(depth), theory.parse.parse_activation(activation, theory.BUILTIN), hidden, last)


def _blocks(network: str | None, activation: str, hidden: str, last: str) -> Blocks:
    if network is not None:
        return blocks_of(network, last)
    return chain_blocks(theory.parse.parse_activation(activation, theory.BUILTIN), hidden, last)


def _write(found: theory.Prediction, numbers: dict[str, sp.Expr], style: str, full: bool, json: Path | None) -> None:
    """Print a number where every symbol has one, else the formula."""

    @cache  # it may take seconds, and is asked for by the file as by the terminal
    def statement() -> Statement:
        _check_length(found)
        return found.statement(numbers)

    if json is not None:
        write_data(json, _data(found, statement(), numbers))
    if numbers and set(found.symbols) <= numbers.keys():
        values = {name: float(numbers[name]) for name in found.symbols}
        with err.status(f"{found.quantity}: solving"):  # several outputs take half a minute
            number = found.evaluate(**values)
        print(number, flush=True)  # the number alone can be piped; what is known about it may take longer
        if accuracy := found.accuracy(**values):
            print(accuracy, file=sys.stderr)
        elif len(found.network.all_steps) <= LONGEST:
            print(_error(found, statement, numbers, number), file=sys.stderr)
    elif full:
        _print(_substituted(found.expr, numbers), style)
    else:
        print(_listed(statement(), style))
        if numbers and style == "text":
            left = ", ".join(sorted(set(found.symbols) - numbers.keys()))
            print(f"numbers put in for {', '.join(sorted(numbers))}; left open: {left}")


def _data(found: theory.Prediction, statement: Statement, numbers: dict[str, sp.Expr]) -> dict[str, Any]:
    """The statement as LaTeX and as Python, what it rests on, and its value where every number is given."""
    complete = set(found.symbols) <= set(numbers)
    return {
        "quantity": found.quantity,
        "relation": found.relation,
        "samples": found.samples,
        "symbols": found.symbols,
        "conditions": [str(condition) for condition in found.conditions],
        "source": found.source,
        "numbers": {name: float(value) for name, value in numbers.items()},
        "latex": in_latex(statement),
        "python": python_source(statement),
        "value": found.evaluate(**{name: float(numbers[name]) for name in found.symbols}) if complete else None,
    }


def _check_length(found: theory.Prediction) -> None:
    if (size := len(found.network.all_steps)) > LONGEST:
        raise ValueError(
            f"{size} steps: at most {LONGEST} are written out; give a number for every symbol with --at, or ask for "
            "the formula in the depth with --depth symbolic or L*(...)"
        )


def _error(
    found: theory.Prediction, statement: Callable[[], Statement], numbers: dict[str, sp.Expr], number: float
) -> str:
    """How well the number is known."""
    distance = found.distance(**{name: float(numbers[name]) for name in found.symbols})
    known = f"float64; {distance:.1g} off a second route, which only evaluates the activation between its kinks"
    try:
        with time_limit(SECONDS, "its value to more digits"):
            exact = digits.value(statement(), numbers)
    except ExtensionError:
        return (
            f"{known}; not compared with its value to {digits.DIGITS} digits, which takes more than {SECONDS} seconds"
        )
    if exact is None:
        return known
    error = abs(float(exact - sp.Float(number, digits.DIGITS)))
    return f"{known}; {error:.1g} off its value to {digits.DIGITS} digits"


def _listed(statement: Statement, style: str) -> str:
    width = max(60, min(100, out.width)) if out.is_terminal else 100
    written = {"text": lambda s: in_lines(s, width), "latex": in_latex, "python": python_source}
    return written[style](statement)


def check_numbers(found: theory.Prediction, numbers: dict[str, sp.Expr]) -> None:
    """Refuse names that are no symbol of the theory, and values outside of their range."""
    known, chain = set(found.symbols), isinstance(found.network, theory.WideNetwork)
    for name, value in numbers.items():
        if name not in known and name not in SYMBOLS and not (chain and re.fullmatch(r"alpha_\d+", name)):
            raise ValueError(
                f"--at {name}: no symbol has that name; {found.quantity} depends on {', '.join(sorted(known))}"
            )
        check_range(name, np.asarray(float(value)))


def _substituted(expr: sp.Expr, numbers: dict[str, sp.Expr]) -> sp.Expr:
    """With numbers for their symbols; a decimal number where no symbol is left."""
    known = [(s, numbers[s.name]) for s in expr.free_symbols if isinstance(s, sp.Symbol) and s.name in numbers]
    expr = cast(sp.Expr, expr.subs(known))
    if expr.free_symbols:
        return expr
    value = complex(expr)
    if value.imag or not math.isfinite(value.real):
        raise ValueError(f"the formula is {value} at these numbers: variances must be positive, ratios nonzero")
    return sp.Float(value.real)


def _print(expr: sp.Expr, style: str) -> None:
    print(sp.latex(expr) if style == "latex" else sp.pretty(expr, use_unicode=True, wrap_line=False))


def _numbers(text: str | None) -> dict[str, sp.Expr]:
    numbers = {}
    for word in (text or "").replace(" ", "").split(","):
        name, equals, value = word.partition("=")
        if word and not equals:
            raise ValueError(f"--at {text}: {word!r} is not NAME=NUMBER; write for instance sigma_w2=2,T=50")
        if word:
            if name in numbers:
                raise ValueError(f"--at {text}: {name} is given twice; give it once")
            numbers[name] = theory.parse.parse_number(value)
            if numbers[name].is_finite is False:
                raise ValueError(f"--at {text}: {word!r} is not a finite number; give one")
    return numbers
