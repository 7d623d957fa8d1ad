"""Where the draws of a run come from: one pool, one device, one store and one block of seeds for all of them."""

from __future__ import annotations

from collections.abc import Callable

from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.draws.pool import Pool, make
from fimcheck.verify.draws.store import Store


class Source:
    """Makes the draws of settings, and keeps them together for a record.

    pool: where they are measured, closed at the end; processes of this machine when None. store: see `Draws`. progress:
    is told what is measured.
    """

    def __init__(
        self,
        progress: Callable[[str], None],
        seed_block: int = 0,
        device: str = "cpu",
        pool: Pool | None = None,
        store: Store | None = None,
    ) -> None:
        self._progress, self._seed_block, self._device, self._store = progress, seed_block, device, store
        self._pool = pool or make(device)
        self.drawn: list[Draws] = []

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.close()

    def draws(self, setting: Setting, quantities: set[str], seed_block: int | None = None) -> Draws:
        """Those of a setting; seed_block: another one than that of the run."""
        made = Draws(
            setting,
            quantities,
            seed_block=self._seed_block if seed_block is None else seed_block,
            device=self._device,
            pool=self._pool,
            store=self._store,
            progress=self._progress,
        )
        self.drawn.append(made)
        return made
