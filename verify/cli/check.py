"""The command that examines a theory extension: check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fimcheck.verify.claims.extension import Extension, ExtensionError, load, place
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.cli.console import out, say, show
from fimcheck.verify.cli.kept import Kept
from fimcheck.verify.cli.options import Budget, Device, Json, MaybeFolder, Quiet, ReportTo, SeedBlock
from fimcheck.verify.cli.todo import QUICK, planned
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.draws.source import Source
from fimcheck.verify.draws.store import Store
from fimcheck.verify.examine.cases import claim_cases, order_cases
from fimcheck.verify.examine.places import Place, compared, places
from fimcheck.verify.examine.stages import ERROR_RATE, STAGES, Stage, examine
from fimcheck.verify.judge import suite
from fimcheck.verify.judge.suite import Case
from fimcheck.verify.judge.verdict import Effort, Verdict
from fimcheck.verify.show import record, terminal
from fimcheck.verify.show.progress import Watch

app = typer.Typer()

COLOURS = {"passed": "green", "failed": "red", "open": "yellow", "empty": "dim", "stopped": "yellow"}


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="the extension; its code is run")],
    claim: Annotated[str | None, typer.Option(help="test this claim alone, as a failure's replay does")] = None,
    setting: Annotated[str | None, typer.Option(help="at this setting, as the table names it")] = None,
    thorough: Annotated[bool, typer.Option("--thorough", help="at more settings; several times as long")] = False,
    budget: Budget = None,
    json: Json = None,
    report_to: ReportTo = None,
    store: MaybeFolder = None,
    seed_block: SeedBlock = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Examine a theory extension, stage by stage, and say where it breaks. Exit code 0 only if every stage passes."""
    kept = Kept(json, report_to)
    say(f"Running the code of {file}.")
    extension = load(file)
    if claim is not None:
        for option, given in (("--json", json), ("--report", report_to), ("--store", store)):
            if given is not None:
                raise ValueError(f"{option} {given}: it keeps a whole examination; leave out --claim {claim}")
        _replay(extension, claim, setting, seed_block, device)
    if setting is not None:
        _at(extension, Setting.parse(setting), setting)
    todo, at = _todo(extension, thorough)
    # The two stages that measure share the error rate.
    effort = planned(replace(QUICK, error_rate=QUICK.error_rate / 2), budget, len(todo))
    stages: list[Stage] = []
    draws = None if store is None else Store(store)
    with (
        Watch(len(todo) + at, quiet) as watch,
        Source(watch.say, seed_block, device, store=draws) as source,
        watch.until_stopped(),
    ):

        def run(cases: list[Case], once: bool = False) -> Iterator[tuple[Verdict, Draws]]:
            brief = replace(effort, looks=1, budget=effort.budget / 4)
            return suite.run(cases, brief if once else effort, source.draws, watch.case)

        for stage in examine(extension, run, device, thorough, watch.start_on):
            stages.append(stage)  # one by one: what is done before it stops is shown and recorded
            _show(stage, quiet)
    if any(stage.outcome == "open" for stage in stages):
        say("open: what is INCONCLUSIVE may be settled by more draws, --budget 30m for instance")
    for line in last_lines(stages):
        say(line)
    kept.write(lambda: _record(extension, stages, source, effort, todo))
    watch.end_if_stopped("not every stage was done", draws is not None)
    raise typer.Exit(0 if all(s.outcome in ("passed", "empty") for s in stages) else 1)


def last_lines(stages: list[Stage]) -> Iterator[str]:
    """What was examined by all stages, and what was not."""
    for stage in stages:
        yield from stage.examined
    left = STAGES[len(stages) :]
    if left:
        yield f"not examined: {', '.join(left)}"


def _at(extension: Extension, setting: Setting, text: str) -> None:
    """Every overlap at one place of an added step, as a failure's replay asks for; ends the command."""
    if not any(step.added for step in setting.wide().all_steps.values()) or not setting.steps:
        raise ValueError(
            f"--setting {text!r}: name a network of steps with {', '.join(extension.hidden) or 'an added step'} in it, "
            "or the claim to test there with --claim"
        )
    done, refused = compared([Place("as asked", setting)], ERROR_RATE, lambda _: None)
    for comparison in done:
        say(f"{comparison.agreed} overlaps agree with sampled signals [{setting}]")
        if refused is None:
            for claim in comparison.left.values():
                say(f"open: {comparison.words(claim)}")
        elif comparison.refused is not None:
            say(f"refused: {comparison.words(comparison.refused)}")
    raise typer.Exit(0 if refused is None and not any(comparison.left for comparison in done) else 1)


def _record(
    extension: Extension, stages: list[Stage], source: Source, effort: Effort, todo: list[Case]
) -> dict[str, Any]:
    """The record of a run with the verdicts and attacks of all stages, and what was examined."""
    verdicts = [verdict for stage in stages for verdict in stage.verdicts]
    attacks = [attack for stage in stages for attack in stage.attacks]
    made = record.build(verdicts, source.drawn, effort, todo, record.command(), attacks)
    facts = {"file": str(extension.path), "sha256": extension.sha256, "stages": [s.record() for s in stages]}
    return made | {"extension": facts}


def _todo(extension: Extension, thorough: bool) -> tuple[list[Case], int]:
    """All that the stages will measure, unless one fails, and at how many places of its steps they look."""
    try:
        found = [*order_cases(extension), *(case for cases in claim_cases(extension, thorough) for case in cases)]
        return found, sum(isinstance(at, Place) for name in extension.hidden for at in places(name))
    except Exception as error:
        if (where := place(error, extension.path)) == str(extension.path):
            raise  # not from a line of the file
        raise ExtensionError(f"{where}: {type(error).__name__}: {error}") from error


def _replay(extension: Extension, id: str, setting: str | None, seed_block: int, device: str) -> None:
    """One claim at one setting, or at its default ones; ends the command."""
    known = [*order_cases(extension), *claim_cases(extension)[0]]
    cases = [case for case in known if case.claim.id == id]
    if not cases:
        names = ", ".join(dict.fromkeys(case.claim.id for case in known))
        raise ValueError(f"--claim {id}: {extension.path} claims {names}; name one of them")
    if setting is not None:
        at = Setting.parse(setting)
        fitting = [case for case in cases if case.setting.structure == at.structure] or cases
        cases = [Case(fitting[0].claim, at)]
    with Watch(len(cases)) as watch, Source(watch.say, seed_block, device) as source:
        verdicts = [verdict for verdict, _ in suite.run(cases, QUICK, source.draws, watch.case)]
    show(terminal.Verdicts(verdicts))
    say(terminal.summary(verdicts))
    raise typer.Exit(0 if all(v.status == "AGREE" for v in verdicts) else 1)


def _show(stage: Stage, quiet: bool) -> None:
    colour = COLOURS[stage.outcome]
    out.print(f"[bold]{stage.name}[/]: [{colour}]{stage.outcome}[/], {stage.seconds:.0f} s", markup=True)
    for line in stage.lines:
        say(f"  {line}")
    if stage.verdicts and not quiet:
        show(terminal.Verdicts(stage.verdicts))
