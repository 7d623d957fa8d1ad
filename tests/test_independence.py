"""theory, numerics and verify stay apart: a verifier that shares code between sides proves nothing."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "theory": {"numerics", "verify", "torch"},
    "numerics": {"theory", "verify", "sympy"},
}


def imported_names(source: str) -> set[str]:
    """Top-level packages that a module imports anywhere in its text, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level > 1:
            names.add("<outside the package>")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {
            "import_module",
            "__import__",
        }:
            names.add("<dynamic import>")
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_imports_nothing_from_the_other_side(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"no module found in {package}/"
    banned = FORBIDDEN[package] | {"<outside the package>", "<dynamic import>"}
    found = {f.name: imported_names(f.read_text()) & banned for f in files}
    assert not {name: bad for name, bad in found.items() if bad}


@pytest.mark.parametrize(
    "mutant",
    [
        "import torch",
        "from torch import nn",
        "def f():\n    import torch.nn as nn",
        "import importlib\nimportlib.import_module('torch')",
        "from ..numerics import gram",
    ],
)
def test_the_walk_sees_a_forbidden_import(mutant: str) -> None:
    assert imported_names(mutant) & {"torch", "<outside the package>", "<dynamic import>"}


def test_every_folder_of_code_is_installed() -> None:
    """A wheel holds the packages that pyproject names and no others; an editable install would hide a missing one."""
    stated = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for package in ("theory", "numerics", "verify")
        for file in (ROOT / package).rglob("*.py")
    }
    assert folders == stated
