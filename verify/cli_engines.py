"""The commands that use one engine alone: derive and book (theory), measure (numerics)."""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path
from typing import Annotated, cast
from zipfile import BadZipFile

import numpy as np
import sympy as sp
import torch
import typer
from rich.console import Console

import numerics
import theory
from theory.network.prediction import check_range
from verify.description import parse, unrolled, uses_positions

app = typer.Typer()
out = Console()

ORDERS = ("kappa1", "kappa2")
# Symbols that a formula may depend on: what is given and does not enter a formula at hand is no mistake.
SYMBOLS = (
    *("M", "T", "C", "N", "rho", "sigma_w2", "sigma_b2", "gamma", "beta", "last_gamma"),
    *("Q1", "Q2", "Qmax", "R1", "c_2"),
)


@app.command()
def derive(
    quantity: Annotated[str, typer.Argument(help=f"one of {', '.join((*theory.QUANTITIES, *ORDERS))}")],
    network: Annotated[
        str | None,
        typer.Argument(help='a network of steps, "dense 2*(skip(layer relu dense)) relu dense"; a chain if none'),
    ] = None,
    activation: Annotated[str, typer.Option(help='a name ("erf") or an expression in x ("x*Phi(x)**2")')] = "relu",
    hidden: Annotated[
        str, typer.Option(help="none, or a step before every activation: layer, batch, rms, ...")
    ] = "none",
    last: Annotated[str, typer.Option(help="none, mean, batch, layer or softmax")] = "none",
    depth: Annotated[str, typer.Option(help="number of weight layers, or symbolic (kappa1, homogeneous phi)")] = "3",
    samples: Annotated[str, typer.Option(help="fixed, infinite or proportional (T = M/rho)")] = "fixed",
    given: Annotated[bool, typer.Option("--given", help="given the measured outputs (Q1, Q2, Qmax, R1)")] = False,
    at: Annotated[str | None, typer.Option(help="numbers, such as sigma_w2=2,sigma_b2=0.1,M=1000,T=50")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="print LaTeX")] = False,
    python: Annotated[bool, typer.Option("--python", help="print a function that runs without fimcheck")] = False,
    steps: Annotated[bool, typer.Option("--steps", help="print the derivation")] = False,
) -> None:
    """Derive a formula from the activation's expression and print it."""
    if network is not None:
        plain = {"activation": "relu", "hidden": "none", "depth": "3"}
        for name, value in (("activation", activation), ("hidden", hidden), ("depth", depth)):
            if value != plain[name]:
                raise ValueError(f"--{name} {value}: the network {network!r} says it itself; leave it out")
    phi = theory.parse.parse_activation(activation, theory.BUILTIN)
    if depth == "symbolic":
        if quantity != "kappa1":
            raise ValueError(f"--depth symbolic with {quantity}: only kappa1 is solved in the depth; give a number")
        if (
            (hidden, last, samples) != ("none", "none", "fixed")
            or network is not None
            or at
            or steps
            or python
            or given
        ):
            raise ValueError(
                "--depth symbolic: kappa1 is solved in the depth for a plain chain alone; leave other options than "
                "--activation and --latex out"
            )
        _print(theory.phase.solve_in_depth(phi).kappa1, latex)
        return
    if not depth.isdecimal():
        raise ValueError(f"--depth {depth}: it must be a whole number of at least 2, or symbolic")
    net: theory.WideNetwork | theory.Network = (
        theory.WideNetwork(int(depth), phi, hidden, last)
        if network is None
        else theory.compose(unrolled(parse(network)), last=last,
                            positions=theory.symbols.N if uses_positions(network) else 1,
                            text=network)
    )  # fmt: skip
    if quantity in ORDERS:
        expr = sp.sympify(getattr(theory.order_parameters(net, samples), quantity))
        if steps or python:
            raise ValueError(f"--steps or --python with {quantity}: they belong to {', '.join(theory.QUANTITIES)}")
        numbers = _numbers(at)
        known = {s.name for s in expr.free_symbols}  # type: ignore[attr-defined]
        check_numbers(quantity, numbers, known | {s.name for s in net.open_symbols})
        _print(_substituted(expr, numbers), latex)
        return
    found = theory.predict(net, quantity, samples, given)
    if steps:
        print("\n".join(found.steps()))
    elif python:
        print(found.python())
    elif at is not None:
        numbers = _numbers(at)
        check_numbers(quantity, numbers, set(found.symbols))
        if set(found.symbols) <= set(numbers):
            print(found.evaluate(**{name: float(numbers[name]) for name in found.symbols}))
        else:
            _print(_substituted(found.expr, numbers), latex)
    else:
        relation = {"equals": "~", "at least": ">=", "at most": "<="}[found.relation]
        if not latex:
            print(f"{quantity} {relation} {found.formula}   [{found.source}]\n")
        _print(found.expr, latex)


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
    activation: Annotated[list[str] | None, typer.Option(help="activations; all built-in ones when none")] = None,
) -> None:
    """Write the formula book: for every activation the recursion, closed forms, predictions and certificates."""
    if file.suffix not in (".html", ".md"):
        raise ValueError(f"book {file}: only .html and .md are written; choose one of the two")
    if not file.parent.is_dir():
        raise ValueError(f"book {file}: the folder {file.parent} does not exist; make it first")
    text = theory.book(activation or tuple(theory.BUILTIN), file.suffix[1:])
    file.write_text(text)
    out.print(f"wrote {file}", highlight=False)


