"""The run over the points of a grid, which can be interrupted and goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from fimcheck import theory
from fimcheck.numerics.orders import COUPLED_ORDERS, FIRST_LAYER
from fimcheck.numerics.quantities import PER_LAYER
from fimcheck.theory.gaussian.functions import QuadratureError
from fimcheck.theory.network.predict import ORDERS
from fimcheck.verify.claims.claim import evaluator
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.draws import Chunk
from fimcheck.verify.draws.pool import Pool, Task, completed
from fimcheck.verify.draws.store import Store
from fimcheck.verify.rule.statistics import Array
from fimcheck.verify.sweep.grid import Point


def prediction(setting: Setting, width: int, quantity: str) -> dict[str, Any]:
    """What the theory says of a quantity: relation and value, a list over layers for the order parameters of layers.

    Where it says nothing, the reason.
    """
    samples = "proportional" if setting.samples is None else "fixed"
    try:
        if quantity in theory.QUANTITIES:
            found = theory.predict(setting.wide(), quantity, samples)
            return {"relation": found.relation, "value": float(evaluator(found, setting)(width, {}))}
        if quantity in ORDERS and setting.ratios[-1] != 1:
            return {
                "reason": f"measured {quantity} takes the width of the last hidden layer for M; make the last ratio 1"
            }
        if quantity in (*ORDERS, *PER_LAYER) and quantity not in COUPLED_ORDERS:
            with np.errstate(all="ignore"):  # the check below tells
                orders = theory.numeric_order_parameters(setting.wide(), samples, setting.samples)
            value = getattr(orders, quantity)
            values = [float(value[i]) for i in sorted(value)] if isinstance(value, dict) else float(value)
            if not np.all(np.isfinite(values)):
                raise OverflowError(f"{quantity} exceeds float64 at these numbers")
            return {"relation": "equals", "value": values}
    except (ValueError, OverflowError, QuadratureError) as refusal:
        return {"reason": str(refusal)}
    return {"reason": f"the theory has no formula for {quantity}"}


def predictions(setting: Setting, width: int, quantities: Iterable[str]) -> dict[str, dict[str, Any]]:
    """`prediction` for several quantities."""
    return {quantity: prediction(setting, width, quantity) for quantity in quantities}


@dataclass
class _Work:
    """A point in progress: how many tasks are left, and what the theory says; its draws are in the store."""

    point: Point
    chunks: list[Chunk]
    left: int
    predicted: dict[str, dict[str, Any]] = field(default_factory=dict)


def missing(points: Iterable[Point], store: Store) -> list[Point]:
    """The points that are not in the store; a failed one is missing too."""
    return [point for point in points if store.get(point.spec()) is None]


def not_finite(points: Iterable[Point], store: Store) -> int:
    """How many of the points that are done have draws that are not finite: they are kept, and say nothing."""
    records = (store.get(point.spec()) for point in points)
    return sum(any(row["finite"] < r.spec["networks"] for row in r.result["rows"]) for r in records if r)


def run(
    points: Iterable[Point],
    store: Store,
    pool: Pool | None,
    stopped: Callable[[], bool] = lambda: False,
    finished: Callable[[Point, bool], None] = lambda _point, _well: None,
) -> None:
    """Work on points until all are in the store, as records of kind "point", or until `stopped`.

    Draws are kept as soon as they are measured. A point whose setting, measurement or prediction raises becomes a
    record of kind "failure". finished is told every point, and whether it went well.
    """
    works = _Works(store, finished)
    for (point, chunk), outcome in completed(pool, works.tasks(points, stopped)):
        works.take(point, chunk, outcome)


class _Works(dict[Point, _Work]):
    """The points in progress: one that has failed or is in the store is no longer among them."""

    def __init__(self, store: Store, finished: Callable[[Point, bool], None]) -> None:
        self.store, self.finished = store, finished

    def tasks(
        self, points: Iterable[Point], stopped: Callable[[], bool]
    ) -> Iterator[tuple[tuple[Point, Chunk | None], Task]]:
        """What is missing, point by point, made when its turn comes."""
        for point in points:
            try:
                chunks = point.chunks()
            except ValueError as refusal:
                self._fail(point, refusal)
                continue
            todo: list[tuple[Chunk | None, Task]] = [(c, c.measure) for c in chunks if c.find(self.store) is None]
            if point.predict:
                todo.append((None, partial(predictions, point.setting(), point.width, point.quantities)))
            self[point] = _Work(point, chunks, len(todo))
            self._settle(self[point])
            for chunk, task in todo:
                if stopped():
                    return
                if point in self:
                    yield (point, chunk), task

    def take(self, point: Point, chunk: Chunk | None, outcome: Any) -> None:
        """What came of a task: draws of a chunk, predictions where there is none, or an exception."""
        work = self.get(point)
        if not isinstance(outcome, Exception) and chunk:
            chunk.keep(self.store, outcome)
        if work is None:
            return
        if isinstance(outcome, Exception):
            self._fail(point, outcome)
            return
        if chunk is None:
            work.predicted = outcome
        work.left -= 1
        self._settle(work)

    def _fail(self, point: Point, error: Exception) -> None:
        self.pop(point, None)
        words = str(error).splitlines() or [""]
        self.store.put({**point.spec(), "kind": "failure", "error": f"{type(error).__name__}: {words[0]}"}, {})
        self.finished(point, False)

    def _settle(self, work: _Work) -> None:
        if not work.left:
            del self[work.point]
            self.store.put(work.point.spec(), _outcome(work, self.store))
            self.finished(work.point, True)


def _outcome(work: _Work, store: Store) -> dict[str, Any]:
    """A point in numbers: for every quantity, layer by layer, mean, standard error and what the theory says."""
    parts = [chunk.find(store) for chunk in work.chunks]
    rows = []
    for quantity in sorted(work.point.quantities):
        draws = np.concatenate([part.draws[quantity] for part in parts if part is not None])
        said = work.predicted.get(quantity, {})
        rows += _rows(quantity, draws, said)
    return {"samples": work.chunks[0].setting.samples_at(work.point.width), "rows": rows}


def _rows(quantity: str, draws: Array, said: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for a number; for a quantity of layers, draws of shape (S, layers), one row a layer."""
    value = said.get("value")
    if quantity in PER_LAYER:
        layers = range(FIRST_LAYER[quantity], FIRST_LAYER[quantity] + draws.shape[1])
        values = value if isinstance(value, list) else [None] * draws.shape[1]
        columns = [(f"{quantity}[{layer}]", d, v) for layer, d, v in zip(layers, draws.T, values, strict=True)]
    else:
        columns = [(quantity, draws, value)]
    with np.errstate(all="ignore"):  # draws that are not finite are counted
        return [
            {
                "quantity": name,
                "mean": float(column.mean()),
                "standard_error": float(column.std(ddof=1) / np.sqrt(column.size)),
                "finite": int(np.isfinite(column).sum()),
                "predicted": v,
                "relation": said.get("relation"),
                "no_prediction": said.get("reason"),
            }
            for name, column, v in columns
        ]
