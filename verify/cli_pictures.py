"""The commands that draw pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from verify import plots
from verify.files import check_writable
from verify.progress import Watch
from verify.setting import Setting

app = typer.Typer()
out = Console()


@app.command()
def plot(
    file: Annotated[Path, typer.Argument(help="picture to write, .svg or .png")],
    activation: Annotated[str, typer.Option(help="activation of the networks")] = "relu",
    networks: Annotated[int, typer.Option(help="networks per point", min=3)] = 20,
) -> None:
    """Draw lambda_max against the width: no normalization, mean subtraction, batch normalization at the end."""
    if file.suffix not in (".svg", ".png"):
        raise ValueError(f"picture {file}: only .svg and .png are written; choose one of the two")
    check_writable("picture", file)
    with Watch(0, 0, "cpu") as watch:
        plots.sharpness(file, Setting(activation, samples=10), networks, watch.draws)
    out.print(f"wrote {file}", highlight=False)
