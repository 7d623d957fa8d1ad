"""Where the commands write."""

from __future__ import annotations

import os
import sys

from rich.console import Console, RenderableType

# Columns of what is not a terminal: a table in a file or a pipe is as wide as it has to be.
PIPED = 250


def _columns() -> int | None:
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED


out = Console(width=_columns(), markup=False, emoji=False, highlight=False)
err = Console(stderr=True, emoji=False)


def say(text: str, style: str | None = None) -> None:
    """A text as it is: never wrapped, and no brackets or colons in it taken for markup."""
    out.print(text, style=style, soft_wrap=True)
    sys.stdout.flush()  # what is piped is read as it comes, and stands before what standard error says next


def show(table: RenderableType) -> None:
    """A table, which folds its columns where the terminal is too narrow for it."""
    out.print(table)
    sys.stdout.flush()
