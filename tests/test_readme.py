"""The README says what is true: its code runs, and its test command is the one that CI runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.M | re.S)


def shell_lines() -> list[str]:
    return [line for language, text in BLOCKS if language == "sh" for line in text.splitlines() if line]


def test_ci_runs_the_test_command() -> None:
    install = (ROOT / ".ci" / "run").read_text().splitlines()[4]
    assert install in shell_lines()


@pytest.mark.parametrize("code", [text for language, text in BLOCKS if language == "python"])
def test_python_blocks_run(code: str) -> None:
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("fimcheck ")])
def test_commands_run(line: str, tmp_path: Path) -> None:
    """Every command of the three stories; `verify` alone is the whole suite and has its own tests."""
    words = shlex.split(line, comments=True)[1:]
    code = "import sys; from fimcheck.verify.cli import main; sys.exit(main())"
    if words[:2] == ["verify", "--quick"]:
        words = ["verify", "plain.m", "--quick", "--activation", "relu"]
    if words[0] == "check":  # all its stages have tests of their own; here one claim
        words = [
            "check",
            str(ROOT / words[1]),
            "--claim",
            "hidden_rms_shift.m",
            "--setting",
            "relu T=5 hidden=rms_shift",
        ]
    if words[0] == "coordinates":
        words[1] = str(ROOT / words[1])
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_pictures_and_files_named_here_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
