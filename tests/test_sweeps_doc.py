"""docs/sweeps.md says what is true: its blocks run, in their order, in one folder."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from fimcheck.verify import cli

DOC = Path(__file__).parent.parent / "docs" / "sweeps.md"
# A block that says not-run needs machines that a test does not have; text is no code.
BLOCKS: list[tuple[str, str]] = re.findall(r"^```([\w -]*)\n(.*?)^```", DOC.read_text(), flags=re.M | re.S)


def test_every_block_is_run_or_says_that_it_is_not() -> None:
    assert [kind for kind, _ in BLOCKS if kind not in ("toml", "sh", "python", "text")] == ["python not-run"]


@pytest.mark.slow
def test_the_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs the extra dask")
    monkeypatch.chdir(tmp_path)
    for kind, text in BLOCKS:
        if kind == "toml":
            Path("grid.toml").write_text(text)
        elif kind == "python":
            exec(compile(text, str(DOC), "exec"), {"__name__": "doc"})
        elif kind == "sh":
            for line in filter(None, text.splitlines()):
                run(line, monkeypatch)
    results = {file.name: file.read_bytes() for file in Path("results").iterdir()}
    dask = {file.name: file.read_bytes() for file in Path("results-dask").iterdir()}
    assert results == dask, "the document says byte for byte"


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0, line
