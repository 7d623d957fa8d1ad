"""What becomes of a run that is ended from outside."""

import os
import signal
from collections.abc import Iterator

import pytest
import typer

from fimcheck.verify.show.progress import Watch


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as at a terminal: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("name", [n for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)])
def test_a_signal_ends_a_run_as_ctrl_c_does(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    number, done = getattr(signal, name), []
    before = signal.getsignal(number)
    with Watch(1) as watch:
        with watch.until_stopped():
            done.append("first case")
            os.kill(os.getpid(), number)
            done.append("not reached")
        assert done == ["first case"]
        with pytest.raises(typer.Exit) as ended:
            watch.end_if_stopped("1 of 2 cases not tested", kept=True)
    assert ended.value.exit_code == 130
    assert signal.getsignal(number) == before
    assert "the same command goes on" in capsys.readouterr().err
