"""The README says what is true: its code runs, and its test command is the one that CI runs."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.M | re.S)


def shell_lines() -> list[str]:
    return [line for language, text in BLOCKS if language == "sh" for line in text.splitlines() if line]


def test_ci_runs_the_test_command() -> None:
    (command,) = (line for line in (ROOT / ".ci" / "run").read_text().splitlines() if "pytest" in line)
    assert command in shell_lines()


@pytest.mark.parametrize("code", [text for language, text in BLOCKS if language == "python"])
def test_python_blocks_run(code: str) -> None:
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("fimcheck ")])
def test_commands_run(line: str, fimcheck: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the three stories; `verify` alone is the whole suite and has its own tests."""
    words = shlex.split(line, comments=True)[1:]
    if words[:2] == ["verify", "--quick"]:
        words = ["verify", "plain.m", "--quick", "--activation", "relu"]
    if words[0] == "check":  # all its stages have tests of their own; here one claim
        setting = ["--claim", "hidden_rms_shift.m", "--setting", "relu T=5 hidden=rms_shift"]
        words = ["check", str(ROOT / words[1]), *setting]
    if words[0] == "coordinates":
        words[1] = str(ROOT / words[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    done = fimcheck(*words)
    assert done.code == 0, done.err


def test_pictures_and_files_named_here_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
