"""The commands for many settings at once: sweep, and table for what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from signal import SIGINT, signal
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fimcheck.verify.cli.console import say, show
from fimcheck.verify.cli.options import Device, Folder, Scheduler, SeedBlock, Workers
from fimcheck.verify.draws.pool import make
from fimcheck.verify.draws.store import Store
from fimcheck.verify.files import check_writable
from fimcheck.verify.show.progress import err, note
from fimcheck.verify.sweep import grid as grids
from fimcheck.verify.sweep import sweep as sweeps
from fimcheck.verify.sweep import table as tidy

app = typer.Typer()


@app.command()
def sweep(
    grid: Annotated[Path, typer.Argument(help="a TOML file: the axes, what to measure, how many networks")],
    store: Folder,
    seed_block: SeedBlock = 0,
    device: Device = "cpu",
    dask: Scheduler = None,
    workers: Workers = None,
) -> None:
    """Measure, and predict, every point of a grid. Exit code 0 only if all are done and finite."""
    points = grids.load(grid, seed_block, device)
    kept = Store(store)
    todo = sweeps.missing(points, kept)
    note(f"{len(points)} points, {len(points) - len(todo)} of them in {store} already")
    counts = {True: 0, False: 0}
    with (
        make(device, dask, workers) or nullcontext() as pool,
        Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"),
                 TimeRemainingColumn(), console=err, transient=True) as bar,
        _patience() as stopped,
    ):  # fmt: skip
        shown = bar.add_task("", total=sum(point.cost() for point in todo))

        def finished(point: grids.Point, well: bool) -> None:
            counts[well] += 1
            words = f"{counts[True]} of {len(todo)} points done, {counts[False]} failed"
            bar.update(shown, advance=point.cost(), description=words)

        sweeps.run(todo, kept, pool, stopped, finished)
    done = len(points) - len(todo) + counts[True]
    say(f"{done} of {len(points)} points done, {counts[False]} failed; see them with: fimcheck table {store}")
    if sum(counts.values()) < len(todo):
        note("interrupted: the same command computes what is missing, and nothing twice")
        raise typer.Exit(130)
    empty = sweeps.not_finite(points, kept)
    if empty:
        note(f"{empty} of the points that are done have draws that are not finite")
    raise typer.Exit(1 if counts[False] or empty else 0)


@contextmanager
def _patience() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C only asks to stop, so that what is being measured is kept; the second one stops at once."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True
        signal(SIGINT, before)
        note("stopping when what runs now is kept; Ctrl-C again stops at once and loses it")

    before = signal(SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal(SIGINT, before)


@app.command()
def table(
    folder: Annotated[Path, typer.Argument(help="a store that sweeps wrote")],
    csv: Annotated[Path | None, typer.Option(help="write it to this file as CSV")] = None,
    parquet: Annotated[Path | None, typer.Option(help="write it to this file as Parquet (extra: table)")] = None,
) -> None:
    """The results of all sweeps in a store, one row a point and quantity."""
    if not folder.is_dir():
        raise ValueError(f"store {folder}: there is no such folder; fimcheck sweep GRID.toml --store {folder} makes it")
    rows = tidy.rows(Store(folder))
    if not rows:
        raise ValueError(f"store {folder}: it holds no point of a sweep; fill it with fimcheck sweep")
    for file, write in ((csv, tidy.write_csv), (parquet, tidy.write_parquet)):
        if file is not None:
            check_writable("table", file)
            write(file, rows)
            say(f"wrote {file}: {len(rows)} rows")
    if csv is None and parquet is None:
        show(tidy.shown(rows))
