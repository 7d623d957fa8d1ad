"""A folder of results that survives whatever happens to the run: one file a record, named by what was asked for."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

SCHEMA = 1
# A file is written in well under a second, so a temporary one this old (seconds) belongs to a run that died.
ABANDONED = 3600.0

Plain = dict[str, Any]


class StoreError(ValueError):
    """A store that cannot be trusted or used; the message names the file, what is wrong and the remedy."""


@dataclass(frozen=True)
class Record:
    """What was asked for and what came out, as plain data (JSON's types).

    spec: everything that determines the result. result: what two runs of the same spec must agree on.
    about: how it came about, such as versions of libraries; two runs may differ in it.
    Numbers that are not finite read back as the strings nan, inf and -inf, which `float` understands.
    """

    spec: Plain
    result: Plain
    about: Plain = field(default_factory=dict)


class Store:
    """Records in a folder, which is made if it does not exist; any number of processes may use it at once.

    A record appears whole or not at all, and is never changed. A file that is not a sound record raises StoreError
    when it is met; it is neither used nor deleted.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"store {folder}: {error.strerror}; name a folder, or a new one in a folder that exists") \
                from None  # fmt: skip
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise StoreError(f"store {folder}: it cannot be written to; change its permissions or name another")
        for file in self.folder.glob(".*.partial"):
            with suppress(FileNotFoundError):  # another process may have just finished with it
                if file.stat(follow_symlinks=False).st_mtime < time.time() - ABANDONED:
                    file.unlink()

    def get(self, spec: Plain) -> Record | None:
        """The record of this specification, None if there is none."""
        file = self._file(spec)
        try:
            return _read(file)
        except FileNotFoundError:
            return None

    def put(self, spec: Plain, result: Plain, about: Plain | None = None) -> None:
        """Keep a result. Raises StoreError if the store holds another result for the same specification."""
        file = self._file(spec)
        body = {"schema": SCHEMA, "spec": spec, "result": result, "about": about or {}}
        text = _canonical({**body, "checksum": _digest(body)})
        if not self._create(file, text):
            kept = _read(file)
            if _canonical(kept.result) != _canonical(result):
                raise StoreError(
                    f"{file}: two runs of {_canonical(spec)} differ in {_difference(kept.result, result)} (kept, new; "
                    f"kept made with {_canonical(kept.about)}, new with {_canonical(about or {})}); find out which is "
                    "right, and delete the file if it is the new one, or use another store"
                )

    def records(self) -> Iterator[Record]:
        """All records, in the order of their names."""
        for file in sorted(self.folder.glob("*.json")):
            yield _read(file)

    def _file(self, spec: Plain) -> Path:
        return self.folder / f"{_digest(spec)}.json"

    def _create(self, file: Path, text: str) -> bool:
        """Write a file that is not there yet, durably; False if it is there, which is left alone."""
        if file.exists():
            return False
        partial = self.folder / f".{file.stem}.{uuid4().hex}.partial"
        try:
            with partial.open("x") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            # A link, other than a rename, never replaces the file that another process made in the meantime.
            os.link(partial, file)
        except FileExistsError:
            return False
        except OSError as error:
            raise StoreError(f"store {self.folder}: {error}; make room, or use a file system with hard links") \
                from error  # fmt: skip
        finally:
            partial.unlink(missing_ok=True)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return True


@cache
def code_of(*packages: str) -> str:
    """Version of fimcheck with a digest of the source of some of its packages: part of specifications, because other
    code may measure otherwise, also under the same version."""
    digest = sha256()
    for package in packages:
        root = Path(str(files(package)))
        for file in sorted(root.rglob("*.py")):
            digest.update(f"{package}/{file.relative_to(root).as_posix()}\0".encode() + file.read_bytes())
    return f"{version('fimcheck')} {digest.hexdigest()[:16]}"


def _read(file: Path) -> Record:
    remedy = "move it out of the store; what it held will be computed again"
    try:
        body = json.loads(file.read_text())
        stated = body.pop("checksum")
        spec, result, about = (body[name] for name in ("spec", "result", "about"))
        schema = body["schema"]
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        raise StoreError(f"{file}: it is incomplete, or not a record of a store; {remedy}") from None
    if schema != SCHEMA:
        raise StoreError(f"{file}: its schema is {schema}, this version reads {SCHEMA}; use the version that wrote it")
    if stated != _digest(body):
        raise StoreError(f"{file}: its checksum does not fit its content, which was changed; {remedy}")
    if file.stem != _digest(spec):
        raise StoreError(f"{file}: its name does not fit its specification, so it was renamed; {remedy}")
    return Record(spec, result, about)


def _digest(value: Plain) -> str:
    return sha256(_canonical(value).encode()).hexdigest()


def _canonical(value: Any) -> str:
    """The one way to write a value: sorted names, no spaces, float64 exactly."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def plain(value: Any) -> Any:
    """The same with numbers that are not finite as the strings nan, inf, -inf: JSON has none."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _difference(kept: Any, new: Any, where: str = "result") -> str:
    """Place and values of the first difference."""
    if isinstance(kept, dict) and isinstance(new, dict) and kept.keys() == new.keys():
        parts = [(kept[key], new[key], f"{where}.{key}") for key in sorted(kept)]
    elif isinstance(kept, list) and isinstance(new, list | tuple) and len(kept) == len(new):
        parts = [(k, n, f"{where}[{i}]") for i, (k, n) in enumerate(zip(kept, new, strict=True))]
    else:
        return f"{where}: {_canonical(kept):.60}, {_canonical(new):.60}"
    return next(_difference(*part) for part in parts if _canonical(part[0]) != _canonical(part[1]))
