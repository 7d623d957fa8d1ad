"""Workers of a dask cluster: a scheduler that runs somewhere, or a cluster made here for the run."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from importlib.metadata import version
from logging import ERROR
from typing import Any

import torch

from fimcheck.verify.draws.pool import Pool, Task
from fimcheck.verify.draws.store import code_of

try:
    import dask.config
    import distributed
except ModuleNotFoundError:
    raise ValueError("dask.distributed is not installed: pip install 'fimcheck[dask]'") from None

# What decides the result of a measurement, beside the processor.
PACKAGES = ("numpy", "torch")
CONNECT_SECONDS = 30
RESTART_SECONDS = 20
LOCALHOST = "127.0.0.1"


class DaskPool(Pool):
    """Tasks on the workers of a scheduler; each takes a whole GPU of its worker (resource GPU) on device "cuda".

    address: of a running scheduler, such as tcp://host:8786; or None for
    workers: a cluster of so many single-threaded workers, made here, reachable from this machine only.
    """

    died = (distributed.KilledWorker,)

    def __init__(self, address: str | None, workers: int, device: str) -> None:
        gpu = device != "cpu"
        self._cluster = _cluster(workers, gpu) if address is None else None
        try:
            self._client: Any = distributed.Client(
                self._cluster or address, timeout=CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, ValueError) as error:
            raise ValueError(
                f"--dask {address}: {error}; start a scheduler there (dask scheduler) or correct the address"
            ) from None
        self._needs = {"resources": {"GPU": 1}} if gpu else {}
        try:
            self._check_workers(address, gpu)
        except BaseException:
            self.close()
            raise

    def _check_workers(self, address: str | None, gpu: bool) -> None:
        """Refuse workers that would measure something else, or nothing at all."""
        mine = _versions()
        for worker, theirs in self._client.run(_versions, on_error="return").items():
            if theirs != mine:
                raise ValueError(
                    f"--dask {address}: worker {worker} has {theirs}, this process {mine}; install the same there"
                )
        workers = self._client.scheduler_info()["workers"].values()
        if gpu and workers and not any("GPU" in worker["resources"] for worker in workers):
            raise ValueError(
                f"--dask {address}: no worker has a GPU to give; start one per GPU with CUDA_VISIBLE_DEVICES=i "
                "dask worker --nthreads 1 --resources GPU=1"
            )

    def submit(self, task: Task) -> Future[Any]:
        # Not by the executor of dask: it forgets a future whose result is lost with its worker, if the task then fails.
        theirs = self._client.submit(task, pure=False, **self._needs)
        return asyncio.run_coroutine_threadsafe(_result(theirs), self._client.loop.asyncio_loop)

    def ahead(self) -> int:
        return 2 * max(1, sum(self._client.nthreads().values()))

    def renew(self) -> None:
        """Nothing to do: the nanny of a worker starts another."""

    def close(self) -> None:
        with ExitStack() as closing:
            if self._cluster is not None:
                closing.callback(self._cluster.close)
            closing.callback(self._client.close)
            if self._cluster is not None and self._cluster.workers:
                # A nanny that is just starting a worker in the place of a dead one cannot be closed: dask fails.
                with suppress(OSError):
                    self._client.wait_for_workers(len(self._cluster.workers), timeout=RESTART_SECONDS)


def _cluster(workers: int, gpu: bool) -> Any:
    if workers < 1:
        raise ValueError(f"--workers {workers}: at least one worker is needed")
    if gpu and workers > torch.cuda.device_count():
        raise ValueError(
            f"--workers {workers}: one worker per GPU, and this machine has {torch.cuda.device_count()}; use that many"
        )
    # A worker that is gone for this long is given up; on a busy machine the one in its place starts slowly.
    # And malloc keeps freed matrices, which dask would have it give back at once: to get them again takes a fifth of
    # the time of a measurement.
    trim = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}
    dask.config.set({"distributed.deploy.lost-worker-timeout": "10 minutes", **trim})
    # allowed_failures: a worker that dies costs its tasks one retry. No memory limit: dask would pause a worker for
    # good that torch's memory fills to 80 %.
    common = {"host": LOCALHOST, "dashboard": False, "dashboard_address": f"{LOCALHOST}:0"}
    quiet: Any = ERROR  # annotated as a bool, meant as a level
    options = {**common, "nthreads": 1, "memory_limit": 0, "silence_logs": quiet}
    return distributed.SpecCluster(
        scheduler={"cls": distributed.Scheduler, "options": {**common, "port": 0, "allowed_failures": 1}},
        workers={
            i: {
                "cls": distributed.Nanny,
                "options": {**options, "resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": str(i)}}
                if gpu
                else options,
            }
            for i in range(workers)
        },
        silence_logs=quiet,
    )


async def _result(future: Any) -> Any:
    """Of a future of dask, awaited in the loop of its client."""
    return await future


def _versions() -> dict[str, str]:
    return {"fimcheck": code_of("fimcheck.numerics", "fimcheck.theory"), **{name: version(name) for name in PACKAGES}}
