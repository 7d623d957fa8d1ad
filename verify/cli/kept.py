"""What a run leaves behind: the complete record as JSON, and the page."""

from __future__ import annotations

import json as text
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from fimcheck.verify.cli.console import say
from fimcheck.verify.draws.store import plain
from fimcheck.verify.files import write_whole


@dataclass(frozen=True)
class Kept:
    """Where the user wants the record and the page; the options that name them have tried both places."""

    json: Path | None
    report: Path | None = None

    def write(self, make: Callable[[], dict[str, Any]]) -> None:
        """Write the record that is made, if anybody wants it."""
        if self.json is None and self.report is None:
            return
        from fimcheck.verify.show import html, record  # torch, which commands about formulas do without

        made = make()
        if self.json is not None:
            record.write(self.json, made)
            say(f"complete record: {self.json}")
        if self.report is not None:
            html.write_report(self.report, made)
            say(f"report: {self.report / 'index.html'}")


def write_data(file: Path | None, data: Any) -> None:
    """Write what a command found as JSON, if a file is named, which the option has tried."""
    if file is not None:
        write_whole(file, text.dumps(plain(data), allow_nan=False, indent=1))
        typer.echo(f"data: {file}", err=True)  # what is printed may be piped
