"""examples/paper.ipynb runs from top to bottom, and what it shows is what its code gives."""

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parent.parent
FILE = ROOT / "examples" / "paper.ipynb"


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """What each code cell shows: printed text, in which digits may differ between machines, or kinds of output."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        "".join(re.sub(r"\d+", "#", o.get("text") or " ".join(sorted(o.data))) for o in cell.outputs) for cell in cells
    ]


@pytest.mark.slow
def test_it_runs_and_shows_what_is_stored() -> None:
    stored = nbformat.read(FILE, 4)
    fresh = nbformat.read(FILE, 4)
    nbclient.NotebookClient(fresh, timeout=300, kernel_name="python3").execute()
    assert shown(fresh) == shown(stored)
    assert len(shown(stored)) == 10
    assert all(shown(stored)), "every cell shows something"
    assert "text/latex" in shown(stored)[0]
    assert "image/png" in shown(stored)[9]
    text = "".join(o.get("text", "") for c in fresh.cells if c.cell_type == "code" for o in c.outputs)
    assert text.count(": AGREE") == 2, "growth with, and no growth without, the mean"
    assert "AGREE" not in text.replace("DISAGREE", "").split("square root of M: AGREE")[1], (
        "no wrong theory is believed"
    )


def test_what_is_stored_is_small_and_names_no_place() -> None:
    text = FILE.read_text()
    assert len(text) < 200_000
    assert not re.search(r"/(home|tmp|root|usr|Users|work)/|site-packages", text)
