"""What a long run shows while it runs, on standard error."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from fimcheck.verify.judge.suite import Case

err = Console(stderr=True, emoji=False)


def note(text: str, style: str | None = None) -> None:
    """A line about the run, on standard error."""
    err.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


class TimeLeft(TimeRemainingColumn):
    """The time left at the mean speed until now, for work whose end is known."""

    def render(self, task: Task) -> Text:
        if task.total is None or task.completed <= 1 or task.elapsed is None:
            return Text("")
        left = max(0.0, task.elapsed * (task.total / (task.completed - 1) - 1))  # the last one has only begun
        return Text(f"left: {int(left // 60)}:{int(left % 60):02}", style="progress.remaining")


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, in the main thread and where the system has them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    names = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(name, stop) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


class Watch(Progress):
    """What is being tested and measured now, on standard error. quiet: show nothing."""

    def __init__(self, total: int, quiet: bool = False) -> None:
        def whole(width: int) -> Column:
            return Column(min_width=width, no_wrap=True)

        # What is printed meanwhile goes through this display if both are on the terminal, and else where it belongs.
        super().__init__(
            SpinnerColumn(),
            # The only column that gives way where the terminal is narrow: counts and times are never cut.
            TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            BarColumn(12),
            MofNCompleteColumn(table_column=whole(7)),
            TimeElapsedColumn(table_column=whole(7)),
            TimeLeft(table_column=whole(12)),
            expand=True,
            console=err,
            transient=True,
            disable=quiet,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._total = self.add_task("claims", total=total)
        self._now = self.add_task("", total=None)
        self._cause: BaseException | None = None

    @contextmanager
    def until_stopped(self) -> Iterator[None]:
        """Work that may be interrupted or break: what is done by then can be shown and kept before `end_if_stopped`.

        An end asked for by a signal (a closed terminal, a batch system's time limit) is taken as Ctrl-C is.
        """
        try:
            with _signals_interrupt():
                yield
        except (KeyboardInterrupt, Exception) as cause:
            self._cause = cause

    def end_if_stopped(self, left: str, kept: bool = False) -> None:
        """End the command with the cause in one line; left: what was not done; kept: what was is in a store."""
        if self._cause is None:
            return
        if isinstance(self._cause, ValueError):
            raise self._cause
        by_hand = isinstance(self._cause, KeyboardInterrupt)
        word = "interrupted" if by_hand else f"stopped by {type(self._cause).__name__}: {self._cause}"
        resume = "; the same command goes on from what is kept" if kept else ""
        note(f"{word}: {left}{resume}")
        raise typer.Exit(130 if by_hand else 3)

    def case(self, case: Case) -> None:
        """The next case."""
        self.start_on(case.claim.id)

    def start_on(self, name: str) -> None:
        """The next of the total, by name."""
        self.update(self._total, description=name, advance=1)

    def say(self, text: str) -> None:
        """What is done now."""
        self.update(self._now, description=text)
