"""The examples in the docstrings of public names are right, and every public function has one."""

import doctest
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from fimcheck import numerics, theory, verify
from fimcheck.theory import edge
from fimcheck.verify.claims.extension import REGISTRIES

PACKAGES = {"theory": theory, "edge": edge, "numerics": numerics, "verify": verify}
# Theirs take seconds or need a file: docs/models.md and docs/extensions.md have them, and are run by tests.
ELSEWHERE = {"assert_bounded", "coordinate_check", "add_network_claim", "given_edge"}


def public(package: ModuleType) -> Iterator[tuple[str, Any]]:
    for name in package.__all__:
        found = inspect.unwrap(getattr(package, name))
        if inspect.isfunction(found) or inspect.isclass(found):
            yield name, found


def examples(found: Any) -> list[doctest.DocTest]:
    names = {**PACKAGES, "np": np, "torch": torch}
    return [test for test in doctest.DocTestFinder(recurse=False).find(found, globs=names) if test.examples]


@pytest.fixture
def as_before() -> Iterator[None]:
    """What an example adds is forgotten."""
    kept = [dict(registry) for registry in REGISTRIES]
    yield
    for registry, before in zip(REGISTRIES, kept, strict=True):
        registry.clear()
        registry.update(before)


WITH_EXAMPLES = [
    pytest.param(test, id=f"{title}.{name}")
    for title, package in PACKAGES.items()
    for name, found in public(package)
    for test in examples(found)
]


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("test", WITH_EXAMPLES)
def test_an_example_shows_what_it_says(test: doctest.DocTest) -> None:
    said: list[str] = []
    ran = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
    assert ran.attempted > 0
    assert ran.failed == 0, "".join(said)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_function_has_an_example(package: str) -> None:
    functions = {name: found for name, found in public(PACKAGES[package]) if inspect.isfunction(found)}
    assert {name for name, found in functions.items() if not examples(found)} <= ELSEWHERE


def test_a_wrong_example_fails() -> None:
    """The check can fail."""
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner().run(wrong, out=lambda _: None).failed == 1
