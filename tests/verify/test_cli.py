"""The command, run as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fimcheck.verify import CLAIMS, Claim, Verdict
from fimcheck.verify.judge import verdict

Command = Callable[..., Any]


def test_verify_prints_a_table_and_writes_the_record(fimcheck: Command, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    done = fimcheck("verify", "plain.m", "last_mean.m", "--activation", "relu", "--quick", "--json", str(file))
    assert done.code == 0, done.out + done.err
    assert "2 AGREE" in done.out
    table, _, rest = done.out.partition("2 AGREE")
    assert max(map(len, table.splitlines())) <= 80
    assert f"complete record: {file}\n" in rest  # a path is never broken in two
    record = json.loads(file.read_text())
    assert [v["claim"] for v in record["verdicts"]] == ["plain.m", "last_mean.m"]
    for found, draws in zip(record["verdicts"], record["draws"], strict=True):
        measured = [m for m in draws["measurements"] if m["block"] == "main" and m["width"] == 1024]
        assert sum(len(m["seeds"]) for m in measured) >= found["points"][-1]["draws"]
        assert all(len(m["draws"]["m"]) == len(m["seeds"]) for m in measured)
    assert {"torch", "sympy", "numpy"} <= set(record["manifest"]["packages"])


def test_a_run_that_breaks_shows_and_records_what_is_done(
    fimcheck: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(claim: Claim, *rest: Any) -> Verdict:
        if claim.id == "last_mean.m":
            raise RuntimeError("the worker has no memory left")
        return right(claim, *rest)

    right = verdict.decide
    monkeypatch.setattr(verdict, "decide", breaks)
    file = tmp_path / "record.json"
    done = fimcheck("verify", "hidden_batch.hq1[1]", "last_mean.m", "--quick", "--json", str(file))
    assert done.code == 3, done.out + done.err
    assert "1 AGREE" in done.out
    assert "stopped by RuntimeError: the worker has no memory left: 1 of 2 cases not tested" in done.err
    assert "Traceback" not in done.err
    assert [v["claim"] for v in json.loads(file.read_text())["verdicts"]] == ["hidden_batch.hq1[1]"]


def test_exit_code_is_1_when_something_does_not_agree(fimcheck: Command) -> None:
    """At eps = 0.1% nothing can be resolved, and an unresolved claim is no pass."""
    done = fimcheck("verify", "plain.m", "--activation", "linear", "--quick", "--eps", "0.001", "--budget", "1s")
    assert done.code == 1, done.out + done.err
    assert "INCONCLUSIVE" in done.out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("verify", "plain.q"), "plain.q"),
        (("verify", "plain.m", "--activation", "rleu"), "rleu"),
        (("verify", "plain.m", "--eps", "nan"), "eps = nan"),
        (("verify", "plain.m", "--json", "no/such/folder/x.json"), "no/such/folder"),
        (("verify", "--json", "."), "--json ."),
        (("verify", "--report", "no/such/folder"), "--report no/such/folder"),
        (("verify", "plain.m", "--budget", "inf"), "--budget inf"),
        (("verify", "plain.m", "--budget", "-3m"), "--budget -3m"),
        (("verify", "plain.m", "--budget", "10 weeks"), "--budget 10 weeks"),
        (("verify", "growth.plain_centered", "--activation", "rleu"), "rleu"),
        (("verify", "plain.hq1[2]", "--setting", "relu L=2 T=6"), "layer 2"),
        (("verify", "--setting", "relu T=6"), "--setting"),
        (("explain", "plain.m", "--setting", "relu T=6", "--activation", "tanh"), "--setting"),
        (("plot", "phase", "picture.jpeg"), "picture.jpeg"),
        (("plot", "sharpness", "no/such/folder/x.svg"), "no/such/folder"),
        (("plot", "depth", "x.svg", "--activation", "rleu"), "rleu"),
        (("book", "no/such/folder/x.md"), "no/such/folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(fimcheck: Command, words: tuple[str, ...], named: str) -> None:
    code, _, text = fimcheck(*words)
    assert code == 2
    assert named in text.replace("\n", "")
    assert "Traceback" not in text


def test_slow_claims_are_named_where_quick_leaves_them_out(
    fimcheck: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    some = {name: CLAIMS[name] for name in ("plain.m", "growth.last_mean.gap")}
    for room in ("cli.todo", "claims.paper"):
        monkeypatch.setattr(f"fimcheck.verify.{room}.CLAIMS", some)
    done = fimcheck("verify", "paper", "beyond", "--activation", "linear", "--quick", "--report", str(tmp_path))
    assert done.code == 0
    assert "1 AGREE" in done.out
    assert "1 not tested" in done.out
    assert "fimcheck verify growth.last_mean.gap" in done.out
    assert json.loads((tmp_path / "results.json").read_text())["left_out"] == ["growth.last_mean.gap"]
    assert "growth.last_mean.gap" in (tmp_path / "index.html").read_text()


def test_python_dash_m_verify_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fimcheck.verify", "plain.q"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "plain.q" in done.stderr


def test_claims_are_listed(fimcheck: Command) -> None:
    code, listed, _ = fimcheck("claims")
    assert code == 0
    assert all(claim in listed for claim in CLAIMS)


def test_explain_shows_derivation_measurements_and_verdict(fimcheck: Command) -> None:
    done = fimcheck("explain", "last_mean.m", "--setting", "erf C=2 T=5 last=mean")
    assert done.code == 0, done.err
    for part in ("Derivation", "Price", "measured/predicted", "without the smallest", "AGREE after"):
        assert part in done.out


def test_controls_refuse_wrong_theories(fimcheck: Command) -> None:
    done = fimcheck("controls", "plain.m", "--activation", "relu")
    assert done.code == 0, done.out + done.err
    assert "0 believed" in done.out


def test_calibrate_prints_a_row_a_theory(fimcheck: Command) -> None:
    done = fimcheck("calibrate", "--runs", "3")
    assert done.code == 0, done.err
    assert "| the right theory | 3 | 0 | 0 | 0 |" in done.out


def test_verify_goes_on_from_its_store(fimcheck: Command, tmp_path: Path) -> None:
    """Killed in the middle and run again, it measures the rest and says the same."""
    words = ("verify", "plain.m", "--activation", "relu", "--quick")
    code = "import sys; from fimcheck.verify.cli import main; sys.exit(main())"
    store = tmp_path / "store"
    killed = subprocess.Popen(
        [sys.executable, "-c", code, *words, "--store", str(store)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while len(list(store.glob("*.json"))) < 4 and killed.poll() is None:
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    assert b"AGREE (within" not in killed.communicate(timeout=60)[0], "it was killed before its end"
    kept = {file: file.stat().st_mtime_ns for file in store.glob("*.json")}
    resumed, whole = fimcheck(*words, "--store", str(store)), fimcheck(*words)
    assert resumed.code == 0, resumed.err
    assert resumed.out == whole.out
    assert len(list(store.glob("*.json"))) > len(kept) >= 4
    assert all(file.stat().st_mtime_ns == written for file, written in kept.items())
