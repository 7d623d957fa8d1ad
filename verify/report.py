"""What a person sees of a run, and the complete record of it."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from verify.check import Effort, Verdict
from verify.draws import Draws

COLOURS = {"AGREE": "green", "INCONCLUSIVE": "yellow", "DISAGREE": "red", "MISFIT": "red", "INVALID": "magenta"}
SCHEMA = 1


def table(verdicts: Sequence[Verdict]) -> Table:
    """One row a verdict; the setting is named once for the rows that share it."""
    out = Table(title="limit of measured / predicted as the width grows", title_justify="left")
    for name in ("claim", "setting", "predicted", "limit", "error", "detectable", "status"):
        out.add_column(name, justify="left" if name in ("claim", "setting", "status") else "right", overflow="fold")
    shown = None
    for v in verdicts:
        limit = v.finding.limit
        relation = {"equals": "", "at least": ">= ", "at most": "<= "}[v.rule.relation]
        out.add_row(
            v.claim.id,
            "" if v.setting == shown else str(v.setting),
            f"{relation}{v.predicted:.4g}",
            f"{limit.value:.4f}" if limit else "-",
            f"{limit.error:.4f}" if limit else "-",
            f"{v.finding.detectable:.1%}" if v.finding.detectable < 10 else "-",
            f"[{COLOURS[v.status]}]{v.status}[/]",
            end_section=False,
        )
        shown = v.setting
    return out


def summary(verdicts: Sequence[Verdict]) -> str:
    """Counts of every status, then each verdict that is not AGREE with its reason."""
    counts = {s: sum(v.status == s for v in verdicts) for s in COLOURS}
    lines = [", ".join(f"{n} {s}" for s, n in counts.items() if n) or "no claim was tested"]
    lines += [f"  {v}" for v in verdicts if v.status != "AGREE"]
    return "\n".join(lines)


def manifest() -> dict[str, Any]:
    """Versions and machine, so that the record can be replayed."""
    packages = ("fimcheck", "torch", "sympy", "numpy", "scipy", "mpmath")
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": {name: version(name) for name in packages},
    }


def write_record(path: Path, verdicts: Sequence[Verdict], draws: Sequence[Draws], effort: Effort) -> None:
    """The complete record: verdicts, raw draws, seeds, versions, device. The file is replaced whole or not at all."""
    record = {
        "schema": SCHEMA,
        "manifest": manifest(),
        "effort": vars(effort),
        "verdicts": [v.record() for v in verdicts],
        "draws": [d.record() for d in draws],
    }
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(record, default=_plain, allow_nan=True))
    partial.replace(path)


def _plain(value: Any) -> Any:
    """JSON for the few types that json does not know."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not plain data")
