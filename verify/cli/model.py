"""The commands about a reader's own torch model: sharpness and coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from fimcheck.verify.cli.console import out, say
from fimcheck.verify.cli.kept import write_data
from fimcheck.verify.cli.options import Json, Plot, Quiet
from fimcheck.verify.draws.pool import Processes
from fimcheck.verify.models import coordinates as trained
from fimcheck.verify.models import sharpness as measured
from fimcheck.verify.models import shown
from fimcheck.verify.models.model import Loss, Model, load
from fimcheck.verify.models.sharpness import NETWORKS, RHO, SAMPLES, Growth, cases
from fimcheck.verify.show.plots import check_suffix
from fimcheck.verify.show.progress import Watch

app = typer.Typer()

File = Annotated[Path, typer.Argument(help="defines build(width) and batch(samples, generator); its code is run")]
Data = Annotated[Path | None, typer.Option("--data", help="an .npy file of inputs (N, ...) in place of batch")]
Widths = Annotated[str | None, typer.Option(help="at least five widths, such as 64,128,256,512,1024")]
LossOf = Annotated[str, typer.Option("--loss", help="squared or softmax")]


@app.command()
def sharpness(
    file: File,
    data: Data = None,
    loss: LossOf = "squared",
    widths: Widths = None,
    samples: Annotated[int, typer.Option(help="number of samples T where it is fixed", min=1)] = SAMPLES,
    rho: Annotated[float, typer.Option(help="M/T where samples go with the width")] = RHO,
    only: Annotated[str | None, typer.Option(help="fixed or proportional; both if none")] = None,
    networks: Annotated[int, typer.Option(help="most networks per width", min=4, max=10_000)] = NETWORKS,
    plot: Plot = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Which eigenvalues of a model's Fisher matrix grow with its width? Exit code 0 only if lambda_max is bounded."""
    if plot is not None:
        check_suffix("--plot", plot)
    if only not in (None, "fixed", "proportional"):
        raise ValueError(f"--only {only}: samples are fixed or proportional; name one of the two, or leave it out")
    _check_loss(loss)
    model = _load(file, data)
    todo = cases(_numbers(widths) or model.widths, samples, rho, only != "proportional", only != "fixed")
    found: list[Growth] = []
    with Processes() as pool, Watch(len(todo), quiet) as watch, watch.until_stopped():
        for case in todo:
            watch.start_on(str(case))
            found.append(measured.growth(model, case, cast(Loss, loss), networks, pool, watch.say))
    for growth in found:
        for sentence in shown.sentences(growth):
            say(sentence)
    if found and not quiet:
        out.print(shown.table(found), markup=True)
    if found and plot is not None:
        shown.draw(plot, found)
        say(f"wrote {plot}")
    write_data(json, {"model": str(file), "loss": loss, "cases": [growth.record() for growth in found]})
    watch.end_if_stopped(f"{len(todo) - len(found)} of {len(todo)} cases not measured")
    raise typer.Exit(0 if all(growth.verdict == "bounded" for growth in found) else 1)


@app.command()
def coordinates(
    file: File,
    data: Data = None,
    loss: LossOf = "squared",
    steps: Annotated[int, typer.Option(help="steps of training", min=1, max=1000)] = trained.STEPS,
    optimizer: Annotated[str, typer.Option(help="adam or sgd, where the file defines none")] = "adam",
    rate: Annotated[float, typer.Option("--lr", help="learning rate")] = 1e-2,
    widths: Widths = None,
    samples: Annotated[int, typer.Option(help="number of samples of the batch", min=1)] = trained.SAMPLES,
    networks: Annotated[int, typer.Option(help="most networks per width", min=2, max=10_000)] = trained.NETWORKS,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Does what every module of a model gives, and learns, keep its size as the width grows? Exit code 0 only if so."""
    _check_loss(loss)
    model = _load(file, data)
    with Processes() as pool, Watch(1, quiet) as watch:
        watch.start_on("coordinates")
        found = trained.check(
            model, _numbers(widths), samples, steps, optimizer, rate, cast(Loss, loss), networks, pool, watch.say
        )
    if not quiet:
        out.print(shown.coordinates(found), markup=True)
    say(shown.broken(found))
    write_data(json, {"model": str(file), "optimizer": optimizer, "rate": rate, "loss": loss} | found.record())
    raise typer.Exit(0 if found.agrees else 1)


def _load(file: Path, data: Path | None) -> Model:
    say(f"Running the code of {file}.")
    return load(file.resolve(), "", None if data is None else data.resolve())


def _check_loss(loss: str) -> None:
    if loss not in ("squared", "softmax"):
        raise ValueError(f"--loss {loss}: it is squared or softmax; name one of the two")


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise ValueError(f"--widths {text}: they must be whole numbers, such as 64,128,256,512,1024")
    return [int(word) for word in words]
