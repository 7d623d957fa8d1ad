"""A store gives back what was put, from any number of processes, and tells of every file that it cannot trust."""

import json
import math
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fimcheck.verify.draws import store
from fimcheck.verify.draws.store import Store, StoreError

SPEC = {"setting": {"activation": "relu", "ratios": [1.0]}, "width": 64}


def only_file(folder: Path) -> Path:
    (file,) = folder.glob("*.json")
    return file


@settings(derandomize=True, deadline=None, database=None, max_examples=50)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=5))
def test_every_float_comes_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, numbers: list[float]) -> None:
    kept = Store(tmp_path_factory.mktemp("store"))
    kept.put(SPEC, {"draws": numbers}, {"seconds": 1.5})
    found = kept.get(SPEC)
    assert found is not None
    assert (found.spec, found.about) == (SPEC, {"seconds": 1.5})
    for was, now in zip(numbers, found.result["draws"], strict=True):
        assert math.isnan(was) == math.isnan(float(now))
        assert math.isnan(was) or struct.pack("d", was) == struct.pack("d", float(now))


def test_a_record_is_found_by_its_specification_alone(tmp_path: Path) -> None:
    kept = Store(tmp_path / "new")
    assert kept.get(SPEC) is None
    kept.put(SPEC, {"m": 1.0})
    kept.put({**SPEC, "width": 128}, {"m": 2.0})
    turned = dict(reversed(SPEC.items()))
    again = Store(tmp_path / "new").get(turned)
    assert again is not None
    assert again.result == {"m": 1.0}
    assert sorted(r.result["m"] for r in kept.records()) == [1.0, 2.0]


def test_the_same_result_twice_is_fine_and_another_is_told(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    kept.put(SPEC, {"draws": {"m": [1.0, 2.0]}}, {"seconds": 1.0})
    kept.put(SPEC, {"draws": {"m": (1.0, 2.0)}}, {"seconds": 2.0})
    before = only_file(tmp_path).read_bytes()
    with pytest.raises(StoreError, match=r"result\.draws\.m\[1\]: 2\.0, 2\.0000000000000004"):
        kept.put(SPEC, {"draws": {"m": [1.0, 2.0000000000000004]}})
    assert only_file(tmp_path).read_bytes() == before
    assert not list(tmp_path.glob(".*")), "no temporary file is left"


def torn(text: str) -> str:
    return text[: len(text) // 2]


def changed(text: str) -> str:
    return text.replace("1.0", "1.1")


def newer(text: str) -> str:
    return json.dumps({**json.loads(text), "schema": store.SCHEMA + 1})


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (torn, "incomplete"),
        (lambda _: "", "incomplete"),
        (lambda _: "[1, 2]", "not a record"),
        (lambda _: '{"checksum": "x", "spec": 1}', "not a record"),
        (changed, "checksum"),
        (newer, "schema is 2"),
    ],
)
def test_a_file_that_is_no_sound_record_is_told_and_left(tmp_path: Path, harm, told: str) -> None:
    kept = Store(tmp_path)
    kept.put(SPEC, {"m": [1.0]})
    file = only_file(tmp_path)
    file.write_text(harm(file.read_text()))
    left = file.read_bytes()
    for attempt in (lambda: kept.get(SPEC), lambda: list(kept.records()), lambda: kept.put(SPEC, {"m": [1.0]})):
        with pytest.raises(StoreError, match=told) as refusal:
            attempt()
        assert file.name in str(refusal.value)
    assert file.read_bytes() == left


def test_a_file_under_a_wrong_name_is_told(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    kept.put(SPEC, {"m": 1.0})
    file = only_file(tmp_path)
    file.rename(file.with_name("0" * 64 + ".json"))
    with pytest.raises(StoreError, match="renamed"):
        list(kept.records())


def test_temporary_files_are_ignored_and_cleaned_when_old(tmp_path: Path) -> None:
    old, young = tmp_path / ".a.1.partial", tmp_path / ".a.2.partial"
    for file in (old, young):
        file.write_text("half a rec")
    past = time.time() - 2 * store.ABANDONED
    os.utime(old, (past, past))
    kept = Store(tmp_path)
    assert list(kept.records()) == []
    assert not old.exists()
    assert young.exists(), "it may be another process's that is just being written"


def test_a_place_that_cannot_be_a_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", tmp_path / "no" / "such"):
        with pytest.raises(StoreError, match=str(bad)):
            Store(bad)


def test_code_that_differs_in_one_file_is_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version number stays the same from one edit to the next; results of the older code must not be used."""
    (tmp_path / "engine.py").write_text("ONE = 1")
    monkeypatch.setattr(store, "files", lambda _: tmp_path)
    before = store.code_of.__wrapped__("numerics")
    (tmp_path / "notes.txt").write_text("no code")
    assert store.code_of.__wrapped__("numerics") == before
    (tmp_path / "engine.py").write_text("ONE = 2")
    assert store.code_of.__wrapped__("numerics") != before


# The module alone, from its file: eight processes that import torch would be most of the test's time.
WRITER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("store", sys.argv[1])
module = sys.modules["store"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
kept = module.Store(sys.argv[2])
for i in range(int(sys.argv[3])):
    kept.put({"case": i}, {"draws": [i / 7] * 200}, {"process": sys.argv[4]})
"""


def writer(folder: Path, records: int, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(store.__file__), str(folder), str(records), name])


def test_eight_processes_on_one_store_corrupt_nothing(tmp_path: Path) -> None:
    running = [writer(tmp_path, 40, str(i)) for i in range(8)]
    assert [process.wait(timeout=120) for process in running] == [0] * 8
    found = {record.spec["case"]: record.result["draws"] for record in Store(tmp_path).records()}
    assert found == {i: [i / 7] * 200 for i in range(40)}
    assert not list(tmp_path.glob(".*"))


def test_a_killed_writer_leaves_only_sound_records(tmp_path: Path) -> None:
    process = writer(tmp_path, 100_000, "victim")
    deadline = time.time() + 60
    while len(list(tmp_path.glob("*.json"))) < 20 and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    found = sorted(record.spec["case"] for record in Store(tmp_path).records())
    assert len(found) >= 20
    assert found == list(range(len(found))), "what was put before the last one is all there"
