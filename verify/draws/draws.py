"""Draws of one setting: measured once, shared by every claim and every wrong theory about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch

from fimcheck import numerics
from fimcheck.numerics.cost import exact_operations
from fimcheck.verify.claims.extension import files_in_use, load_in_worker
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.pool import Pool, completed
from fimcheck.verify.draws.store import Store, StoreError, code_of
from fimcheck.verify.rule.statistics import Array

# Fixed cost of one draw (dispatch, small factorizations), in sampled weights; see `Draws.cost`.
OVERHEAD = 10_000
# Operations of the matrix products in the time that one weight takes to sample.
OPERATIONS_PER_WEIGHT = 600
# Cubed rows of a matrix whose eigenvalues are found in that time: the largest, all, or with their vectors.
EIGENSOLVERS = {"lambda_max": 600, "lambda_top": 600, "gap": 600, "quantiles": 300, "alignment": 85}
# To find one largest stable learning rate costs about as much as sampling every weight this often, and this many
# fixed costs of a draw.
DESCENT, DESCENT_OVERHEAD = 110, 40
# To solve for the edge of one network's own units, of which the draws are made, costs as much as this many weights.
SOLUTION = 3_000_000
# Cost and number of draws measured in one call: enough to batch small widths, few enough that workers share the
# rest evenly and progress moves.
CHUNK_COST = 6e7
CHUNK = 128

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Chunk:
    """Draws that are measured in one call and kept as one record.

    block names an independent stream of seeds; replicates: which draws of it. extensions: path and SHA-256 of the
    files that the setting's names may be from.
    """

    setting: Setting
    width: int
    block: str
    replicates: range
    quantities: tuple[str, ...]
    dtype: str
    device: str
    extensions: tuple[tuple[str, str], ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.setting.seed(self.width, self.block, i) for i in self.replicates)

    def measure(self) -> numerics.Measurement:
        """Measure them here. One thread on a CPU: with more, sums are ordered otherwise and the last bits differ."""
        load_in_worker(self.extensions)
        threads, given = torch.get_num_threads(), self.setting.given()
        inputs: dict[str, Any] = {} if given is None else {"inputs": torch.from_numpy(given)}
        torch.set_num_threads(1 if self.device == "cpu" else threads)
        try:
            return numerics.measure(
                self.setting.network(self.width),
                self.setting.samples_at(self.width),
                self.seeds,
                self.quantities,
                self.dtype,
                self.device,
                **inputs,
            )
        finally:
            torch.set_num_threads(threads)

    def spec(self) -> dict[str, Any]:
        """What determines the draws, for a store."""
        given = self.setting.given()
        named = {} if given is None else {"inputs": sha256(given.tobytes()).hexdigest()}
        loaded = {"extensions": sorted(sha256 for _, sha256 in self.extensions)} if self.extensions else {}
        return {
            "kind": "draws",
            "setting": self.setting.record(),
            "width": self.width,
            "block": self.block,
            "first": self.replicates.start,
            "networks": len(self.replicates),
            "quantities": list(self.quantities),
            "dtype": self.dtype,
            "device": self.device,
            "fimcheck": code_of("fimcheck.numerics"),
            **named,
            **loaded,
        }

    def keep(self, store: Store, measured: numerics.Measurement) -> None:
        """Put the measurement into a store; libraries and what memory allowed do not count in a comparison."""
        result = measured.to_record()
        about = {name: result.pop(name) for name in ("versions", "notes")}
        store.put(self.spec(), result, about)

    def find(self, store: Store) -> numerics.Measurement | None:
        """The measurement in a store, if it is there."""
        record = store.get(self.spec())
        if record is None:
            return None
        found = numerics.Measurement.from_record({**record.result, **record.about})
        if found.seeds != self.seeds:
            raise StoreError(
                f"store {store.folder}: draws of {self.setting} at width {self.width} have other seeds than this "
                "version gives them; use another store"
            )
        return found


class Draws:
    """Grows on demand: `take` returns the first n draws of a block at every width, measuring what is missing.

    block names an independent stream of seeds: "main" decides, "confirm" must find a failure again.
    pool: where to measure; in this process when None. The result does not depend on it.
    store: where draws are kept as soon as they are measured, and are not measured again.

    >>> draws = verify.Draws(verify.Setting("linear", samples=4), {"m"})
    >>> draws.take("main", {32: 5})[32]["m"].shape
    (5,)
    """

    def __init__(
        self,
        setting: Setting,
        quantities: Iterable[str],
        *,
        seed_block: int = 0,
        device: str = "cpu",
        dtype: str = "float64",
        pool: Pool | None = None,
        store: Store | None = None,
        progress: Progress = lambda _: None,
    ) -> None:
        self.setting = setting
        self.quantities = tuple(sorted(set(quantities)))
        self.seed_block = seed_block
        self.device = device
        self.dtype = dtype
        self._pool = pool
        self._store = store
        self._progress = progress
        self._measured: dict[tuple[str, int], list[numerics.Measurement]] = {}

    def take(self, block: str, counts: dict[int, int]) -> dict[int, dict[str, Array]]:
        """For every width in `counts`, the first counts[width] draws of every quantity, leading axis = draw."""
        missing = [chunk for width, n in counts.items() for chunk in self._missing(block, width, n)]
        found = self._measure(missing)
        for chunk in missing:
            self._measured.setdefault((block, chunk.width), []).append(found[chunk])
        return {
            width: {q: np.concatenate([m.draws[q] for m in self._measured[block, width]])[:n] for q in self.quantities}
            for width, n in counts.items()
        }

    def chunks(self, block: str, width: int, start: int, stop: int) -> Iterator[Chunk]:
        """Draws start..stop of a block, cut into calls by what they cost, never by where or when they are made."""
        size = max(1, min(CHUNK, int(CHUNK_COST / self.cost(width))))
        for first in range(start, stop, size):
            replicates = range(first, min(first + size, stop))
            yield Chunk(
                self.setting,
                width,
                f"{self.seed_block}/{block}",
                replicates,
                self.quantities,
                self.dtype,
                self.device,
                files_in_use(),
            )

    def _missing(self, block: str, width: int, n: int) -> Iterator[Chunk]:
        have = sum(len(m.seeds) for m in self._measured.get((block, width), ()))
        return self.chunks(block, width, have, n)

    def _measure(self, chunks: list[Chunk]) -> dict[Chunk, numerics.Measurement]:
        """Measurements of all chunks: those in the store, and the rest, kept one by one as they are done."""
        kept = {chunk: chunk.find(self._store) for chunk in chunks} if self._store else {}
        found = {chunk: measured for chunk, measured in kept.items() if measured}
        todo = ((chunk, chunk.measure) for chunk in chunks if chunk not in found)
        for chunk, measured in completed(self._pool, todo):
            if isinstance(measured, Exception):
                raise measured
            if self._store:
                chunk.keep(self._store, measured)
            found[chunk] = measured
            self._progress(f"{self.setting}: width {chunk.width}, {chunk.replicates.stop} draws")
        return found

    def cost(self, width: int) -> float:
        """Cost of one draw in sampled weights: counted, so that a plan made from it does not depend on how fast
        the machine happened to be and can be replayed."""
        setting = self.setting
        network, samples = setting.network(width), setting.samples_at(width)
        weights = network.parameters
        rows = samples * setting.classes  # the matrix is passed over a few times, at about one weight per entry
        total = OVERHEAD + weights + rows**2 + exact_operations(network, samples) / OPERATIONS_PER_WEIGHT
        total += max((rows**3 / n for quantity, n in EIGENSOLVERS.items() if quantity in self.quantities), default=0)
        total += SOLUTION if "shared" in self.quantities else 0
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
