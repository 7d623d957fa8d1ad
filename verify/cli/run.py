"""The commands that judge the paper: claims, verify and explain."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from fimcheck.verify.claims.paper import CLAIMS, group
from fimcheck.verify.cli.console import say, show
from fimcheck.verify.cli.kept import Kept, write_data
from fimcheck.verify.cli.options import (
    Budget,
    Device,
    Json,
    MaybeFolder,
    Quiet,
    ReportTo,
    Scheduler,
    SeedBlock,
    Workers,
)
from fimcheck.verify.cli.todo import FULL, QUICK, Activations, AtSetting, Claims, asked, planned
from fimcheck.verify.draws.pool import make
from fimcheck.verify.draws.source import Source
from fimcheck.verify.draws.store import Store
from fimcheck.verify.judge import suite
from fimcheck.verify.judge.verdict import Verdict
from fimcheck.verify.show import record, terminal
from fimcheck.verify.show.progress import Watch, note

app = typer.Typer()

# Beyond this an agreement says little, and a warning says so.
WIDE_EPS = 0.2


@app.command()
def claims(json: Json = None) -> None:
    """List the claims that can be tested: statement, formula (LaTeX), assumptions, source."""
    listed, lines = [], []
    for claim, setting in ((case.claim, case.setting) for case in suite.cases(list(CLAIMS.values()), suite.BASES[:1])):
        facts = {
            "claim": claim.id,
            "statement": claim.statement,
            "group": "beyond" if claim.beyond else "paper",
            "formula": claim.formula(setting),
            "assumptions": claim.assumptions,
            "source": claim.source,
        }
        listed.append(facts)
        lines.append((f"{claim.id}  {claim.statement}", "bold"))
        lines.append((f"    {facts['formula']}   [{claim.assumptions}; {claim.source}]", "dim"))
    write_data(json, listed)
    for line, style in lines:
        say(line, style)


@app.command()
def verify(
    claim: Claims = None,
    activation: Activations = None,
    setting: AtSetting = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="minutes, or most of an hour, on 2 cores")] = False,
    budget: Budget = None,
    eps: Annotated[float, typer.Option(help="relative error that counts as agreement")] = 0.05,
    json: Json = None,
    report_to: ReportTo = None,
    seed_block: SeedBlock = 0,
    device: Device = "cpu",
    store: MaybeFolder = None,
    dask: Scheduler = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Test the paper claim by claim on sampled networks. Exit code 0 only if every verdict is AGREE.

    `fimcheck verify beyond` tests what is derived here beyond the paper, `fimcheck verify paper beyond` everything.
    """
    kept = Kept(json, report_to)
    todo = asked(claim, activation, setting, suite.BASES[:1] if quick else suite.BASES)
    slow = [case for case in todo if quick and case.claim.slow and case.claim.id not in (claim or ())]
    todo = [case for case in todo if case not in slow]
    effort = planned(replace(QUICK if quick else FULL, eps=eps), budget, len(todo))
    verdicts: list[Verdict] = []
    if eps > WIDE_EPS:
        note(f"--eps {eps:g}: a theory wrong by {eps:.0%} would be called AGREE", style="yellow")
    if not quiet:
        say(f"measured / predicted in the limit of large width; AGREE means within {eps:.3g}", style="bold")
        show(terminal.Head())
    draws = None if store is None else Store(store)
    with (
        Watch(len(todo), quiet) as watch,
        Source(watch.say, seed_block, device, make(device, dask, workers), draws) as source,
        watch.until_stopped(),
    ):
        for verdict, _ in suite.run(todo, effort, source.draws, watch.case):
            if not quiet:
                show(terminal.Line(verdict, verdicts[-1] if verdicts else None))
            verdicts.append(verdict)  # one by one: what is done before it stops is shown and recorded
    if claim is None:
        say("\n" + terminal.sentences(verdicts, todo) + "\n")
    say(terminal.summary(verdicts))
    if slow:
        names = " ".join(case.claim.id for case in slow)
        say(f"{len(slow)} not tested, which take more draws than --quick has: fimcheck verify {names}")
    if claim is None and setting is None:
        mode = " --quick" if quick else ""
        say(f"{len(group('beyond'))} claims go beyond the paper and were not tested: fimcheck verify{mode} beyond")
    kept.write(lambda: record.build(verdicts, source.drawn, effort, todo, record.command(), left_out=slow))
    watch.end_if_stopped(f"{len(todo) - len(verdicts)} of {len(todo)} cases not tested", draws is not None)
    raise typer.Exit(0 if all(v.status == "AGREE" for v in verdicts) else 1)


@app.command()
def explain(
    claim: Annotated[str, typer.Argument(help="the claim to explain")],
    setting: AtSetting = None,
    activation: Annotated[str | None, typer.Option(help="activation to test it with; relu when none")] = None,
    seed_block: SeedBlock = 0,
) -> None:
    """Statement, derivation, measurements and verdict of one claim, at the budget of --quick. Exit code 0 if AGREE."""
    (case,) = asked([claim], [activation] if activation else None, setting)
    with Watch(1) as watch, Source(watch.say, seed_block) as source:
        ((verdict, _),) = suite.run([case], QUICK, source.draws, watch.case)
    say(terminal.explain(verdict))
    if verdict.status != "AGREE":
        raise typer.Exit(1)
