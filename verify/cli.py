"""The command `fimcheck`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from verify import report, suite
from verify.check import Effort, Verdict
from verify.claims import CLAIMS
from verify.draws import Draws
from verify.setting import Setting

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
out = Console()
err = Console(stderr=True)

# The first look of --quick may cost this much per claim, and is doubled once; see draws.cost.
QUICK = Effort(error_rate=0.01, looks=2, budget=6e8)
FULL = Effort(error_rate=0.01, looks=4, budget=4e10)


@app.callback()
def describe() -> None:
    """Does a formula about wide random networks hold? Derive it, measure it, judge it."""


@app.command()
def claims() -> None:
    """List the claims that can be tested."""
    for claim in CLAIMS.values():
        out.print(f"[bold]{claim.id}[/]  {claim.statement}", highlight=False)


@app.command()
def verify(
    claim: Annotated[list[str] | None, typer.Argument(help="claims to test; all when none is named")] = None,
    activation: Annotated[list[str] | None, typer.Option(help="activations to test them with")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="about two minutes on 2 cores")] = False,
    eps: Annotated[float, typer.Option(help="relative error that counts as agreement")] = 0.05,
    json: Annotated[Path | None, typer.Option(help="write the complete record to this file")] = None,
    seed_block: Annotated[int, typer.Option(help="which independent stream of seeds to draw from")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
) -> None:
    """Test the paper claim by claim on sampled networks. Exit code 0 only if every verdict is AGREE."""
    unknown = sorted(set(claim or ()) - set(CLAIMS))
    if unknown:
        raise ValueError(f"claim {unknown[0]!r} is unknown; `fimcheck claims` lists them")
    if json is not None and not json.parent.is_dir():
        raise ValueError(f"--json {json}: the folder {json.parent} does not exist; make it first")
    base = QUICK if quick else FULL
    effort = Effort(eps, base.error_rate, base.looks, base.budget)
    todo = suite.cases([CLAIMS[c] for c in claim or CLAIMS], activation or suite.ACTIVATIONS)
    verdicts: list[Verdict] = []
    drawn: dict[Setting, Draws] = {}
    interrupted = False
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        total = progress.add_task("claims", total=len(todo))
        now = progress.add_task("", total=None)

        def make_draws(setting: Setting, quantities: set[str]) -> Draws:
            drawn[setting] = Draws(
                setting,
                quantities,
                seed_block=seed_block,
                device=device,
                progress=lambda text: progress.update(now, description=text),
            )
            return drawn[setting]

        try:
            for verdict in suite.run(
                todo, effort, make_draws, lambda c: progress.update(total, description=c.claim.id)
            ):
                verdicts.append(verdict)
                progress.advance(total)
        except KeyboardInterrupt:
            interrupted = True
    out.print(report.table(verdicts))
    out.print(report.summary(verdicts), highlight=False, markup=False)
    if json is not None:
        report.write_record(json, verdicts, list(drawn.values()), effort)
        out.print(f"complete record: {json}", highlight=False)
    if interrupted:
        err.print(f"interrupted: {len(todo) - len(verdicts)} of {len(todo)} cases not tested")
        raise typer.Exit(130)
    raise typer.Exit(0 if all(v.status == "AGREE" for v in verdicts) else 1)


def main() -> None:
    """Entry point: every refusal of a value becomes one line on standard error and exit code 2."""
    try:
        app()
    except ValueError as refusal:
        err.print(f"fimcheck: {refusal}", style="red", markup=False, highlight=False)
        sys.exit(2)
