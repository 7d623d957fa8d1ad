"""Every pool gives the results of its tasks, also when a worker dies."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from functools import partial
from operator import mul
from pathlib import Path

import psutil
import pytest

from fimcheck.verify.draws import pool as pools
from fimcheck.verify.draws.pool import Pool, Processes, WorkerDied, completed


def dask_cluster() -> Pool:
    pytest.importorskip("distributed", reason="needs the extra dask")
    from fimcheck.verify.draws.dask import DaskPool

    return DaskPool(None, 2, "cpu")


# Written as expressions: a worker cannot import this file.
def dying_once(mark: Path) -> Callable[[], object]:
    """A task that kills its worker the first time it runs."""
    code = "pathlib.Path(mark).exists() or (pathlib.Path(mark).touch(), os.kill(os.getpid(), 9))"
    return partial(eval, "(exec('import os, pathlib', g := {'mark': mark}), eval(code, g), 42)[-1]",
                   {"mark": str(mark), "code": code})  # fmt: skip


DYING = partial(eval, "__import__('os').kill(__import__('os').getpid(), 9)", {})


@pytest.mark.parametrize("make", [Processes, dask_cluster])
def test_a_dead_worker_costs_one_retry_and_loses_nothing(make: Callable[[], Pool], tmp_path: Path) -> None:
    tasks: dict[str, Callable[[], object]] = {str(i): partial(mul, i, i) for i in range(12)}
    tasks["once"] = dying_once(tmp_path / "mark")
    tasks["always"] = DYING
    tasks["raises"] = partial(int, "x")
    tasks |= {str(i): partial(mul, i, i) for i in range(12, 24)}
    with make() as pool:
        found = dict(completed(pool, tasks.items()))
    assert set(found) == set(tasks)
    assert (tmp_path / "mark").exists()
    assert found.pop("once") == 42
    assert isinstance(found.pop("always"), WorkerDied)
    assert isinstance(found.pop("raises"), ValueError)
    assert found == {str(i): i * i for i in range(24)}


# Waits for the caller before it kills its worker, the first time that it runs.
WAITING = """
import os, pathlib, time
if not pathlib.Path(mark).exists():
    while not pathlib.Path(go).exists():
        time.sleep(0.01)
    pathlib.Path(mark).touch()
    os.kill(os.getpid(), 9)
"""


def test_a_worker_that_dies_unseen_loses_nothing(tmp_path: Path) -> None:
    """The pool is told to be broken by the next task that it is handed, not by one that is waited for."""
    go, mark = tmp_path / "go", tmp_path / "mark"
    tasks: dict[str, Callable[[], object]] = {"0": partial(mul, 0, 0)}
    tasks["dies"] = partial(exec, WAITING, {"go": str(go), "mark": str(mark)})
    with Processes() as pool:
        tasks |= {str(i): partial(mul, i, i) for i in range(1, 3 * pool.ahead())}
        found, broken = {}, False
        for key, outcome in completed(pool, tasks.items()):
            found[key] = outcome
            go.touch()
            while not broken:
                try:
                    pool.submit(int).result(timeout=60)
                except BrokenExecutor:
                    broken = True
    assert found.pop("dies") is None
    assert found == {str(i): i * i for i in range(3 * pool.ahead())}


# The first time, a result that kills the worker that is asked for it; then a task that kills its worker.
LOST = """
class Result:
    def __reduce__(self):
        os.kill(os.getpid(), 9)
if pathlib.Path(mark).exists():
    os.kill(os.getpid(), 9)
pathlib.Path(mark).touch()
"""


def test_a_result_lost_with_its_worker_is_not_waited_for(tmp_path: Path) -> None:
    """The executor of dask waits for it forever."""
    code = "(exec('import os, pathlib', g := {'mark': mark}), exec(code, g), g['Result']())[-1]"
    lost = partial(eval, code, {"mark": str(tmp_path / "mark"), "code": LOST})
    with dask_cluster() as pool:
        ((_, outcome),) = completed(pool, [("lost", lost)])
    assert isinstance(outcome, WorkerDied)


def test_without_a_pool_tasks_run_here_when_their_turn_comes() -> None:
    drawn = []

    def tasks():
        for i in range(3):
            drawn.append(i)
            yield i, partial(divmod, 6, i)

    results = completed(None, tasks())
    assert isinstance(next(results)[1], ZeroDivisionError)
    assert drawn == [0]
    assert list(results) == [(1, (6, 0)), (2, (3, 0))]


def test_what_a_command_is_told_about_the_pool_is_checked() -> None:
    assert pools.make("cuda") is None
    with pytest.raises(ValueError, match="give one of the two"):
        pools.make("cpu", "tcp://127.0.0.1:1", 2)


def test_a_scheduler_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs the extra dask")
    from fimcheck.verify.draws import dask

    monkeypatch.setattr(dask, "CONNECT_SECONDS", 1)
    for address in ("tcp://127.0.0.1:1", "nonsense"):
        with pytest.raises(ValueError, match=address):
            pools.make("cpu", address)


KILLED = """
import os, time
from functools import partial
from fimcheck.verify.draws.pool import Processes
if __name__ == "__main__":
    pool = Processes()
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(partial(time.sleep, 600))
    os.kill(os.getpid(), 9)
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Also in the middle of a task. Without that they stay forever, holding their memory."""
    (tmp_path / "killed.py").write_text(KILLED)
    ran = subprocess.run([sys.executable, tmp_path / "killed.py"], stdout=subprocess.PIPE, timeout=120)
    worker = int(ran.stdout)
    for _ in range(100):
        if not runs(worker):
            return
        time.sleep(0.2)
    os.kill(worker, 9)
    pytest.fail(f"worker {worker} still runs")


def runs(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
