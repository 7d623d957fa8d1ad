"""The command that writes the formula book."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fimcheck import theory
from fimcheck.theory.writing import book as formula_book
from fimcheck.verify.cli.console import say
from fimcheck.verify.files import write_whole

app = typer.Typer()


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
