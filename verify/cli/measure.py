"""The command that measures a torch module of the user's."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any
from zipfile import BadZipFile

import numpy as np
import torch
import typer

from fimcheck import numerics
from fimcheck.numerics.module_difference import held
from fimcheck.verify.claims.extension import SECONDS, ExtensionError, time_limit
from fimcheck.verify.cli.console import say
from fimcheck.verify.cli.kept import write_data
from fimcheck.verify.cli.options import Json
from fimcheck.verify.models.model import ModelError, run_file

app = typer.Typer()


@app.command()
def measure(
    module: Annotated[str, typer.Option(help="FILE.py:make, a function that returns a torch.nn.Module; runs its code")],
    inputs: Annotated[Path, typer.Option(help="an .npz file with an array named inputs, (T, ...)")],
    loss: Annotated[str, typer.Option(help="squared, softmax or logistic")] = "squared",
    method: Annotated[str, typer.Option(help="exact, rows or matrix-free")] = "exact",
    count: Annotated[int, typer.Option(help="how many of the largest eigenvalues")] = 5,
    density: Annotated[
        int, typer.Option(help="Lanczos steps for the distribution of the eigenvalues (matrix-free)", min=0)
    ] = 0,
    json: Json = None,
) -> None:
    """Measure the Fisher spectrum of any torch module on given inputs, in the mode that the module is in."""
    made = load(module)
    dtype = next((p.dtype for p in made.parameters()), torch.float64)
    data = torch.as_tensor(_array(inputs), dtype=dtype)
    try:
        with time_limit(SECONDS, f"--module {module}: a run on --inputs"), held(made), torch.no_grad():
            made(data.clone())  # that it ends at all
        found = numerics.spectrum(made, data, loss=loss, method=method, count=count, density_steps=density)
    except RuntimeError as error:  # torch's word for shapes that do not fit
        raise ValueError(f"--module {module} on inputs of shape {tuple(data.shape)}: {error}") from error
    if not all(map(math.isfinite, (found.m, found.s))):
        raise ValueError(
            f"--module {module}: its outputs or their derivatives on --inputs are not finite, so there is no spectrum; "
            "look for an overflow or a division by zero"
        )
    say(f"P = {found.parameters}, T = {found.samples}, C = {found.outputs}, {found.method}")
    say(f"m = tr F/P   = {_pm(found.m, found.m_error)}")
    say(f"s = tr F^2/P = {_pm(found.s, found.s_error)}")
    for i, (value, error) in enumerate(zip(found.top, found.top_errors, strict=True), 1):
        say(f"lambda_{i}     = {_pm(float(value), float(error))}")
    if found.density is not None:
        for power in range(6):
            edge = found.lambda_max * 10.0**-power
            above = found.density.below(edge)
            share, error = 1 - float(above.value), float(above.error)
            say(f"share of eigenvalues above {edge:9.3g}: {share:.4f} +- {error:.1g}")
    say(f"Jacobian     = a difference of the outputs along a random direction, to {found.distance:.1g}")
    for note in found.notes:
        say(note)
    write_data(json, _plain(found))


def _pm(value: float, error: float) -> str:
    """A number with its error, which is that of rounding at the least."""
    return f"{value:.6g} +- {error:.1g}"


def _array(file: Path) -> np.ndarray:
    """The array named inputs of an .npz file, real and finite."""
    try:
        data = np.load(file, allow_pickle=False)["inputs"]
    except (OSError, EOFError, IndexError, KeyError, ValueError, BadZipFile) as error:
        raise ValueError(f"--inputs {file}: {error}; give an .npz file with an array named inputs") from None
    if data.dtype.kind not in "fiub" or not np.isfinite(data).all():
        raise ValueError(f"--inputs {file}: values of type {data.dtype} must be real and finite; clean them first")
    if not data.size:
        raise ValueError(f"--inputs {file}: shape {data.shape} holds no sample; give at least one")
    return data


def _plain(found: numerics.Spectrum) -> dict[str, Any]:
    """The spectrum as plain data; of a density the share of eigenvalues is printed and not kept."""
    facts = {f.name: getattr(found, f.name) for f in fields(found) if f.name != "density"}
    return {name: v.tolist() if isinstance(v, torch.Tensor) else v for name, v in facts.items()}


def load(text: str) -> torch.nn.Module:
    """The module that FILE.py:FUNCTION makes; the file's code is run. Every failure is a ValueError that names it."""
    path, colon, name = text.rpartition(":")
    if not colon or not Path(path).is_file():
        raise ValueError(f"--module {text}: it must be FILE.py:FUNCTION with a file that exists")
    try:
        loaded = run_file(Path(path))
    except ModelError as error:
        raise ValueError(f"--module {text}: {error}") from error
    if not callable(getattr(loaded, name, None)):
        raise ValueError(f"--module {text}: {path} has no function {name!r}; name one that returns the module")
    try:
        with time_limit(SECONDS, f"--module {text}: {name}()"):
            made = getattr(loaded, name)()
    except ExtensionError:
        raise
    except (Exception, SystemExit) as error:
        raise ValueError(f"--module {text}: {name}() raised {type(error).__name__}: {error}") from error
    if not isinstance(made, torch.nn.Module):
        raise ValueError(f"--module {text}: {name}() returned {type(made).__name__}, not a torch.nn.Module")
    return made
