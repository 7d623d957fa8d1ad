"""Where measurements run: in this process, in processes of this machine, or on a dask cluster."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context, parent_process
from signal import SIG_IGN, SIGINT, signal
from threading import Thread
from typing import Any, Self, TypeVar

import torch

Key = TypeVar("Key")
Task = Callable[[], Any]


class WorkerDied(RuntimeError):
    """A task whose worker process ended, and ended again when the task ran alone."""


class Pool(ABC):
    """Workers that run tasks: picklable functions without arguments. The result does not depend on the pool.

    died: what a task raises whose worker died.
    """

    died: tuple[type[Exception], ...]

    @abstractmethod
    def submit(self, task: Task) -> Future[Any]:
        """Hand over one task."""

    @abstractmethod
    def ahead(self) -> int:
        """How many tasks to hand over before the first is done, so that no worker waits."""

    @abstractmethod
    def renew(self) -> None:
        """Make the pool usable again after the death of a worker."""

    @abstractmethod
    def close(self) -> None:
        """Drop what has not started, and free the workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Processes(Pool):
    """One single-threaded process per core: the matrices are small, so threads inside an operation only wait."""

    died = (BrokenExecutor,)

    def __init__(self) -> None:
        self._executor = self._start()

    def _start(self) -> Executor:
        return ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=_start_worker)

    def submit(self, task: Task) -> Future[Any]:
        return self._executor.submit(task)

    def ahead(self) -> int:
        return 2 * (os.cpu_count() or 1)

    def renew(self) -> None:
        self.close()
        self._executor = self._start()

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal(SIGINT, SIG_IGN)  # Ctrl-C is the parent's to answer
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot stop its workers, and they would wait for its next task forever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def completed(pool: Pool | None, tasks: Iterable[tuple[Key, Task]]) -> Iterator[tuple[Key, Any]]:
    """The results of the tasks as they come, under their keys; in place of a result the Exception that a task raised.

    Without a pool they run here, one by one. A task is drawn from `tasks` when its turn has come. A worker that dies
    costs every task that may have killed it one more run, alone; the one that kills again gets WorkerDied.
    """
    if pool is None:
        yield from ((key, _outcome(task)) for key, task in tasks)
        return
    waiting = iter(tasks)
    running: dict[Future[Any], tuple[Key, Task]] = {}
    try:
        while True:
            for key, task in islice(waiting, max(0, pool.ahead() - len(running))):
                running[_submitted(pool, task)] = key, task
            if not running:
                return
            done = wait(running, return_when=FIRST_COMPLETED).done
            if any(isinstance(future.exception(), pool.died) for future in done):
                done = wait(running).done  # the others end too, well or with the broken pool
            finished = [(*running.pop(future), _outcome(future.result)) for future in done]
            yield from ((key, outcome) for key, _, outcome in finished if not isinstance(outcome, pool.died))
            suspects = [(key, task) for key, task, outcome in finished if isinstance(outcome, pool.died)]
            if suspects:
                pool.renew()
            for key, task in suspects:
                yield key, _alone(pool, task)
    finally:
        for future in running:
            future.cancel()


def _alone(pool: Pool, task: Task) -> Any:
    outcome = _outcome(_submitted(pool, task).result)
    if not isinstance(outcome, pool.died):
        return outcome
    pool.renew()
    return WorkerDied("its worker process died twice, the second time with nothing else to do: it needs more memory")


def _submitted(pool: Pool, task: Task) -> Future[Any]:
    """The future of a task, also where the pool takes none: a worker died unseen while the caller was busy."""
    try:
        return pool.submit(task)
    except pool.died as death:
        future: Future[Any] = Future()
        future.set_exception(death)
        return future


def _outcome(task: Task) -> Any:
    try:
        return task()
    except Exception as error:
        return error


def make(device: str, dask: str | None = None, workers: int | None = None) -> Pool | None:
    """The pool that a command is told to use: processes of this machine, for a GPU this process (None), or dask.

    dask: address of a scheduler. workers: size of a dask cluster made here. At most one of the two.
    """
    if dask is not None and workers is not None:
        raise ValueError(f"--dask {dask} --workers {workers}: workers are for a cluster made here; give one of the two")
    if dask is None and workers is None:
        return Processes() if device == "cpu" else None
    from fimcheck.verify.draws.dask import DaskPool  # an extra, and slow to import

    return DaskPool(dask, workers or 0, device)
