"""Draws of one setting: measured once, shared by every claim and every wrong theory about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import numerics
from verify.setting import Setting
from verify.statistics import Array

# Fixed cost of one draw (dispatch, small factorizations), in sampled weights; see `cost`.
OVERHEAD = 100_000
# Draws measured in one call: enough to batch small widths, few enough that progress moves.
CHUNK = 64

Progress = Callable[[str], None]


def cost(setting: Setting, width: int) -> float:
    """Cost of one draw in sampled weights plus Gram-matrix entries: a plan made from it does not depend on
    how fast the machine happened to be, so it can be replayed."""
    widths = setting.network(width).widths
    rows = setting.samples_at(width) * setting.classes
    weights = sum(a * b for a, b in zip(widths[:-1], widths[1:], strict=True))
    # A Gram matrix of n rows costs about n^2 * width per layer, and sampling one weight about ten flops' time.
    return OVERHEAD + weights + rows**2 * sum(widths[:-1]) / 50 + rows**3 / 50


class Draws:
    """Grows on demand: `take` returns the first n draws of a block at a width, measuring what is missing.

    block names an independent stream of seeds: "main" decides, "confirm" must find a failure again.
    """

    def __init__(
        self,
        setting: Setting,
        quantities: Iterable[str],
        *,
        seed_block: int = 0,
        device: str = "cpu",
        dtype: str = "float64",
        progress: Progress = lambda _: None,
    ) -> None:
        self.setting = setting
        self.quantities = tuple(sorted(set(quantities)))
        self.seed_block = seed_block
        self.device = device
        self.dtype = dtype
        self._progress = progress
        self._measured: dict[tuple[str, int], list[numerics.Measurement]] = {}

    def take(self, block: str, width: int, n: int) -> dict[str, Array]:
        """The first n draws of every quantity, leading axis = draw."""
        done = self._measured.setdefault((block, width), [])
        have = sum(len(m.seeds) for m in done)
        while have < n:
            size = min(CHUNK, n - have)
            self._progress(f"{self.setting}: width {width}, draw {have + size} of {n}")
            seeds = [self.setting.seed(width, f"{self.seed_block}/{block}", i) for i in range(have, have + size)]
            done.append(
                numerics.measure(
                    self.setting.network(width),
                    self.setting.samples_at(width),
                    seeds,
                    self.quantities,
                    dtype=self.dtype,
                    device=self.device,
                )
            )
            have += size
        return {q: np.concatenate([m.draws[q] for m in done])[:n] for q in self.quantities}

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
