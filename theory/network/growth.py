"""How signals and gradients of a network of equal blocks go with the number L of blocks, where no closed form says it.

The overlaps are followed block by block: those of signals by the block map, those of gradients by its linear part, all
of them together, with what every block adds. What is said of a sequence is a law that it obeys: read off the map where
the signals have settled (the eigenvalues of its linear part), else off the first half of the blocks, and compared with
the recursion over all of them. A law that the recursion does not confirm is not stated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from fimcheck.theory.network.depth import Blocks
from fimcheck.theory.network.expectations import Numbers
from fimcheck.theory.network.predict import predict
from fimcheck.theory.network.prediction import Prediction, value_at
from fimcheck.theory.network.state import Overlaps, State
from fimcheck.theory.network.step import TOTAL

Array = NDArray[np.float64]

BLOCKS, LONGER = 1024, 4096
"""How many blocks the overlaps are followed over: where every block is another, and where signals have settled."""
ROUNDING = 1e-12
"""Relative changes that are rounding."""
SEEN = 1e-9
"""Relative distances from a limit that still tell how it is approached."""
CONFIRMED = 2e-3
"""Largest difference of a law from the recursion, in the logarithm of a factor or in an exponent, that confirms it."""
POWER = 0.05
"""Largest change of an exponent from the first to the second half of the blocks that confirms it."""
DRIFT = 0.75
"""An exponent that changes this much as much from one doubling of the blocks to the next has not settled."""
BARELY = 1e-6
"""A factor this near to 1 is 1, and what is left is a power."""
DEPTHS = (32, 64, 128)
"""Numbers of blocks at which a quantity itself is evaluated."""
SMALLEST, LARGEST = 1e-100, 1e100
FARTHEST = 600.0
"""Largest logarithm of a tangent overlap: beyond it float64 holds nothing beside it that does not grow."""


@dataclass(frozen=True)
class Rate:
    """How one overlap goes with the number L of blocks.

    limit: what it tends to, None if to nothing. factor: by which its distance to the limit, or without a limit it
    itself, is multiplied from block to block. exponent: of L before the factor's power. stretched: of L inside an
    exponential. error: difference of law and recursion, in the logarithm of the factor or in the exponent. confirmed:
    whether the recursion confirms it; what it did over the last blocks otherwise.
    """

    name: str
    limit: float | None
    factor: float
    exponent: float | None = None
    stretched: float | None = None
    error: float = 0.0
    confirmed: bool = True

    def __str__(self) -> str:
        if not self.confirmed:
            return (
                f"{self.name}: no law is confirmed; over the last half of the blocks it was multiplied by "
                f"{self.factor:.6g} a block, or went like L^{self.exponent or 0:.2f}"
            )
        told = f" (the recursion over many blocks differs by {self.error:.1g})" if self.error else ""
        if self.limit is not None:
            if self.factor == 0:
                return f"{self.name} is {self.limit:.6g} after the first blocks"
            if self.exponent and self.factor == 1:
                return f"{self.name} tends to {self.limit:.6g}, the distance goes like L^{self.exponent:.2f}{told}"
            way = f"L {self.factor:.6g}^L" if self.exponent else f"{self.factor:.6g}^L"
            return f"{self.name} tends to {self.limit:.6g}, the distance goes like {way}{told}"
        if self.stretched is not None:
            way = "grows like exp(" if self.factor > 1 else "falls like exp(-"
            return f"{self.name} {way}a L^{self.stretched:.2f}){told}"
        if self.factor == 1:
            return f"{self.name} goes like L^{self.exponent or 0:.2f}{told}"
        power = f", times L^{self.exponent:.2f}" if self.exponent else ""
        return f"{self.name} is multiplied by {self.factor:.6g} from block to block{power}{told}"


class _Map:
    """The block map in numbers."""

    def __init__(self, blocks: Blocks, samples: str, numbers: Mapping[str, float]) -> None:
        self._net, self._ends = blocks.make(1), blocks.ends(1)
        self._values = {name: np.asarray(value, float) for name, value in numbers.items()}
        self._samples = self._values["T"] if self._net.depends_on_samples(samples) else np.inf
        self.start, tangent = self._at(None, None)
        self.relations = [name for name in ("same", "other", "mate") if getattr(self.start, name) is not None]
        self.tangent = np.array([float(np.max(getattr(tangent, name))) for name in self.relations])

    def _at(self, K: Overlaps | None, tangent: Overlaps | None) -> tuple[Overlaps, Overlaps]:
        """Overlaps after a block, from K and tangent overlaps before it; without them those before the first."""
        met: list[State] = []

        def settle(path: str, state: State) -> State:
            if path not in self._ends:
                return state
            met.append(state)
            if K is None or tangent is None or len(met) > 1:
                return state
            return replace(state, K=K, tangent={TOTAL: tangent})

        self._net.run(Numbers(), self._samples, apart=False, settle=settle, number=self._number)
        at = met[0 if K is None else 1]
        return at.K, at.tangent[TOTAL]

    def _number(self, expr: Any) -> Any:
        return value_at(sp.sympify(expr), self._values)

    def step(self, K: Overlaps) -> tuple[Overlaps, Array, Array]:
        """Overlaps after a block, and the matrix A and the vector b that take the tangent overlaps Th to A Th + b."""
        size, many = float(K.same), len(self.relations) + 1  # what the weights of the block add is of this size
        columns = [np.eye(1, many, i + 1)[0] * size for i in range(many - 1)]
        before = Overlaps(**dict(zip(self.relations, columns, strict=True)))
        after, tangent = self._at(K.map(lambda v: np.full(many, v)), before)
        values = np.array([np.broadcast_to(getattr(tangent, name), many) for name in self.relations])
        K = after.map(lambda v: float(np.broadcast_to(v, many)[0]))
        matrix = (values[:, 1:] - values[:, :1]) / size
        matrix[np.abs(matrix) <= ROUNDING * np.abs(matrix).max()] = (
            0.0  # else rounding couples what grows to what does not
        )
        return K, matrix, values[:, 0]


@dataclass(frozen=True)
class _Followed:
    """Overlaps of signals after every block (blocks,), logarithms and signs of tangent overlaps (blocks, relations),
    and the linear part of the map where the signals have settled."""

    variance: Array
    correlation: Array
    logarithms: Array
    signs: Array
    matrix: Array | None


def _follow(found: _Map) -> _Followed:
    K, tangent, scale = found.start, found.tangent, 0.0
    overlaps, logarithms, signs, matrix = [K], [], [], None
    settled = False
    for n in range(LONGER):
        size = float(np.abs(tangent).max()) or 1.0
        tangent, scale = tangent / size, scale + np.log(size)
        if abs(scale) > FARTHEST:
            break
        with np.errstate(divide="ignore"):
            logarithms.append(np.log(np.abs(tangent)) + scale)
        signs.append(np.sign(tangent))
        if not settled:
            if n == BLOCKS or not SMALLEST < K.same < LARGEST:
                break
            K, matrix, vector = found.step(K)
            overlaps.append(K)
            settled = _settled([k.same for k in overlaps]) and _settled([k.other / k.same for k in overlaps])
        assert matrix is not None
        with np.errstate(over="ignore", under="ignore"):
            tangent = matrix @ tangent + vector * np.exp(-scale)
    variance = np.array([k.same for k in overlaps])
    correlation = np.array([k.other for k in overlaps]) / variance
    linear = matrix if settled else None
    return _Followed(variance, correlation, np.array(logarithms), np.array(signs), linear)


def _settled(values: Sequence[float] | Array) -> bool:
    return len(values) > 2 and bool(np.ptp(values[-3:]) <= ROUNDING * max(1e-3, abs(values[-1])))


def growth(blocks: Blocks, samples: str, numbers: Mapping[str, float]) -> tuple[Rate, ...]:
    """Rates of the variance, the correlation of two samples, and of the tangent overlaps of one and of two samples.

    numbers: of every symbol of the network, by name. Raises OverflowError where a variance exceeds float64.
    """
    found = _Map(blocks, samples, numbers)
    followed = _follow(found)
    aligned = np.abs(1 - followed.correlation)
    near = _settled(followed.correlation) or followed.correlation[-1] < 0.5
    correlation = (
        _law("the correlation of two samples", np.log(np.abs(followed.correlation) + SMALLEST), followed.correlation)
        if near
        else _law("1 - c, c the correlation of two samples,", np.log(aligned + SMALLEST), aligned)
    )
    moduli = None if followed.matrix is None else np.linalg.eig(followed.matrix)
    tangents = []
    for i, name in enumerate(("Th1", "Th2")):
        eigenvalues = () if moduli is None else _seen(moduli, i)
        values = followed.signs[:, i] * np.exp(np.clip(followed.logarithms[:, i], -690, 690))
        tangents.append(_law(name, followed.logarithms[:, i], values, eigenvalues))
    return (_law("the variance", np.log(followed.variance), followed.variance), correlation, *tangents)


def of_quantity(found: Prediction, blocks: Blocks, numbers: Mapping[str, float]) -> str:
    """How the quantity of a prediction itself goes with L, from its numbers at three depths."""

    def at(blocks_: int) -> float:
        stated = predict(blocks.make(blocks_), found.quantity, found.samples)
        return float(stated.evaluate(**{name: numbers[name] for name in stated.symbols}))

    one, two, three = (abs(at(n)) for n in DEPTHS)
    name, last = found.quantity, f"from {DEPTHS[1]} to {DEPTHS[2]} blocks"
    if abs(three / two - 1) < SEEN:
        return f"{name} tends to {three:.6g}"
    first, second = np.log2(two / one), np.log2(three / two)
    if abs(second - first) < 0.1 * max(1.0, abs(second)):
        return f"{name} goes like L^{2 * second - first:.2f} ({last} like L^{second:.2f})"
    return f"{name} is multiplied by {(three / two) ** (1 / (DEPTHS[2] - DEPTHS[1])):.6g} from block to block ({last})"


def _seen(solved: Any, i: int) -> tuple[float, ...]:
    """Moduli of the eigenvalues whose vectors reach an overlap, the largest first."""
    weights = np.abs(solved.eigenvectors[i]) / np.abs(solved.eigenvectors).max(0)
    return tuple(sorted(np.abs(solved.eigenvalues[weights > SEEN]).tolist(), reverse=True))


def _law(name: str, logarithms: Array, values: Array, eigenvalues: Sequence[float] = ()) -> Rate:
    """The law of a sequence, given by its values and by their logarithms, which may exceed float64.

    eigenvalues: of the linear map that makes it once it is constant, the largest first.
    """
    if np.abs(values[-3:]).max() <= ROUNDING * np.abs(values).max():
        return (
            Rate(name, 0.0, 0.0)
            if len(values) < 3 or not np.abs(values[2:]).any()
            else _approach(name, values, eigenvalues)
        )
    if abs(logarithms[-1]) < np.log(LARGEST) and _settled(values):
        return _approach(name, values, eigenvalues)
    steps = np.diff(logarithms)
    n = len(steps)
    first, last = (m * steps[m - 1] for m in (n // 2, n))
    kind = float(np.log2(last / first)) if first * last > 0 else 0.0  # 1 for a factor, 0 for a power of L
    over = (logarithms[-1] - logarithms[n // 2]) / (n - n // 2)
    exponent = (logarithms[-1] - logarithms[n // 2]) / np.log(n / (n // 2))
    lost = Rate(name, None, float(np.exp(over)), float(exponent), confirmed=False)
    if abs(over) * n < 100 * BARELY or abs(kind) < 0.1 or (eigenvalues and abs(eigenvalues[0] - 1) < BARELY):
        ends = [n >> k for k in range(3, -1, -1)]
        exponents = np.diff(logarithms[ends]) / np.log(2)
        before, now = np.diff(exponents)
        power = 2 * exponents[-1] - exponents[-2]  # the next order, 1/L, falls out
        off = float(abs(power - exponents[-1]))
        slow = off > CONFIRMED and abs(now) > DRIFT * abs(before)  # it goes on changing: no power is told
        return Rate(name, None, 1.0, float(power), error=off) if off < POWER and not slow else lost
    if kind < 0:  # steps that fall faster than 1/L add up to a limit
        fallen = 2**-kind - 1
        limit, earlier = (values[m] + (values[m] - values[m // 2]) / fallen for m in (n, n // 2))
        off = float(abs(limit / earlier - 1))
        return Rate(name, float(limit), 1.0, kind, error=off) if off < CONFIRMED else lost
    if kind < 0.9 and not eigenvalues:
        quarter = (n // 4) * steps[n // 4 - 1]
        before = float(np.log2(first / quarter)) if first * quarter > 0 else 0.0
        off = abs(kind - before)
        return Rate(name, None, float(np.exp(steps[-1])), stretched=kind, error=off) if off < POWER else lost
    # L^k f^L: the logarithm of the step is log f + k/L.
    fitted = 2 * steps[-1] - steps[n // 2 - 1]
    power = n * (steps[n // 2 - 1] - steps[-1])
    factor = eigenvalues[0] if eigenvalues else float(np.exp(fitted))
    predicted = np.log(factor) * (n - n // 2) + power * np.log(n / (n // 2))
    off = abs(predicted - (logarithms[-1] - logarithms[n // 2])) / (n - n // 2)
    if off > CONFIRMED or abs(np.log(factor) - fitted) > CONFIRMED:
        return lost
    return Rate(name, None, factor, float(power) if abs(power) > 0.05 else None, error=float(off))


def _approach(name: str, values: Array, eigenvalues: Sequence[float]) -> Rate:
    """How a sequence goes to its limit."""
    limit = float(values[-1])
    scale = max(abs(limit), np.abs(values).max() * 1e-3)
    steps = np.abs(np.diff(values))
    limit = 0.0 if abs(limit) <= ROUNDING * np.abs(values).max() else limit
    first = int(steps.argmax())
    over = np.flatnonzero(steps[first:] <= SEEN * scale)  # what comes after is rounding
    n = first + (int(over[0]) if over.size else len(steps) - first) - 1
    if n < 2:
        return Rate(name, limit, 0.0)
    ratio = float(steps[n] / steps[n - 1])
    nearest = min(eigenvalues, key=lambda e: abs(e - ratio), default=ratio)
    resonance = n * (ratio / nearest - 1) if nearest else 0.0
    if 0.5 < resonance < 2:  # (1 + 1/L): two rates that meet
        return Rate(name, limit, nearest, 1.0, error=abs(ratio / nearest - 1 - 1 / n))
    return Rate(name, limit, ratio if abs(ratio - nearest) > CONFIRMED else nearest, error=abs(ratio - nearest))