@app.command()
def measure(
    module: Annotated[str, typer.Option(help="FILE.py:make, a function that returns a torch.nn.Module; runs its code")],
    inputs: Annotated[Path, typer.Option(help="an .npz file with an array named inputs, (T, ...)")],
    loss: Annotated[str, typer.Option(help="squared or softmax")] = "squared",
    method: Annotated[str, typer.Option(help="exact or matrix-free")] = "exact",
    count: Annotated[int, typer.Option(help="how many of the largest eigenvalues")] = 5,
    density: Annotated[
        int, typer.Option(help="Lanczos steps for the distribution of the eigenvalues (matrix-free)", min=0)
    ] = 0,
) -> None:
    """Measure the Fisher spectrum of any torch module on given inputs, in the mode that the module is in."""
    made = load(module)
    dtype = next((p.dtype for p in made.parameters()), torch.float64)
    data = torch.as_tensor(_array(inputs), dtype=dtype)
    try:
        found = numerics.spectrum(made, data, loss=loss, method=method, count=count, density_steps=density)
    except RuntimeError as error:  # torch's word for shapes that do not fit
        raise ValueError(f"--module {module} on inputs of shape {tuple(data.shape)}: {error}") from error
    out.print(f"P = {found.parameters}, T = {found.samples}, C = {found.outputs}, {found.method}", highlight=False)
    out.print(f"m = tr F/P   = {found.m:.6g} +- {found.m_error:.1g}", highlight=False)
    out.print(f"s = tr F^2/P = {found.s:.6g} +- {found.s_error:.1g}", highlight=False)
    for i, (value, error) in enumerate(zip(found.top, found.top_errors, strict=True), 1):
        out.print(f"lambda_{i}     = {float(value):.6g} +- {float(error):.1g}", highlight=False)
    if found.density is not None:
        for power in range(6):
            edge = found.lambda_max * 10.0**-power
            above = found.density.below(edge)
            share, error = 1 - float(above.value), float(above.error)
            out.print(f"share of eigenvalues above {edge:9.3g}: {share:.4f} +- {error:.1g}", highlight=False)
    for note in found.notes:
        out.print(note, highlight=False)


def _array(file: Path) -> np.ndarray:
    """The array named inputs of an .npz file, real and finite."""
    try:
        data = np.load(file, allow_pickle=False)["inputs"]
    except (OSError, EOFError, IndexError, KeyError, ValueError, BadZipFile) as error:
        raise ValueError(f"--inputs {file}: {error}; give an .npz file with an array named inputs") from None
    if data.dtype.kind not in "fiub" or not np.isfinite(data).all():
        raise ValueError(f"--inputs {file}: values of type {data.dtype} must be real and finite; clean them first")
    return data


def load(text: str) -> torch.nn.Module:
    """The module that FILE.py:FUNCTION makes; the file's code is run. Every failure is a ValueError that names it."""
    path, colon, name = text.rpartition(":")
    if not colon or not Path(path).is_file():
        raise ValueError(f"--module {text}: it must be FILE.py:FUNCTION with a file that exists")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"--module {text}: {path} is no Python file; give one that ends in .py")
    loaded = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:
        raise ValueError(f"--module {text}: running {path} raised {type(error).__name__}: {error}") from error
    if not callable(getattr(loaded, name, None)):
        raise ValueError(f"--module {text}: {path} has no function {name!r}; name one that returns the module")
    try:
        made = getattr(loaded, name)()
    except Exception as error:
        raise ValueError(f"--module {text}: {name}() raised {type(error).__name__}: {error}") from error
    if not isinstance(made, torch.nn.Module):
        raise ValueError(f"--module {text}: {name}() returned {type(made).__name__}, not a torch.nn.Module")
    return made
