"""The command check, run in this process as a user runs it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fimcheck.verify.claims.extension import IN_USE
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.cli import check as cli_check
from fimcheck.verify.cli import scaling
from fimcheck.verify.judge.verdict import Effort

ROOT = Path(__file__).parent.parent.parent
NOT_A_DEFINITION = """
from fimcheck import numerics, theory

def noisy(z):
    return z + z.new_empty(z.shape).normal_()

class Same(theory.Step):
    def apply(self, state, run, path):
        return state

theory.add_step("noisy", Same)
numerics.add_step("noisy", noisy)
"""


Command = Callable[..., Any]


def test_a_failing_stage_ends_with_1_and_is_recorded(fimcheck: Command, tmp_path: Path) -> None:
    file, record = tmp_path / "noisy.py", tmp_path / "record.json"
    file.write_text(NOT_A_DEFINITION)
    done = fimcheck("check", str(file), "--json", str(record))
    assert done.code == 1
    shown = done.out.replace("\n", " ")
    assert "Running the code of" in shown
    assert "conformance: failed" in shown
    assert f"{file}:4: step noisy: deterministic" in shown
    assert "order parameters: " not in shown
    kept = json.loads(record.read_text())
    assert [stage["stage"] for stage in kept["extension"]["stages"]] == ["conformance"]
    assert len(kept["extension"]["sha256"]) == 64
    assert kept["command"].startswith("fimcheck check ")


def test_one_claim_is_replayed(fimcheck: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_check, "QUICK", Effort(eps=0.1, looks=3, budget=1e7))
    words = ("--claim", "hidden_rms_shift.m", "--setting", "linear L=2 T=5 hidden=rms_shift")
    code, text, _ = fimcheck("check", str(ROOT / "examples" / "rms.py"), *words)
    assert code == 0
    assert "1 AGREE" in text


WRONG_PLACE = """
from fimcheck import numerics, theory

class Center(theory.Step):
    def apply(self, state, run, path):
        return state

theory.add_step("center", Center)
numerics.add_step("center", lambda u: u - u.mean(-1, keepdim=True))
"""


def test_a_step_is_examined_at_the_place_that_is_named(fimcheck: Command, tmp_path: Path) -> None:
    """As the replay of a refused place does: this theory holds behind dense weights, not behind an activation."""
    file = tmp_path / "center.py"
    file.write_text(WRONG_PLACE)
    right = fimcheck("check", str(file), "--setting", "dense center dense T=5 sb2=0.3")
    next(iter(IN_USE.values())).forget()
    wrong = fimcheck("check", str(file), "--setting", "dense relu center dense T=5 sb2=0.3")
    assert (right.code, wrong.code) == (0, 1)
    assert "12 overlaps agree" in right.out
    assert "refused: K[3].same, step 3: center: predicted 1.15, measured" in wrong.out


@pytest.mark.slow
def test_the_command_ends_with_what_was_examined(fimcheck: Command, tmp_path: Path) -> None:
    file, record = tmp_path / "center.py", tmp_path / "record.json"
    file.write_text(WRONG_PLACE)
    done = fimcheck("check", str(file), "--json", str(record))
    assert done.code == 1
    assert "behind an activation [dense relu center dense" in done.out
    lines = done.out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("center: "))
    examined, one, two, three, beyond, left = lines[start : start + 6]
    assert "in 2 kinds of place: behind a dense step, behind an activation" in examined
    assert one.startswith("refused by the theory: dense relu center relu dense: ")
    assert two.startswith("refused by the theory: dense gate(center, center) dense; dense gate(center, ")
    assert three.startswith("refused by the theory: dense skip(center) dense: a branch without dense weights")
    assert beyond.startswith("not examined: T in proportion to M")
    assert left == "not examined: order parameters, claims, wrong theories"
    (*_, places) = json.loads(record.read_text())["extension"]["stages"]
    assert places["examined"][0] == examined


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("missing.py",), "missing.py"),
        (("rms.py", "--claim", "plain.m"), "hidden_rms_shift.m"),
        (("rms.py", "--setting", "relu T=4"), "--claim"),
        (("rms.py", "--setting", "dense relu dense T=4"), "rms_shift"),
        (("rms.py", "--json", "no/such/folder/x.json"), "no/such/folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    fimcheck: Command, words: tuple[str, ...], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / "examples")
    code, _, text = fimcheck("check", *words)
    assert code == 2
    assert named in text.replace("\n", "")
    assert "Traceback" not in text


def test_scaling_takes_an_extension(fimcheck: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the default setting of the extension, or at one that names what it adds."""
    asked: list[Setting] = []

    def stop(setting: Setting, *_: object) -> None:
        asked.append(setting)
        raise ValueError("far enough")

    monkeypatch.setattr(scaling, "exponent", stop)
    file = str(ROOT / "examples" / "rms.py")
    assert fimcheck("scaling", file, "m", "--in", "M").code == 2
    next(iter(IN_USE.values())).forget()
    assert fimcheck("scaling", file, "m", "--in", "M", "--setting", "erf T=4 hidden=rms_shift").code == 2
    assert [s.hidden for s in asked] == ["rms_shift", "rms_shift"]
    assert asked[1].activation == "erf"
    code, _, text = fimcheck("scaling", "relu T=4", "m", "--setting", "erf T=4")
    assert code == 2
    assert "once" in text
