"""The pages of docs/ say what is true: their code runs, in the order it stands in, and their links lead somewhere."""

import os
import pkgutil
import re
import shlex
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from fimcheck import numerics, theory, verify
from fimcheck.theory import edge
from fimcheck.verify import cli
from fimcheck.verify.cli import pictures

ROOT = Path(__file__).parent.parent
# The code of other pages has tests of its own. That of benchmarks takes minutes, and other libraries.
PAGES = ("index", "concepts", "networks", "stories", "records", "pictures", "statistics", "benchmarks", "cite")


def read(page: str) -> str:
    return (ROOT / "docs" / f"{page}.md").read_text()


def blocks(page: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w+)\n(.*?)^```", read(page), flags=re.M | re.S)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page) and page != "benchmarks"])
def test_code_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures at their full size are for a reader's time, not a test's: tests/verify/test_plots.py draws each smaller.
    `verify` of everything is cut down to one claim. Worker processes have tests of their own; starting them for every
    line would take most of the time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fimcheck.verify.draws.pool.Processes", lambda: None)
    drawn = {c.name or getattr(c.callback, "__name__", "") for c in pictures.app.registered_commands}
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, f"{page}.md", "exec"), {"__name__": "docs"})
            continue
        assert language == "sh"
        for line in text.splitlines():
            command, *words = shlex.split(line, comments=True)
            assert command == "fimcheck"
            if words[0] == "plot":
                assert words[1] in drawn
                continue
            if words[:2] == ["verify", "--quick"]:
                words = ["verify", "plain.m", *words[1:], "--activation", "linear"]
            monkeypatch.setattr(sys, "argv", [command, *words])
            with pytest.raises(SystemExit) as stopped:
                cli.main()
            assert stopped.value.code == 0, line


@pytest.mark.parametrize("page", [*PAGES, "models"])
def test_links_lead_to_files(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", read(page)):
        assert os.path.exists(ROOT / "docs" / target), target


def test_every_page_is_listed_and_every_picture_explained() -> None:
    listed = set(re.findall(r"\]\((\w+)\.md\)", read("index")))
    assert {file.stem for file in (ROOT / "docs").glob("*.md")} - {"index"} <= listed
    shown = set(re.findall(r"\]\(([\w-]+\.svg)\)", read("pictures")))
    assert {file.name for file in (ROOT / "docs").glob("*.svg")} == shown


def test_the_citation_names_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.parametrize("package", [theory, edge, numerics, verify], ids=lambda package: package.__name__)
def test_the_reference_names_what_is_public_and_no_more(package: ModuleType) -> None:
    text = (ROOT / "docs" / "api" / f"{package.__name__.split('.')[-1]}.md").read_text()
    listed = {line.rsplit(".", 1)[1] for line in text.splitlines() if line.startswith("::: ")}
    constants = {name for name in package.__all__ if name.isupper()}
    assert listed == set(package.__all__) - constants
    assert constants <= set(re.findall(r"`(\w+)`", text))
    for line in text.splitlines():
        if line.startswith("::: "):
            assert pkgutil.resolve_name(line.split()[1]).__doc__, line
