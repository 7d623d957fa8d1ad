"""The commands that test the verdict itself: controls attacks it with wrong theories, calibrate counts its mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from fimcheck.verify.cli.console import say, show
from fimcheck.verify.cli.kept import Kept
from fimcheck.verify.cli.options import (
    Budget,
    Device,
    Json,
    MaybeFolder,
    Quiet,
    ReportTo,
    SeedBlock,
)
from fimcheck.verify.cli.todo import FULL, QUICK, Activations, AtSetting, Claims, asked, planned
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.draws.pool import Processes
from fimcheck.verify.draws.source import Source
from fimcheck.verify.draws.store import Store
from fimcheck.verify.judge import suite
from fimcheck.verify.judge.calibration import calibration_table, repeated
from fimcheck.verify.judge.controls import Kill, challenge
from fimcheck.verify.judge.verdict import Verdict
from fimcheck.verify.models.coverage import coverage_table
from fimcheck.verify.show import record, terminal
from fimcheck.verify.show.progress import Watch

app = typer.Typer()

MOST_RUNS = 100_000


@app.command()
def controls(
    claim: Claims = None,
    activation: Activations = None,
    setting: AtSetting = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="how many draws, as of verify")] = True,
    budget: Budget = None,
    json: Json = None,
    report_to: ReportTo = None,
    seed_block: SeedBlock = 0,
    device: Device = "cpu",
    store: MaybeFolder = None,
    quiet: Quiet = False,
) -> None:
    """Attack every claim with wrong theories. Exit code 0 only if none is believed and no right theory fails."""
    kept = Kept(json, report_to)
    todo = asked(claim, activation, setting)
    effort = planned(QUICK if quick else FULL, budget, len(todo))
    attacks: list[tuple[Verdict, Sequence[Kill]]] = []
    draws = None if store is None else Store(store)
    with (
        Watch(len(todo), quiet) as watch,
        Source(watch.say, seed_block, device, store=draws) as source,
        watch.until_stopped(),
    ):
        for verdict, drawn in suite.run(todo, effort, source.draws, watch.case):
            attacks.append((verdict, challenge(verdict, drawn)))
    if not quiet:
        show(terminal.kill_table(attacks))
    say(terminal.kill_summary(attacks))
    right = [verdict for verdict, _ in attacks]
    kept.write(lambda: record.build(right, source.drawn, effort, todo, record.command(), attacks))
    watch.end_if_stopped(f"{len(todo) - len(attacks)} of {len(todo)} cases not tested", draws is not None)
    believed = any(kill.survived for _, kills in attacks for kill in kills)
    broken = any(right.status not in ("AGREE", "INCONCLUSIVE") for right, _ in attacks)
    raise typer.Exit(1 if believed or broken else 0)


@app.command()
def calibrate(
    claim: Annotated[
        str | None,
        typer.Argument(help="judge this claim on real networks, or sharpness; synthetic draws if none"),
    ] = None,
    setting: AtSetting = None,
    runs: Annotated[int, typer.Option(help="experiments per theory", min=1, max=MOST_RUNS)] = 400,
    eps: Annotated[float, typer.Option(help="relative error that counts as agreement")] = 0.05,
) -> None:
    """Test the rule itself, and print how often it was right. Exit code 0 only if it kept the rates it promises."""
    if claim is None:
        if setting is not None:
            raise ValueError(f"--setting {setting!r}: synthetic draws have none; name the claim to judge there")
        text, well = calibration_table(runs)
        say(text)
        raise typer.Exit(0 if well else 1)
    if claim == "sharpness":
        with Processes() as pool, Watch(1) as watch:
            watch.start_on("exponents of models")
            text, well = coverage_table(runs, pool, watch.say)
        say(text)
        raise typer.Exit(0 if well else 1)
    (case,) = asked([claim], None, setting)
    with Watch(runs) as watch, Source(watch.say) as source:

        def fresh(run: int) -> Draws:
            watch.case(case)
            return source.draws(case.setting, set(case.claim.quantities), seed_block=run)

        found = repeated(case.claim, replace(QUICK, eps=eps), fresh, runs)
    say(f"{claim} at {case.setting}, {runs} runs")
    say(str(found))
    raise typer.Exit(0 if found.kept else 1)
