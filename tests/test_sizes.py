"""Files have one clear job: none of the packages is over 250 lines, no function over 50, no name of a test long."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def functions(text: str) -> Iterator[tuple[str, int]]:
    """Name and number of lines of every function."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FUNCTIONS):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def test_files_and_functions_are_short() -> None:
    for package in ("theory", "numerics", "verify"):
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text()
            assert text.count("\n") <= 250, file
            assert [f for f in functions(text) if f[1] > 50] == [], file


def test_names_of_tests_are_short() -> None:
    for file in (ROOT / "tests").rglob("test_*.py"):
        assert [name for name, _ in functions(file.read_text()) if len(name) >= 60] == [], file


def test_a_long_function_is_seen() -> None:
    assert dict(functions("def long():\n" + 60 * "    pass\n"))["long"] == 61
