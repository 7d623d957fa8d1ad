"""Workers of `pytest -n` share the cores: one thread each, for torch and for the commands that tests start."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

# Generated cases are the same in every run; the profile "fuzz" takes more of them, and others each time.
settings.register_profile("suite", derandomize=True, deadline=None, database=None, max_examples=200)
settings.register_profile("fuzz", deadline=None, max_examples=2000, suppress_health_check=list(HealthCheck))
settings.load_profile("suite")


class Ran(NamedTuple):
    """What a command ended with: its exit code, and the texts that it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def fimcheck(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ran]]:
    """Runs a command in this process, and without worker processes: both have tests of their own, and take seconds.

    Extensions that it loads are forgotten afterwards.
    """
    from fimcheck.verify import cli
    from fimcheck.verify.claims.extension import IN_USE

    monkeypatch.setattr("fimcheck.verify.draws.pool.Processes", lambda: None)
    monkeypatch.setattr("fimcheck.verify.cli.model.Processes", nullcontext)
    monkeypatch.setattr("fimcheck.verify.cli.trust.Processes", nullcontext)

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["fimcheck", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert isinstance(stopped.value.code, int | None)
        shown = capsys.readouterr()
        return Ran(stopped.value.code or 0, str(shown.out), str(shown.err))

    yield run
    for extension in list(IN_USE.values()):
        extension.forget()
