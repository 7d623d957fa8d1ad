"""Kernels without closed form on many points at once: Chebyshev interpolation on tiles, each checked before
use.

Tiles divide log2(p) and the angle asin(c/p), in which kernels are smooth up to the ends |c| = p. A tile
holds the values at Chebyshev points; it is used only if it reproduces direct quadrature at points between
them, else it is split in four.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.polynomial import chebyshev

ROWS, COLUMNS = 10, 16
"""Chebyshev points in log2(p) and in the angle; the angle resolves the bend near |c| = p."""

TOLERANCE = 2e-11
"""Largest accepted difference from direct quadrature at the check points, relative to the largest value on
the tile.
"""

SMALLEST = 8
"""Tiles are split at most this many times; what is smaller goes to direct quadrature."""

_POINTS = {n: np.cos(np.pi * (np.arange(n) + 0.5) / n) for n in (ROWS, COLUMNS)}
_TRANSFORM = {n: np.linalg.inv(chebyshev.chebvander(_POINTS[n], n - 1)) for n in (ROWS, COLUMNS)}
_CHECKS = ((-0.97, 0.31), (0.41, 0.96), (-0.13, -0.62), (0.71, -0.98))

Direct = Callable[[float, float], float]
"""Value from (p, c)."""


@dataclass(frozen=True)
class Tile:
    """Index of a square of side 2^-level in units of (1, pi/8); along the line c = p only the first index
    counts.
    """

    level: int
    row: int
    column: int

    def split(self) -> "list[Tile]":
        """The four tiles of half the side."""
        return [Tile(self.level + 1, 2 * self.row + i, 2 * self.column + j) for i in (0, 1) for j in (0, 1)]


def values(direct: Direct, variance: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Kernel at arrays of p > 0 and c; the tiles are kept under `direct`, so pass one object per kernel."""
    out = np.empty(variance.size)
    p, c = variance.ravel(), covariance.ravel()
    same = c == p
    height = np.log2(p)
    angle = np.arctan2(c, np.sqrt(np.maximum((p - c) * (p + c), 0))) / (np.pi / 8)
    for where, on_line in ((np.flatnonzero(same), True), (np.flatnonzero(~same), False)):
        rows, columns = np.floor(height[where]), np.zeros(where.size) if on_line else np.floor(angle[where])
        for row, column in {(int(a), int(b)) for a, b in zip(rows, columns, strict=True)}:
            chosen = where[(rows == row) & (columns == column)]
            _fill(direct, Tile(0, row, column), on_line, (p, c, height, angle), chosen, out)
    return out.reshape(variance.shape)


Coordinates = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _fill(direct: Direct, tile: Tile, on_line: bool, at: Coordinates, chosen: np.ndarray, out: np.ndarray) -> None:
    p, c, height, angle = at
    if chosen.size == 0:
        return
    many = chosen.size > (ROWS if on_line else ROWS * COLUMNS)  # a tile that costs more than its points is not built
    found = _coefficients(direct, tile, on_line) if many else None
    if found is not None:
        side = 2.0**tile.level
        first = 2 * (height[chosen] * side - tile.row) - 1
        second = 2 * (angle[chosen] * side - tile.column) - 1
        out[chosen] = chebyshev.chebval(first, found) if on_line else chebyshev.chebval2d(first, second, found)
    elif tile.level == SMALLEST or not many:
        out[chosen] = [direct(float(p[i]), float(c[i])) for i in chosen]
    else:
        side = 2.0 ** (tile.level + 1)
        rows = np.floor(height[chosen] * side)
        columns = np.zeros(chosen.size) if on_line else np.floor(angle[chosen] * side)
        for part in tile.split():
            inside = (rows == part.row) & ((columns == part.column) | (on_line & (part.column == 0)))
            _fill(direct, part, on_line, at, chosen[inside], out)


@cache
def _coefficients(direct: Direct, tile: Tile, on_line: bool) -> np.ndarray | None:
    """Chebyshev coefficients of a tile, None if it fails its check."""

    def value(first: float, second: float) -> float:
        p = 2.0 ** ((tile.row + (first + 1) / 2) / 2.0**tile.level)
        angle = np.clip((tile.column + (second + 1) / 2) / 2.0**tile.level * np.pi / 8, -np.pi / 2, np.pi / 2)
        return direct(p, p if on_line else float(p * np.sin(angle)))

    if on_line:
        samples = np.array([value(a, 0) for a in _POINTS[ROWS]])
        found = _TRANSFORM[ROWS] @ samples
        stated = [(float(chebyshev.chebval(a, found)), value(a, 0)) for a, _ in _CHECKS]
    else:
        samples = np.array([[value(a, b) for b in _POINTS[COLUMNS]] for a in _POINTS[ROWS]])
        found = _TRANSFORM[ROWS] @ samples @ _TRANSFORM[COLUMNS].T
        stated = [(float(chebyshev.chebval2d(a, b, found)), value(a, b)) for a, b in _CHECKS]
    worst = max(abs(s - v) for s, v in stated)
    return found if worst <= TOLERANCE * np.abs(samples).max() else None
