"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fimcheck.verify.files import check_folder, check_writable

SeedBlock = Annotated[int, typer.Option(help="which independent stream of seeds to draw from")]
Device = Annotated[str, typer.Option(help="cpu or cuda")]


def _file(ctx: typer.Context, param: typer.CallbackParam, value: Path | None) -> Path | None:
    """Tried by writing before the work that would be lost; not while a shell only completes the line."""
    if value is not None and not ctx.resilient_parsing:
        check_writable(f"--{param.name}", value)
    return value


def _folder(ctx: typer.Context, value: Path | None) -> Path | None:
    if value is not None and not ctx.resilient_parsing:
        check_folder("--report", value)
    return value


Json = Annotated[
    Path | None, typer.Option("--json", help="write everything found to this file, as JSON", callback=_file)
]
Plot = Annotated[
    Path | None, typer.Option("--plot", help="lambda_max against the width as .svg or .png", callback=_file)
]
ReportTo = Annotated[
    Path | None,
    typer.Option("--report", help="write results.json and index.html, a page for any browser, here", callback=_folder),
]
Budget = Annotated[
    str | None,
    typer.Option(help="time for the first look at all claims, as a planned number of draws: 90s, 10m, 1h"),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress and no table: the summary alone")]
Folder = Annotated[Path, typer.Option("--store", help="folder of results; what is in it is not measured again")]
MaybeFolder = Annotated[
    Path | None, typer.Option("--store", help="folder to keep draws in; what is in it is not measured again")
]
Scheduler = Annotated[
    str | None, typer.Option("--dask", help="run on this dask scheduler, such as tcp://host:8786 (extra: dask)")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", help="run on a dask cluster of so many workers here (extra: dask)", min=1),
]
