"""The command `fimcheck`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from verify import (
    page,
    record,
    report,
    suite,
)
from verify.calibration import calibration_table, repeated
from verify.claim import Claim, odd
from verify.claims import CLAIMS
from verify.cli.options import Device, MaybeFolder, Scheduler, SeedBlock, Workers, planned
from verify.composition_claims import network_claims
from verify.controls import Kill, challenge
from verify.draws import Draws
from verify.files import check_folder, check_writable
from verify.pool import make
from verify.progress import Watch, err
from verify.setting import Setting
from verify.store import Store
from verify.verdict import Effort, Verdict

app = typer.Typer()
out = Console()

# The first look of --quick may cost this much per claim, and is doubled twice at most; see draws.cost.
QUICK = Effort(error_rate=0.01, looks=3, budget=6e8)
FULL = Effort(error_rate=0.01, looks=4, budget=4e10)

# Beyond this an agreement says little, and a warning says so.
WIDE_EPS = 0.2

Claims = Annotated[list[str] | None, typer.Argument(help="claims to test; all when none is named")]
Activations = Annotated[
    list[str] | None,
    typer.Option(
        "--activation", help="activations in place of the default ones: relu, and without --quick a deeper tanh network"
    ),
]
AtSetting = Annotated[
    str | None,
    typer.Option(
        "--setting",
        help='test there: "relu C=2 T=6 last=mean", or a network of steps, "dense 2*(skip(relu dense)) relu dense T=6"',
    ),
]
ReportTo = Annotated[
    Path | None, typer.Option("--report", help="write results.json and index.html, a page for any browser, here")
]


@app.command()
def claims() -> None:
    """List the claims that can be tested: statement, formula (LaTeX), assumptions, source."""
    for claim, setting in ((case.claim, case.setting) for case in suite.cases(list(CLAIMS.values()), suite.BASES[:1])):
        out.print(f"[bold]{escape(claim.id)}[/]  {claim.statement}", highlight=False, soft_wrap=True)
        facts = f"{claim.formula(setting)}   [{claim.assumptions}; {claim.source}]"
        out.print(f"    {facts}", style="dim", highlight=False, markup=False, soft_wrap=True)


@app.command()
def verify(
    claim: Claims = None,
    activation: Activations = None,
    setting: AtSetting = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="minutes, or most of an hour, on 2 cores")] = False,
    budget: Annotated[
        str | None,
        typer.Option(help="time for the first look at all claims, as a planned number of draws: 90s, 10m, 1h"),
    ] = None,
    eps: Annotated[float, typer.Option(help="relative error that counts as agreement")] = 0.05,
    json: Annotated[Path | None, typer.Option(help="write the complete record to this file")] = None,
    report_to: ReportTo = None,
    seed_block: SeedBlock = 0,
    device: Device = "cpu",
    store: MaybeFolder = None,
    dask: Scheduler = None,
    workers: Workers = None,
) -> None:
    """Test the paper claim by claim on sampled networks. Exit code 0 only if every verdict is AGREE."""
    if json is not None:
        check_writable("--json", json)
    if report_to is not None:
        check_folder("--report", report_to)
    base = QUICK if quick else FULL
    todo = _todo(claim, activation, setting, suite.BASES[:1] if quick else suite.BASES)
    first_look = base.budget if budget is None else planned(budget, len(todo))
    effort = Effort(eps, base.error_rate, base.looks, first_look)
    verdicts: list[Verdict] = []
    kept = None if store is None else Store(store)
    with Watch(len(todo), seed_block, device, make(device, dask, workers), kept) as watch, watch.until_stopped():
        for verdict, _ in suite.run(todo, effort, watch.draws, watch.case):
            verdicts.append(verdict)  # one by one: what is done before it stops is shown and recorded
    if claim is None:
        out.print(report.sentences(verdicts, todo) + "\n", highlight=False, markup=False)
    out.print(
        f"measured / predicted in the limit of large width; AGREE means within {eps:.3g}", style="bold", highlight=False
    )
    if eps > WIDE_EPS:
        err.print(f"--eps {eps:g}: a theory wrong by {eps:.0%} would be called AGREE", style="yellow", highlight=False)
    out.print(report.table(verdicts))
    out.print(report.summary(verdicts), highlight=False, markup=False)
    if json is not None or report_to is not None:
        made = record.build(verdicts, watch.drawn, effort, todo, record.command())
        if json is not None:
            record.write(json, made)
            out.print(f"complete record: {json}", highlight=False)
        _report(report_to, made)
    resume = "" if store is None else "; the same command goes on from what is kept"
    watch.end_if_stopped(f"{len(todo) - len(verdicts)} of {len(todo)} cases not tested{resume}")
    raise typer.Exit(0 if all(v.status == "AGREE" for v in verdicts) else 1)


@app.command()
def controls(
    claim: Claims = None,
    activation: Activations = None,
    setting: AtSetting = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="how many draws, as of verify")] = True,
    report_to: ReportTo = None,
    seed_block: SeedBlock = 0,
    device: Device = "cpu",
) -> None:
    """Attack every claim with wrong theories. Exit code 0 only if none is believed and no right theory fails."""
    todo, effort = _todo(claim, activation, setting), QUICK if quick else FULL
    if report_to is not None:
        check_folder("--report", report_to)
    attacks: list[tuple[Verdict, Sequence[Kill]]] = []
    with Watch(len(todo), seed_block, device) as watch, watch.until_stopped():
        for verdict, drawn in suite.run(todo, effort, watch.draws, watch.case):
            attacks.append((verdict, challenge(verdict, drawn)))
    out.print(report.kill_table(attacks))
    out.print(report.kill_summary(attacks), highlight=False, markup=False)
    if report_to is not None:
        right = [verdict for verdict, _ in attacks]
        _report(report_to, record.build(right, watch.drawn, effort, todo, record.command(), attacks))
    watch.end_if_stopped(f"{len(todo) - len(attacks)} of {len(todo)} cases not tested")
    believed = any(kill.survived for _, kills in attacks for kill in kills)
    broken = any(right.status not in ("AGREE", "INCONCLUSIVE") for right, _ in attacks)
    raise typer.Exit(1 if believed or broken else 0)


@app.command()
def explain(
    claim: Annotated[str, typer.Argument(help="the claim to explain")],
    setting: AtSetting = None,
    activation: Annotated[str | None, typer.Option(help="activation to test it with; relu when none")] = None,
    seed_block: SeedBlock = 0,
) -> None:
    """Statement, derivation, measurements and verdict of one claim, at the budget of --quick. Exit code 0 if AGREE."""
    (case,) = _todo([claim], [activation] if activation else None, setting)
    with Watch(1, seed_block, "cpu") as watch:
        ((verdict, _),) = suite.run([case], QUICK, watch.draws, watch.case)
    out.print(report.explain(verdict), highlight=False, markup=False, soft_wrap=True)
    if verdict.status != "AGREE":
        raise typer.Exit(1)


@app.command()
def calibrate(
    claim: Annotated[
        str | None, typer.Argument(help="judge this claim on real networks; synthetic draws if none")
    ] = None,
    setting: AtSetting = None,
    runs: Annotated[int, typer.Option(help="experiments per theory", min=1)] = 400,
    eps: Annotated[float, typer.Option(help="relative error that counts as agreement")] = 0.05,
) -> None:
    """Test the rule itself, and print how often it was right. Exit code 0 only if it kept the rates it promises."""
    if claim is None:
        text, kept = calibration_table(runs)
        out.print(text, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(0 if kept else 1)
    (case,) = _todo([claim], None, setting)
    with Watch(runs, 0, "cpu") as watch:

        def fresh(run: int) -> Draws:
            watch.case(case)
            return watch.draws(case.setting, set(case.claim.quantities), seed_block=run)

        found = repeated(case.claim, replace(QUICK, eps=eps), fresh, runs)
    out.print(f"{claim} at {case.setting}, {runs} runs", highlight=False, markup=False, soft_wrap=True)
    out.print(str(found), highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(0 if found.kept else 1)


def _report(folder: Path | None, made: dict[str, Any]) -> None:
    if folder is not None:
        page.write_report(folder, made)
        out.print(f"report: {folder / 'index.html'}", highlight=False)


def _todo(
    claim: list[str] | None,
    activation: list[str] | None,
    setting: str | None,
    default: Sequence[Setting] = suite.BASES[:1],
) -> list[suite.Case]:
    for name in activation or ():
        odd(name)  # refuses a name that no theory knows, also where no claim would use it
    if setting is None:
        return suite.cases(
            _named(claim), [replace(suite.BASES[0], activation=a) for a in activation] if activation else default
        )
    at = Setting.parse(setting)
    own = {c.id: c for c in network_claims(at)} if at.composed else {}
    if activation is not None or (claim is None and not own):
        raise ValueError(f"--setting {setting!r}: name the claims to test there, and no --activation beside it")
    return [suite.Case(c, at) for c in _named(claim or list(own), own)]


def _named(ids: list[str] | None, own: Mapping[str, Claim] = MappingProxyType({})) -> list[Claim]:
    """Claims by id; own: those about the network of a setting, beside the ones that `fimcheck claims` lists."""
    known = {**CLAIMS, **own}
    unknown = sorted(set(ids or ()) - set(known))
    if unknown:
        about = f"; about this network are {', '.join(own)}" if own else ""
        raise ValueError(f"claim {unknown[0]!r} is unknown; `fimcheck claims` lists them{about}")
    return [known[i] for i in ids or CLAIMS]
