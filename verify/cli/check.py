"""The command that examines a theory extension: check."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from verify import page, record, report, suite
from verify.cli.options import Device, MaybeFolder, SeedBlock, planned
from verify.examine import Stage, claim_cases, examine, order_cases
from verify.extension import Extension, ExtensionError, load, place
from verify.files import check_folder, check_writable
from verify.progress import Watch
from verify.setting import Setting
from verify.store import Store
from verify.suite import Case
from verify.verdict import Effort

app = typer.Typer()
out = Console()

EFFORT = Effort(error_rate=0.01, looks=3, budget=6e8)
COLOURS = {"passed": "green", "failed": "red", "open": "yellow", "empty": "dim"}


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="the extension; its code is run")],
    claim: Annotated[str | None, typer.Option(help="test this claim alone, as a failure's replay does")] = None,
    setting: Annotated[str | None, typer.Option(help="at this setting, as the table names it")] = None,
    json: Annotated[Path | None, typer.Option(help="write the complete record to this file")] = None,
    thorough: Annotated[bool, typer.Option("--thorough", help="at more settings; several times as long")] = False,
    budget: Annotated[str | None, typer.Option(help="time for the first look at all claims: 90s, 10m, 1h")] = None,
    report_to: Annotated[Path | None, typer.Option("--report", help="write results.json and index.html here")] = None,
    store: MaybeFolder = None,
    seed_block: SeedBlock = 0,
    device: Device = "cpu",
) -> None:
    """Examine a theory extension, stage by stage, and say where it breaks. Exit code 0 only if every stage passes."""
    if json is not None:
        check_writable("--json", json)
    if report_to is not None:
        check_folder("--report", report_to)
    out.print(f"Running the code of {file}.", highlight=False, markup=False, soft_wrap=True)
    extension = load(file)
    if claim is not None:
        if json is not None:
            raise ValueError(f"--json {json}: the record is that of a whole examination; leave out --claim {claim}")
        _replay(extension, claim, setting, seed_block, device)
    if setting is not None:
        raise ValueError(f"--setting {setting!r}: name the claim to test there with --claim")
    # The two stages that measure share the error rate.
    effort = replace(EFFORT, error_rate=EFFORT.error_rate / 2)
    try:
        todo = [*order_cases(extension), *(case for cases in claim_cases(extension, thorough) for case in cases)]
    except Exception as error:
        if (where := place(error, extension.path)) == str(extension.path):
            raise  # not from a line of the file
        raise ExtensionError(f"{where}: {type(error).__name__}: {error}") from error
    if budget is not None:
        effort = replace(effort, budget=planned(budget, len(todo)))
    stages: list[Stage] = []
    kept = None if store is None else Store(store)
    with Watch(len(todo), seed_block, device, store=kept) as watch, watch.until_stopped():
        for stage in examine(
            extension, lambda todo: suite.run(todo, effort, watch.draws, watch.case), device, thorough
        ):
            stages.append(stage)  # one by one: what is done before it stops is shown and recorded
    for stage in stages:
        _show(stage)
    if any(stage.outcome == "open" for stage in stages):
        out.print("open: what is INCONCLUSIVE may be settled by more draws, --budget 30m for instance", soft_wrap=True)
    if json is not None or report_to is not None:
        verdicts = [verdict for stage in stages for verdict in stage.verdicts]
        attacks = [attack for stage in stages for attack in stage.attacks]
        made = record.build(verdicts, watch.drawn, effort, todo, record.command(), attacks)
        facts = {"file": str(extension.path), "sha256": extension.sha256, "stages": [s.record() for s in stages]}
        if json is not None:
            record.write(json, made | {"extension": facts})
            out.print(f"complete record: {json}", highlight=False)
        if report_to is not None:
            page.write_report(report_to, made | {"extension": facts})
            out.print(f"report: {report_to / 'index.html'}", highlight=False)
    watch.end_if_stopped("not every stage was done")
    raise typer.Exit(0 if all(s.outcome in ("passed", "empty") for s in stages) else 1)


def _replay(extension: Extension, id: str, setting: str | None, seed_block: int, device: str) -> None:
    """One claim at one setting, or at its default ones; ends the command."""
    known = [*order_cases(extension), *claim_cases(extension)[0]]
    cases = [case for case in known if case.claim.id == id]
    if not cases:
        names = ", ".join(dict.fromkeys(case.claim.id for case in known))
        raise ValueError(f"--claim {id}: {extension.path} claims {names}; name one of them")
    if setting is not None:
        cases = [Case(cases[0].claim, Setting.parse(setting))]
    with Watch(len(cases), seed_block, device) as watch:
        verdicts = [verdict for verdict, _ in suite.run(cases, EFFORT, watch.draws, watch.case)]
    out.print(report.table(verdicts))
    out.print(report.summary(verdicts), highlight=False, markup=False)
    raise typer.Exit(0 if all(v.status == "AGREE" for v in verdicts) else 1)


def _show(stage: Stage) -> None:
    colour = COLOURS[stage.outcome]
    out.print(f"[bold]{stage.name}[/]: [{colour}]{stage.outcome}[/], {stage.seconds:.0f} s", highlight=False)
    for line in stage.lines:
        out.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    if stage.verdicts:
        out.print(report.table(stage.verdicts))
