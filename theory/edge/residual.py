"""The edge of a residual network: a stream u^{b+1} = b u^b + a (W phi(u^b) + biases), read out through one more phi; a
normalization over the units may stand before an activation.

All its layers share their units, and a unit sees one correlated signal after the other. What a unit gives is K =
2 B + 1 signals, the activations phi(u^0..u^B) and the derivatives at the B dense steps of the branches; given what its
samples share these are linear in what comes through the weights, (B + 1) + B fields in all, plus noise. The Dyson
equation is that of a chain with K by K matrices for numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fimcheck.theory.edge.units import PER_PLACE
from fimcheck.theory.network.combine import Skip
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.elementwise import Phi
from fimcheck.theory.network.step import Step


@dataclass(frozen=True)
class Place:
    """Where the stream is read: an activation, behind a normalization or not, and the dense step after it.

    stream, seen, given, after: paths of the stream's value, of what the activation sees, of it and of the dense step.
    """

    phi: Phi
    dense: Dense
    stream: str
    seen: str
    given: str
    after: str


@dataclass(frozen=True)
class Stream:
    """A residual network: its first dense step, the skips, and where these and the outputs read the stream."""

    first: Dense
    skips: tuple[Skip, ...]
    places: tuple[Place, ...]

    @property
    def blocks(self) -> int:
        """B."""
        return len(self.skips)


def stream(net: Composed) -> Stream | None:
    """The parts of a residual network that the edge is derived for; None of another network."""
    first, *rest = net.steps.steps
    skips = [step for step in rest if isinstance(step, Skip)]
    tail = rest[len(skips) :]
    places = list(_places([*(skip.branch.steps for skip in skips), tail]))
    if not skips or rest[: len(skips)] != skips or None in places or net.inputs is not None or net.positions != 1:
        return None
    if not (isinstance(first, Dense) and _is_plain(first)):
        return None
    return Stream(first, tuple(skips), tuple(place for place in places if place is not None))


def is_residual(net: Composed) -> bool:
    """Whether it is a residual network that the edge is derived for.

    >>> edge.is_residual(theory.WideNetwork(3, "relu"))
    False
    """
    return stream(net) is not None


def _places(branches: Sequence[Sequence[Step]]) -> Iterator[Place | None]:
    """Of the skips' branches and of the steps behind them; None where a branch is of another kind."""
    for number, steps in enumerate(branches, 1):
        before = str(number)
        last = number == len(branches)
        paths = [str(number + k) if last else f"{number + 1}.branch.{k}" for k in range(1, len(steps) + 1)]
        *normalizations, phi, dense = steps if len(steps) > 1 else (None, None)
        plain = len(normalizations) < 2 and all(type(step) in PER_PLACE for step in normalizations)
        if plain and type(phi) is Phi and isinstance(dense, Dense) and _is_plain(dense):
            yield Place(phi, dense, before, paths[-3] if normalizations else before, paths[-2], paths[-1])
        else:
            yield None


def _is_plain(step: Step) -> bool:
    """Other weights than independent ones have another spectrum where T is in proportion to M."""
    return type(step) is Dense and (step.param, step.rate, step.weights) == ("standard", 1, "gaussian")
