"""Draws of one setting: measured once, shared by every claim and every wrong theory about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from signal import SIG_IGN, SIGINT, signal
from typing import Any

import numpy as np
import torch

import numerics
from verify.setting import Setting
from verify.statistics import Array

# Fixed cost of one draw (dispatch, small factorizations), in sampled weights; see `Draws.cost`.
OVERHEAD = 100_000
# To find one largest stable learning rate is about as dear as sampling every weight this often, and this many fixed
# costs of a draw.
DESCENT, DESCENT_OVERHEAD = 110, 4
# Cost and number of draws measured in one call: enough to batch small widths, few enough that workers share the
# rest evenly and progress moves.
CHUNK_COST = 6e7
CHUNK = 128

Progress = Callable[[str], None]


def workers() -> ProcessPoolExecutor:
    """One single-threaded process per core: the matrices are small, so threads inside an operation only wait."""
    return ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=_start_worker)


def _start_worker() -> None:
    signal(SIGINT, SIG_IGN)  # Ctrl-C is the parent's to answer
    torch.set_num_threads(1)


class Draws:
    """Grows on demand: `take` returns the first n draws of a block at every width, measuring what is missing.

    block names an independent stream of seeds: "main" decides, "confirm" must find a failure again.
    pool: where to measure; in this process when None. The result does not depend on it.
    """

    def __init__(
        self,
        setting: Setting,
        quantities: Iterable[str],
        *,
        seed_block: int = 0,
        device: str = "cpu",
        dtype: str = "float64",
        pool: Executor | None = None,
        progress: Progress = lambda _: None,
    ) -> None:
        self.setting = setting
        self.quantities = tuple(sorted(set(quantities)))
        self.seed_block = seed_block
        self.device = device
        self.dtype = dtype
        self._pool = pool
        self._progress = progress
        self._measured: dict[tuple[str, int], list[numerics.Measurement]] = {}

    def take(self, block: str, counts: dict[int, int]) -> dict[int, dict[str, Array]]:
        """For every width in `counts`, the first counts[width] draws of every quantity, leading axis = draw."""
        self._measure([chunk for width, n in counts.items() for chunk in self._missing(block, width, n)])
        return {
            width: {q: np.concatenate([m.draws[q] for m in self._measured[block, width]])[:n] for q in self.quantities}
            for width, n in counts.items()
        }

    def _missing(self, block: str, width: int, n: int) -> Iterator[tuple[str, int, range]]:
        have = sum(len(m.seeds) for m in self._measured.get((block, width), ()))
        size = max(1, min(CHUNK, int(CHUNK_COST / self.cost(width))))
        for start in range(have, n, size):
            yield block, width, range(start, min(start + size, n))

    def _measure(self, chunks: list[tuple[str, int, range]]) -> None:
        calls = [
            (
                self.setting.network(width),
                self.setting.samples_at(width),
                [self.setting.seed(width, f"{self.seed_block}/{block}", i) for i in replicates],
                self.quantities,
                self.dtype,
                self.device,
            )
            for block, width, replicates in chunks
        ]
        run = map if self._pool is None else self._pool.map
        done = run(numerics.measure, *zip(*calls, strict=True)) if calls else ()
        for (block, width, replicates), measurement in zip(chunks, done, strict=True):
            self._measured.setdefault((block, width), []).append(measurement)
            self._progress(f"{self.setting}: width {width}, {replicates.stop} draws")

    def cost(self, width: int) -> float:
        """Cost of one draw in sampled weights: counted, so that a plan made from it does not depend on how fast
        the machine happened to be and can be replayed."""
        setting = self.setting
        widths = setting.network(width).widths
        weights = sum(a * b for a, b in pairwise(widths))
        rows = setting.samples_at(width) * setting.classes
        # Sampling one weight takes about as long as fifty floating-point operations of a matrix product.
        total = OVERHEAD + weights + rows**2 * sum(widths[:-1]) / 50 + rows**3 / 50
        if setting.hidden == "batch":
            total += rows * setting.samples_at(width) * weights / 120
        descends = "stable_rate" in self.quantities
        return total + DESCENT * weights + DESCENT_OVERHEAD * OVERHEAD if descends else total

    def record(self) -> dict[str, Any]:
        """Everything measured, as plain data: setting, seeds, raw draws, device, dtype, versions."""
        return {
            "setting": self.setting.record(),
            "seed_block": self.seed_block,
            "measurements": [
                {"block": block, "width": width, **m.to_record()}
                for (block, width), parts in self._measured.items()
                for m in parts
            ],
        }
