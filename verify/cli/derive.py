"""The commands that use the theory alone: derive and book."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import sympy as sp
import typer

from fimcheck import theory
from fimcheck.theory.gaussian import quadrature
from fimcheck.theory.network import depth as depth_module
from fimcheck.theory.network.depth import Blocks
from fimcheck.theory.network.growth import growth
from fimcheck.theory.network.predict import ORDERS
from fimcheck.theory.network.prediction import check_range
from fimcheck.theory.network.where import Statement
from fimcheck.theory.writing import book as formula_book
from fimcheck.theory.writing import digits
from fimcheck.theory.writing.latex import written as in_latex
from fimcheck.theory.writing.python import written as python_source
from fimcheck.theory.writing.unicode import text as one_line
from fimcheck.theory.writing.unicode import written as in_lines
from fimcheck.verify.claims.description import composed, parse, unrolled
from fimcheck.verify.cli.console import out, say
from fimcheck.verify.cli.kept import write_data
from fimcheck.verify.cli.options import Json
from fimcheck.verify.files import write_whole

app = typer.Typer()

SYMBOLIC = re.compile(r"\bL\*")
"""A repeat whose number is a symbol."""
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
    if latex + python + steps > 1 or (full and (python or steps)):
        raise ValueError("--latex, --python, --steps and --full with --python or --steps contradict; give one")
    if network is not None:
        plain = {"activation": "relu", "hidden": "none", "depth": "3"}
        for name, value in (("activation", activation), ("hidden", hidden), ("depth", depth)):
            if value != plain[name]:
                raise ValueError(f"--{name} {value}: the network {network!r} says it itself; leave it out")
    phi = theory.parse.parse_activation(activation, theory.BUILTIN)
    numbers = _numbers(at)
    if depth == "symbolic" or (network and SYMBOLIC.search(network)):
        if steps or full or given or json is not None:
            raise ValueError(
                "a symbolic depth with --steps, --full, --given or --json: they need a number of layers; give one"
            )
        blocks = depth_module.chain_blocks(phi, hidden, last) if network is None else _blocks(network, last)
        for text in _in_depth(blocks, quantity, samples, numbers, latex, python):
            print(text)
        return
    if not depth.isdecimal():
        raise ValueError(f"--depth {depth}: it must be a whole number of at least 2, or symbolic")
    net: theory.WideNetwork | theory.Network = (
        theory.WideNetwork(int(depth), phi, hidden, last)
        if network is None
        else composed(network, last)
    )  # fmt: skip
    found = theory.predict(net, quantity, samples, given)
    if steps:
        print("\n".join(found.steps()))
        return
    check_numbers(quantity, numbers, set(found.symbols))

    @cache  # it may take seconds, and is asked for by the file as by the terminal
    def statement() -> Statement:
        _check_length(found)
        return found.statement(numbers)

    if json is not None:
        write_data(json, _data(found, statement(), numbers))
    if at is not None and set(found.symbols) <= set(numbers):
        values = {name: float(numbers[name]) for name in found.symbols}
        number = found.evaluate(**values)
        print(number)
        if accuracy := found.accuracy(**values):
            print(accuracy, file=sys.stderr)
        elif len(net.all_steps) <= LONGEST:
            print(_digits(statement(), numbers, number), file=sys.stderr)  # the number alone can be piped
    elif full:
        _print(_substituted(found.expr, numbers), latex)
    else:
        print(_listed(statement(), latex, python))
        if numbers and not (latex or python):
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


def _digits(statement: Statement, numbers: dict[str, sp.Expr], number: float) -> str:
    """How well the number is known."""
    exact = digits.value(statement, numbers)
    if exact is None:
        return f"float64; averages without closed form by quadrature, each to {quadrature.TOLERANCE:g} of its size"
    error = abs(float(exact - sp.Float(number, digits.DIGITS)))
    return f"float64; {error:.1g} off its value to {digits.DIGITS} digits"


def _listed(statement: Statement, latex: bool, python: bool) -> str:
    width = max(60, min(100, out.width)) if out.is_terminal else 100
    return python_source(statement) if python else in_latex(statement) if latex else in_lines(statement, width)


def _blocks(text: str, last: str) -> Blocks:
    """The blocks of a network with one L*(...) at the outermost level."""
    if len(SYMBOLIC.findall(text)) != 1:
        raise ValueError(f"network {text!r}: L* stands in it more than once; one repeat may have a symbolic number")
    before = text[: SYMBOLIC.search(text).start()]  # type: ignore[union-attr]
    if before.count("(") != before.count(")") or not before.strip():
        raise ValueError(f"network {text!r}: L* must repeat steps after a first one, outside of other steps; move it")

    def repeated(n: int) -> str:
        return SYMBOLIC.sub(f"{n}*", text)

    first = len(unrolled(parse(before)))
    size = len(unrolled(parse(repeated(2)))) - len(unrolled(parse(repeated(1))))
    return Blocks(
        lambda n: composed(repeated(n), last),
        lambda n: [str(first + size * i) for i in range(n + 1)],
        depth_module.depth,
    )


def _in_depth(
    blocks: Blocks, quantity: str, samples: str, numbers: dict[str, sp.Expr], latex: bool, python: bool
) -> Iterator[str]:
    """The statement in L, the cases in which it is another, and how things grow if all numbers are given."""
    found = theory.predict(blocks.make(1), quantity, samples)
    check_numbers(quantity, numbers, set(found.symbols))
    network = {name for name in found.symbols if name not in ("M", "C", "rho")}
    complete = network <= numbers.keys()
    try:
        for case, statement in depth_module.in_depth(found, blocks, numbers):
            if case is not None and not python:
                yield f"% at {case[0]} = {case[1]}" if latex else f"at {one_line(case[0])} = {case[1]}:"
            if case is None or not python:
                yield _listed(statement, latex, python)
    except depth_module.NotSolvable as error:
        if latex or python or not complete:
            missing = ", ".join(sorted(network - numbers.keys()))
            raise ValueError(f"{error}; give numbers with --at ({missing}) for its growth, or a depth") from None
        yield f"{error}."
    if complete and not (latex or python):
        yield "growth with the number n of blocks at these numbers:"
        for rate in growth(blocks, samples, {name: float(numbers[name]) for name in network}):
            yield f"  {rate}"


def check_numbers(quantity: str, numbers: dict[str, sp.Expr], known: set[str]) -> None:
    """Refuse names that are no symbol of the theory, and values outside of their range."""
    for name, value in numbers.items():
        if name not in known and name not in SYMBOLS and not re.fullmatch(r"alpha_\d+", name):
            raise ValueError(f"--at {name}: no symbol is called so; {quantity} depends on {', '.join(sorted(known))}")
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


def _print(expr: sp.Expr, latex: bool) -> None:
    print(sp.latex(expr) if latex else sp.pretty(expr, use_unicode=True, wrap_line=False))


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


@app.command()
def book(
    file: Annotated[Path, typer.Argument(help="formula book to write, .html or .md")],
    activation: Annotated[
        list[str] | None, typer.Option(help=f"activations; {', '.join(formula_book.ACTIVATIONS)} when none")
    ] = None,
    record: Annotated[Path | None, typer.Option(help="results.json of a run, whose verdicts are shown (.html)")] = None,
) -> None:
    """Write the formula book: closed forms and certificates of every activation, statements of every network."""
    if file.suffix not in (".html", ".md"):
        raise ValueError(f"book {file}: only .html and .md are written; choose one of the two")
    if not file.parent.is_dir():
        raise ValueError(f"book {file}: the folder {file.parent} does not exist; make it first")
    names = activation or formula_book.ACTIVATIONS
    if file.suffix == ".md":
        if record is not None:
            raise ValueError(f"--record {record}: verdicts are shown on a page; write an .html")
        write_whole(file, theory.book(names))
    else:
        from fimcheck.verify.show.book import render  # jinja2 and MathML, which no other command here needs
        from fimcheck.verify.show.record import read

        write_whole(file, render(names, None if record is None else read(record)))
    say(f"wrote {file}")
