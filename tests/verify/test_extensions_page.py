"""docs/extensions.md says what is true: every Python block of it is loaded or run."""

import re
from pathlib import Path

import pytest

from fimcheck.verify import CLAIMS, Setting
from fimcheck.verify.claims.extension import load
from fimcheck.verify.examine.stages import conforms, derives

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "extensions.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S)


@pytest.mark.parametrize("block", [b for b in BLOCKS if "add_" in b])
def test_extensions_of_the_page_load_conform_and_derive(block: str, tmp_path: Path) -> None:
    file = tmp_path / "page.py"
    file.write_text(block)
    extension = load(file)
    try:
        assert {stage.outcome for stage in (conforms(extension, "cpu"), derives(extension))} <= {"passed", "empty"}
        for id in extension.claims:
            assert CLAIMS[id].prediction(Setting("tanh", sigma_b2=0.0, samples=16)).relation == "at most"
    finally:
        extension.forget()


@pytest.mark.parametrize("block", [b for b in BLOCKS if "add_" not in b])
def test_code_of_the_page_runs(block: str) -> None:
    exec(compile(block, "extensions.md", "exec"), {"__name__": "docs"})


def test_files_named_on_the_page_exist() -> None:
    named = re.findall(r"`(examples/\w+\.py)`", PAGE)
    assert len(named) >= 3
    for file in named:
        assert (ROOT / file).exists(), file
