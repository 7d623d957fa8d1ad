"""The command that measures a torch module of the user's."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Annotated
from zipfile import BadZipFile

import numpy as np
import torch
import typer
from rich.console import Console

import numerics

app = typer.Typer()
out = Console()


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
    if not all(map(math.isfinite, (found.m, found.s))):
        raise ValueError(
            f"--module {module}: its outputs or their derivatives on --inputs are not finite, so there is no spectrum; "
            "look for an overflow or a division by zero"
        )
    out.print(f"P = {found.parameters}, T = {found.samples}, C = {found.outputs}, {found.method}", highlight=False)
    out.print(f"m = tr F/P   = {_pm(found.m, found.m_error)}", highlight=False)
    out.print(f"s = tr F^2/P = {_pm(found.s, found.s_error)}", highlight=False)
    for i, (value, error) in enumerate(zip(found.top, found.top_errors, strict=True), 1):
        out.print(f"lambda_{i}     = {_pm(float(value), float(error))}", highlight=False)
    if found.density is not None:
        for power in range(6):
            edge = found.lambda_max * 10.0**-power
            above = found.density.below(edge)
            share, error = 1 - float(above.value), float(above.error)
            out.print(f"share of eigenvalues above {edge:9.3g}: {share:.4f} +- {error:.1g}", highlight=False)
    for note in found.notes:
        out.print(note, highlight=False)


def _pm(value: float, error: float) -> str:
    """A number with its error, if it has one: what the exact route computes has rounding only."""
    return f"{value:.6g} +- {error:.1g}" if error else f"{value:.6g} (exact)"


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
    except (Exception, SystemExit) as error:
        raise ValueError(f"--module {text}: running {path} raised {type(error).__name__}: {error}") from error
    if not callable(getattr(loaded, name, None)):
        raise ValueError(f"--module {text}: {path} has no function {name!r}; name one that returns the module")
    try:
        made = getattr(loaded, name)()
    except (Exception, SystemExit) as error:
        raise ValueError(f"--module {text}: {name}() raised {type(error).__name__}: {error}") from error
    if not isinstance(made, torch.nn.Module):
        raise ValueError(f"--module {text}: {name}() returned {type(made).__name__}, not a torch.nn.Module")
    return made
