"""theory, numerics and verify stay apart: a verifier that shares code between sides proves nothing."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SIDES = ("theory", "numerics", "verify")
FORBIDDEN = {
    "theory": {"numerics", "verify", "torch"},
    "numerics": {"theory", "verify", "sympy"},
}


ROOMS = ("cli", "models", "show", "examine", "judge", "sweep", "draws", "claims", "rule")
"""The rooms of verify, from the top down: each imports from those below it alone."""


def imported(source: str) -> set[str]:
    """Modules that a text imports anywhere, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level > 1:
            names.add("<outside the package>")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {
            "import_module",
            "__import__",
        }:
            names.add("<dynamic import>")
    return names


def packages(source: str) -> set[str]:
    """Packages that a text imports, ours without ``fimcheck.``."""
    names = (name.removeprefix("fimcheck.") for name in imported(source))
    return {name if name.startswith("<") else name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_imports_nothing_from_the_other_side(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"no module found in {package}/"
    banned = FORBIDDEN[package] | {"<outside the package>", "<dynamic import>"}
    found = {f.name: packages(f.read_text()) & banned for f in files}
    assert not {name: bad for name, bad in found.items() if bad}


@pytest.mark.parametrize(
    "mutant",
    [
        "import torch",
        "from torch import nn",
        "def f():\n    import torch.nn as nn",
        "import importlib\nimportlib.import_module('torch')",
        "from ..numerics import gram",
        "from fimcheck import numerics, theory",
        "from fimcheck.numerics.dual import gram",
        "import fimcheck.numerics.dual as dual",
    ],
)
def test_the_walk_sees_a_forbidden_import(mutant: str) -> None:
    assert packages(mutant) & {"torch", "numerics", "<outside the package>", "<dynamic import>"}


def upward(room: str, source: str) -> set[str]:
    """Rooms at or above this one that a text in it imports from, its own aside."""
    words = [name.split(".") for name in imported(source) if name.startswith("fimcheck.verify.")]
    return {word[2] for word in words} & set(ROOMS[: ROOMS.index(room)])


def test_the_rooms_of_verify_import_downward() -> None:
    files = [(room, file) for room in ROOMS for file in sorted((ROOT / "verify" / room).rglob("*.py"))]
    assert {file.parent.name for file in (ROOT / "verify").glob("*/*.py")} == set(ROOMS)
    found = {str(file): upward(room, file.read_text()) for room, file in files}
    assert not {file: rooms for file, rooms in found.items() if rooms}


@pytest.mark.parametrize(
    "mutant", ["from fimcheck.verify.judge.verdict import check", "from fimcheck.verify.judge import suite"]
)
def test_an_upward_import_is_seen(mutant: str) -> None:
    assert upward("claims", mutant) == {"judge"}
    assert not upward("examine", mutant)


def test_no_module_is_imported_by_its_folder_alone() -> None:
    """A reader's theory.py would hide it, and a module imported under two names is two modules."""
    for folder in (*SIDES, "tests", "benchmarks", "examples"):
        for file in (ROOT / folder).rglob("*.py"):
            assert not {name.split(".")[0] for name in imported(file.read_text())} & set(SIDES), file


def test_every_folder_of_code_is_installed() -> None:
    """A wheel holds the packages that pyproject names and no others; an editable install would hide a missing one."""
    stated = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {
        ".".join(("fimcheck", *file.parent.relative_to(ROOT).parts))
        for package in SIDES
        for file in (ROOT / package).rglob("*.py")
    }
    assert folders == stated
