"""The complete record of a run as plain data, and the file it is kept in; docs/records.md states the schema."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.draws.store import plain
from fimcheck.verify.files import write_whole
from fimcheck.verify.judge.controls import Kill
from fimcheck.verify.judge.suite import Case
from fimcheck.verify.judge.verdict import Effort, Verdict
from fimcheck.verify.show.terminal import abstract

SCHEMA = 4
PACKAGES = ("fimcheck", "torch", "sympy", "numpy", "scipy", "mpmath")


def build(
    verdicts: Sequence[Verdict],
    draws: Sequence[Draws],
    effort: Effort,
    todo: Sequence[Case],
    command: str,
    attacks: Sequence[tuple[Verdict, Sequence[Kill]]] | None = None,
    left_out: Sequence[Case] = (),
) -> dict[str, Any]:
    """Everything that was tested, drawn and concluded, with what it takes to do it again.

    todo: what was to be tested, more than `verdicts` if the run was interrupted; command: what the user typed;
    attacks: the wrong theories of every claim, where they were tried; left_out: what takes more draws than the run has.
    """
    asked = {case.claim.id for case in todo}
    return plain(
        {
            "schema": SCHEMA,
            "command": command,
            "manifest": manifest(),
            "effort": asdict(effort),
            "planned": len(todo),
            "left_out": [case.claim.id for case in left_out],
            "sentences": [asdict(said) for said in abstract(verdicts, todo) if asked & set(said.claims)],
            "verdicts": [v.record() for v in verdicts],
            "controls": None if attacks is None else [_attack(right, kills) for right, kills in attacks],
            "draws": [d.record() for d in draws],
        }
    )


def write(file: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON; the file is replaced whole or not at all."""
    write_whole(file, json.dumps(record, allow_nan=False))


class NotARecord(ValueError):
    """The data is not a record of a run that this version can show."""


def read(file: Path) -> dict[str, Any]:
    """The record in a file; NotARecord where there is none that this version reads."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NotARecord(f"record {file}: {error}; name the results.json of a run") from None
    return checked(record if isinstance(record, dict) else {})


def checked(record: dict[str, Any]) -> dict[str, Any]:
    """The record itself, refused if it has another schema."""
    if record.get("schema") != SCHEMA:
        raise NotARecord(
            f"schema = {record.get('schema')!r}: this version shows records of schema {SCHEMA}; run again, or use the "
            "version that wrote the record"
        )
    return record


def command() -> str:
    """What the user typed, quoted for a shell."""
    return shlex.join(["fimcheck", *sys.argv[1:]])


def manifest() -> dict[str, Any]:
    """When, with which versions, from which commit and on what machine: a run can be made again from it."""
    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": {name: version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The git commit of this code, with "-dirty" if files differ from it; None where it is not a checkout."""
    here = Path(__file__)
    try:
        # A virtual environment may lie inside the checkout of something else, which does not track this file.
        _git(here.parent, "ls-files", "--error-unmatch", here.name)
        return _git(here.parent, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _attack(right: Verdict, kills: Sequence[Kill]) -> dict[str, Any]:
    found = [
        {
            "id": k.wrong.id,
            "mistake": k.wrong.mistake,
            "factor": k.factor,
            "outcome": k.verdict.status if k.verdict else None,
        }
        for k in kills
    ]
    return {"claim": right.claim.id, "setting": str(right.setting), "outcome": right.status, "wrong_theories": found}
