"""Options that several commands share."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

# Sampled weights per second and core that a time budget is turned into draws with. A constant, not a measurement:
# the plan of a run must not depend on how busy the machine is.
NOMINAL_RATE = 8e7

SeedBlock = Annotated[int, typer.Option(help="which independent stream of seeds to draw from")]
Device = Annotated[str, typer.Option(help="cpu or cuda")]
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


def planned(text: str, cases: int) -> float:
    """The budget of one case, in sampled weights, when the first looks at all may take a time such as 90s, 10m or 1.5h;
    a number alone counts minutes.
    """
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)([smh]?)", text)
    if not found:
        raise ValueError(f"--budget {text}: it must be a time such as 90s, 10m or 1.5h; give one")
    seconds = float(found[1]) * {"s": 1, "m": 60, "": 60, "h": 3600}[found[2]]
    return seconds * NOMINAL_RATE * (os.cpu_count() or 1) / max(1, cases)
