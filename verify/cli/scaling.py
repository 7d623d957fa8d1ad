"""The command that finds an exponent without a theory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer
from rich import box
from rich.table import Table

from fimcheck.verify.claims.extension import load
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.cli.console import say, show
from fimcheck.verify.cli.kept import write_data
from fimcheck.verify.cli.options import Device, Json, SeedBlock
from fimcheck.verify.draws.source import Source
from fimcheck.verify.examine.cases import claim_cases
from fimcheck.verify.show.progress import Watch
from fimcheck.verify.sweep.exponent import BUDGET, Exponent, Variable, exponent

app = typer.Typer()


@app.command()
def scaling(
    target: Annotated[str, typer.Argument(help='a setting, such as "relu C=2 T=6 last=mean", or an extension FILE.py')],
    quantity: Annotated[str, typer.Argument(help='what is measured: lambda_max, m, "hq1[2]"')],
    variable: Annotated[
        list[str] | None, typer.Option("--in", help="M, T or C; all three (M with M/T) if none")
    ] = None,
    at: Annotated[str | None, typer.Option("--setting", help="with FILE.py: where; its default if none")] = None,
    seed_block: SeedBlock = 0,
    device: Device = "cpu",
    json: Json = None,
) -> None:
    """Measure how a quantity grows with M, T and C, no theory given. Exit code 0 only if every exponent is found."""
    setting = _setting(target, at)
    unknown = sorted(set(variable or ()) - {"M", "T", "C"})
    if unknown:
        raise ValueError(f"--in {unknown[0]}: the variables are M, T and C; use one of them")
    variables = variable or (["M"] if setting.samples is None else ["M", "T", "C"])
    found: list[Exponent] = []
    with Watch(len(variables)) as watch, Source(watch.say, seed_block, device) as source:
        for name in variables:
            watch.start_on(f"{quantity} in {name}")
            found.append(exponent(setting, quantity, cast(Variable, name), source.draws, BUDGET))
    for each in found:
        say(str(each))
        if each.local:
            show(_table(each))
    write_data(json, {"setting": str(setting), "exponents": [asdict(each) for each in found]})
    raise typer.Exit(1 if any(each.reason for each in found) else 0)


def _setting(target: str, at: str | None) -> Setting:
    """The setting that the words name; of an extension, whose code is run, the first that it would be tested at."""
    if not target.endswith(".py"):
        if at is not None:
            raise ValueError(f"--setting {at!r}: it belongs to an extension FILE.py; name the setting once")
        return Setting.parse(target)
    extension = load(Path(target))
    return Setting.parse(at) if at else claim_cases(extension)[0][0].setting


def _table(found: Exponent) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="local exponents, finite-size corrections included", title_justify="left")
    for heading in (found.variable, "exponent"):
        table.add_column(heading, justify="right")
    for start, end, value, error in found.local:
        table.add_row(f"{start:g} .. {end:g}", f"{value:.3f} +- {error:.3f}")
    return table
