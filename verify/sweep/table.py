"""A store of sweeps as one tidy table: a row a point and quantity, for files and for the terminal."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from fimcheck.theory.network.relation import RELATIONS
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.store import Record, Store
from fimcheck.verify.files import whole

Row = dict[str, Any]

PARAMETERS = {f.name: {"int": int, "float": float}.get(str(f.type).split(" ")[0], str) for f in fields(Setting)}
COLUMNS: dict[str, type] = {
    **PARAMETERS,
    "width": int,
    "T": int,
    "quantity": str,
    "mean": float,
    "standard_error": float,
    "networks": int,
    "predicted": float,
    "relation": str,
    "ratio": float,
    "status": str,
    "error": str,
    "seed_block": int,
    "device": str,
    "code": str,
}


def rows(store: Store) -> list[Row]:
    """All points of all sweeps in the store, sorted; every row has the names of COLUMNS, None where there is nothing.

    status: done; not finite (some draws are not, so the mean is not); failed (error says why, nothing was measured).
    """
    found = [record for record in store.records() if record.spec.get("kind") in ("point", "failure")]
    points = {_identity(record): record for record in found if record.spec["kind"] == "point"}
    failures: dict[str, list[Record]] = {}
    for record in found:
        if record.spec["kind"] == "failure" and _identity(record) not in points:
            failures.setdefault(_identity(record), []).append(record)
    made = [row for record in points.values() for row in _measured(record)]
    made += [row for records in failures.values() for row in _failed(records)]
    order = (*PARAMETERS, "width", "quantity", "networks", "seed_block", "device", "code")
    return sorted(made, key=lambda row: [(row[name] is None, 0 if row[name] is None else row[name]) for name in order])


def _identity(record: Record) -> str:
    return repr(sorted((k, str(v)) for k, v in record.spec.items() if k not in ("kind", "error")))


def _measured(record: Record) -> list[Row]:
    made = []
    for row in record.result["rows"]:
        mean, predicted = float(row["mean"]), row["predicted"]
        finite = row["finite"] == record.spec["networks"]
        made.append(
            _common(record)
            | {
                "T": record.result["samples"],
                "quantity": row["quantity"],
                "mean": mean,
                "standard_error": float(row["standard_error"]),
                "predicted": predicted,
                "relation": row["relation"],
                "ratio": mean / predicted if predicted else None,
                "status": "done" if finite else "not finite",
                "error": None if finite else f"{record.spec['networks'] - row['finite']} draws are not finite",
            }
        )
    return made


def _failed(records: list[Record]) -> list[Row]:
    errors = " | ".join(sorted(record.spec["error"] for record in records))
    common = _common(records[0]) | {"status": "failed", "error": errors}
    return [common | {"quantity": quantity} for quantity in records[0].spec["quantities"]]


def _common(record: Record) -> Row:
    spec = record.spec
    setting = {f.name: spec["setting"].get(f.name, f.default) for f in fields(Setting)}
    setting["ratios"] = ",".join(f"{a:.17g}" for a in _listed(setting["ratios"], setting["depth"]))
    setting = {name: v if v is None else PARAMETERS[name](v) for name, v in setting.items()}
    rest = {name: spec[name] for name in ("width", "networks", "seed_block", "device")}
    return dict.fromkeys(COLUMNS) | setting | rest | {"code": spec["fimcheck"]}


def _listed(ratios: Any, depth: int) -> Sequence[float]:
    """One ratio a layer, also of a failed point, which may have them as they were given."""
    listed = ratios if isinstance(ratios, list | tuple) else [ratios]
    return listed * depth if len(listed) == 1 else listed


def write_csv(file: Path, table: list[Row]) -> None:
    """The table with a line of names; float64 exactly, nothing for None."""
    with whole(file) as partial, partial.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows(table)


def write_parquet(file: Path, table: list[Row]) -> None:
    """The table in Parquet, with the type of every column."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise ValueError("--parquet needs pyarrow: pip install 'fimcheck[table]'; or write --csv") from None
    kinds = {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    with whole(file) as partial:
        parquet.write_table(pyarrow.Table.from_pylist(table, schema), partial)


def shown(table: list[Row]) -> Group:
    """For a terminal: what all rows share, the columns in which they differ, and every error once."""
    shared = {name for name in COLUMNS if len({row[name] for row in table}) == 1}
    always = ("width", "quantity", "mean", "predicted", "ratio", "status")
    hidden = ("standard_error", "relation", "error", *(["T"] if all(row["samples"] for row in table) else []))
    names = [name for name in COLUMNS if name in always or (name not in shared and name not in hidden)]
    common = {name: table[0][name] for name in COLUMNS if name in shared and name not in (*always, *hidden)}
    out = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        out.add_column(
            name, justify="left" if COLUMNS[name] is str else "right", overflow="fold", no_wrap=name == "mean"
        )
    for row in table:
        out.add_row(*(_cell(row, name) for name in names))
    errors = Counter(row["error"] for row in table if row["error"])
    return Group(
        Text("  ".join(f"{name}={value}" for name, value in common.items() if value is not None), style="dim"),
        out,
        *(Text(f"{count} rows: {error}") for error, count in errors.items()),
    )


def _cell(row: Row, name: str) -> str:
    value = row[name]
    if value is None:
        return "-"
    if name == "mean":
        return f"{value:.4g} +- {row['standard_error']:.1g}"
    if name == "predicted":
        return RELATIONS[row["relation"]].prefix + f"{value:.4g}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
