"""How signals and gradients of a network of equal blocks go with the number of blocks, where no closed form says it.

The block map of the overlaps is iterated in numbers. At a fixed point its linearization gives the factor by which a
distance to the fixed point shrinks, and that by which gradients grow, from block to block; where the variance grows
without a fixed point, a factor or an exponent of the number of blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import sympy as sp

from fimcheck.theory.network.depth import Blocks
from fimcheck.theory.network.expectations import Numbers
from fimcheck.theory.network.prediction import value_at
from fimcheck.theory.network.state import Overlaps, State
from fimcheck.theory.network.step import TOTAL

BLOCKS = 256
"""How many blocks the overlaps are followed over."""
SETTLED, SEEN = 1e-12, 1e-8
"""Relative steps of a sequence that has settled, and that still tell their factor."""
ALGEBRAIC = 0.3
"""Factors nearer to 1 after so many blocks may make a power; others do not."""
CONSTANT = 0.9
"""How near to 1 the exponent of n (f - 1) in n says a constant factor."""
SMALLEST, LARGEST = 1e-100, 1e100


@dataclass(frozen=True)
class Rate:
    """How one overlap goes with the number n of blocks.

    limit: its fixed point, None if it has none. factor: by which its distance to the limit, or without a limit it
    itself, is multiplied from block to block; exponent: if the factor tends to 1, of n; stretched: of n inside an
    exponential.
    """

    name: str
    limit: float | None
    factor: float
    exponent: float | None = None
    stretched: float | None = None

    def __str__(self) -> str:
        if self.limit is not None:
            if self.factor == 0:
                return f"{self.name} is {self.limit:.6g} after the first blocks"
            scale = f"on a scale of {-1 / np.log(abs(self.factor)):.3g} blocks"
            return f"{self.name} tends to {self.limit:.6g} {scale} (the distance times {self.factor:.6g} a block)"
        if self.stretched is not None:
            way = "grows like exp(" if self.factor > 1 else "falls like exp(-"
            return f"{self.name} {way}a n^{self.stretched:.2f})"
        if self.exponent is not None:
            return f"{self.name} goes like n^{self.exponent:.3f}"
        return f"{self.name} is multiplied by {self.factor:.6g} from block to block"


class _Map:
    """The block map in numbers."""

    def __init__(self, blocks: Blocks, samples: str, numbers: Mapping[str, float]) -> None:
        self._net, self._ends = blocks.make(1), blocks.ends(1)
        self._values = {name: np.asarray(value, float) for name, value in numbers.items()}
        self._samples = self._values["T"] if self._net.depends_on_samples(samples) else np.inf
        self.start = _first(self._at(None, np.zeros(3), np.zeros(3))[0])

    def _at(self, K: Overlaps | None, one: Any, two: Any) -> tuple[Overlaps, Overlaps]:
        """Overlaps after a block, from K and tangent overlaps before it; without K those before the first."""
        met: list[State] = []

        def settle(path: str, state: State) -> State:
            if path not in self._ends:
                return state
            met.append(state)
            if K is None or len(met) > 1:
                return state
            tangent = Overlaps(one, two, None if K.mate is None else two)
            return replace(state, K=K, tangent={TOTAL: tangent})

        self._net.run(Numbers(), self._samples, apart=False, settle=settle, number=self._number)
        at = met[0 if K is None else 1]
        return at.K, at.tangent[TOTAL]

    def _number(self, expr: Any) -> Any:
        return value_at(sp.sympify(expr), self._values)

    def step(self, K: Overlaps) -> tuple[Overlaps, np.ndarray]:
        """Overlaps after a block, and the matrix that takes the tangent overlaps (Th1, Th2) there."""
        size = K.same  # what the weights of the block add is of this size
        one, two = np.array([0.0, size, 0]), np.array([0.0, 0, size])
        after, tangent = self._at(K.map(lambda v: np.full(3, v)), one, two)
        values = np.array([np.broadcast_to(tangent.same, 3), np.broadcast_to(tangent.other, 3)])
        return _first(after), (values[:, 1:] - values[:, :1]) / size


def _first(overlaps: Overlaps) -> Overlaps:
    """Overlaps that are the same at all three tangents, once."""
    return overlaps.map(lambda v: float(np.broadcast_to(v, 3)[0]))


def growth(blocks: Blocks, samples: str, numbers: Mapping[str, float]) -> tuple[Rate, ...]:
    """Rates of the variance, the correlation of two samples, and of the tangent overlaps of one and of two samples.

    numbers: of every symbol of the network, by name. Raises OverflowError where a variance exceeds float64.
    """
    found = _Map(blocks, samples, numbers)
    K = found.start
    variances, correlations, matrices = [K.same], [K.other / K.same], []
    for _ in range(BLOCKS):
        K, matrix = found.step(K)
        variances.append(K.same)
        correlations.append(K.other / K.same)
        matrices.append(np.diag(matrix))
        if (_limit(variances) and _limit(correlations)) or not SMALLEST < K.same < LARGEST:
            break
    gaps = [1 - c for c in correlations]
    near = _limit(correlations) or correlations[-1] < 0.5
    return (
        _limit(variances, "the variance") or _far("the variance", variances),
        (near and _limit(correlations, "the correlation of two samples"))
        or _far("1 - c, c the correlation of two samples,", gaps),
        *(_tangent(name, [m[i] for m in matrices]) for i, name in enumerate(("Th1", "Th2"))),
    )


def _limit(values: list[float], name: str = "") -> Rate | None:
    """A sequence that has settled, with the factor seen while its steps were still well above rounding."""
    size = max(abs(values[-1]), SMALLEST)
    steps = np.abs(np.diff(values)) / size
    if len(steps) < 2 or steps[-1] > SETTLED:
        return None
    large = np.flatnonzero(steps > SEEN)
    factor = float(steps[large[-1]] / steps[large[-1] - 1]) if len(large) > 1 else 0.0
    return Rate(name, values[-1], factor)


def _far(name: str, values: list[float]) -> Rate:
    """A sequence that has not settled."""
    return _tangent(name, [two / one for one, two in pairwise(values)])


def _tangent(name: str, factors: list[float]) -> Rate:
    """What factors f(n) from block to block make: n (f - 1) goes like n^q, q = 1 for a constant factor, q = 0 for a
    power of n, and in between an exponential of n^q.
    """
    n = len(factors)
    one, two = (m * (factors[m - 1] - 1) for m in (n // 2, n))
    q = float(np.log2(two / one)) if one * two > 0 else 0.0
    if q > CONSTANT or abs(factors[-1] - 1) > ALGEBRAIC:
        return Rate(name, None, factors[-1])
    if q > 1 - CONSTANT:
        return Rate(name, None, factors[-1], stretched=q)
    return Rate(name, None, factors[-1], 2 * two - one)  # the next order falls out
