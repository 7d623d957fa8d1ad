"""The edge of a residual network: a stream u^{b+1} = b u^b + a (W phi(u^b) + biases), read out through one more phi.

All its layers share their units, and a unit sees one correlated signal after the other. What a unit gives is K =
2 B + 1 signals, the activations phi(u^0..u^B) and the derivatives at the B dense steps of the branches; given what its
samples share these are linear in what comes through the weights, (B + 1) + B fields in all, plus noise. The Dyson
equation is that of a chain with K by K matrices for numbers.
"""

from dataclasses import dataclass

from fimcheck.theory.network.combine import Skip
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.elementwise import Phi
from fimcheck.theory.network.step import Step


@dataclass(frozen=True)
class Stream:
    """The steps of a residual network: the first dense step, the skips, the last activation, the outputs."""

    first: Dense
    skips: tuple[Skip, ...]
    phis: tuple[Phi, ...]
    last: Dense

    @property
    def blocks(self) -> int:
        """B."""
        return len(self.skips)

    def dense(self, block: int) -> str:
        """Path of the dense step of a block, from 0."""
        return f"{block + 2}.branch.2"

    def stream(self, place: int) -> str:
        """Path of u^0..u^B."""
        return str(place + 1)

    def activated(self, place: int) -> str:
        """Path of phi(u^0)..phi(u^B)."""
        return f"{place + 2}.branch.1" if place < self.blocks else str(self.blocks + 2)


def stream(net: Composed) -> Stream | None:
    """The parts of a residual network that the edge is derived for; None of another network."""
    first, *middle, phi, last = net.steps.steps if len(net.steps.steps) >= 4 else (None, None, None)
    skips = tuple(step for step in middle if isinstance(step, Skip) and _is_block(step))
    whole = skips and len(skips) == len(middle) and _is_plain(first) and type(phi) is Phi and _is_plain(last)
    if not whole or net.inputs is not None or net.positions != 1:
        return None
    assert isinstance(first, Dense)
    assert isinstance(last, Dense)
    assert isinstance(phi, Phi)
    phis = [step.branch.steps[0] for step in skips]
    return Stream(first, skips, tuple(p for p in (*phis, phi) if isinstance(p, Phi)), last)


def is_residual(net: Composed) -> bool:
    """Whether it is a residual network that the edge is derived for.

    >>> edge.is_residual(theory.WideNetwork(3, "relu"))
    False
    """
    return stream(net) is not None


def _is_block(step: Skip) -> bool:
    steps = step.branch.steps
    return len(steps) == 2 and type(steps[0]) is Phi and _is_plain(steps[1])


def _is_plain(step: Step | None) -> bool:
    return type(step) is Dense and step.param == "standard" and step.rate == 1
