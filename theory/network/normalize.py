"""Normalizing steps: over the units of a place, or over the places of a batch.

The definitions (what is done to a network) are not here: these are their consequences for wide networks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import sympy as sp

from fimcheck.theory import symbols
from fimcheck.theory.network.state import Gaussian, Spherical, State, Value, mapped
from fimcheck.theory.network.step import CompositionError, Run, Step, register


@dataclass(frozen=True)
class _PerPlace(Step):
    """gamma times each place divided by a spread of its units; held is the slip of a backward pass that does not
    divide by it."""

    normalizes: ClassVar[bool] = True

    held: bool = False

    def backward(self, state: State, square: Value) -> State:
        """The wrong backward pass, where it is asked for."""
        return replace(state, tangent=mapped(state.tangent, lambda t: t * square)) if self.held else state

    def wrong(self) -> Iterator[tuple[str, str, Step]]:
        """Slips in the scale and its derivative."""
        what = f"the backward pass of {self.words} does not divide by sd"
        yield "no 1/sd", what, replace(self, held=True)
        yield "gamma=1", "the scale gamma is forgotten", replace(self, gamma=sp.S.One)  # type: ignore[call-arg]


@register
@dataclass(frozen=True)
class LayerNorm(_PerPlace):
    """u -> gamma (u - mean)/sd + beta over units: mean and variance are those of the limit."""

    name: ClassVar[str] = "layer"
    rule: ClassVar[str] = "v = K[same] - m^2: K <- gamma^2 (K - m^2)/v + beta^2, mean beta, Th <- gamma^2 Th/v"

    gamma: Value = symbols.gamma
    beta: Value = symbols.beta

    @property
    def words(self) -> str:
        return "layer normalization"

    def apply(self, state: State, run: Run, path: str) -> State:  # noqa: ARG002
        """A factor; the rank-two part of the Jacobian is O(1/M)."""
        variance = state.K.same - state.mean**2
        return self.backward(state.affine(self.gamma**2 / variance, self.beta, run.expect), variance)


@register
@dataclass(frozen=True)
class GroupNorm(LayerNorm):
    """Layer normalization within each of a fixed number of equal groups of units: the same to leading order."""

    name: ClassVar[str] = "group"

    groups: Value = sp.S.One + 1

    @property
    def words(self) -> str:
        return "group normalization"


@register
@dataclass(frozen=True)
class RMSNorm(_PerPlace):
    """u -> gamma u/rms over units."""

    name: ClassVar[str] = "rms"
    rule: ClassVar[str] = "v = K[same]: K <- gamma^2 K/v, mean gamma m/sqrt(v), Th <- gamma^2 Th/v"

    gamma: Value = symbols.gamma

    @property
    def words(self) -> str:
        return "RMS normalization"

    def apply(self, state: State, run: Run, path: str) -> State:  # noqa: ARG002
        """A factor."""
        square, zero = self.gamma**2 / state.K.same, isinstance(state.mean, sp.Expr) and state.mean == 0
        mean = state.mean if zero else state.mean * run.expect.root(square)
        return self.backward(state.affine(square, mean, run.expect), state.K.same)


@register
@dataclass(frozen=True)
class BatchNorm(Step):
    """u -> gamma (u - mean)/sd + beta for every unit over the n places of the batch, n = T times positions.

    T fixed: exact in n (derived here). A unit's centered vector over the places is Gaussian, so its direction is
    uniform and independent of its length: n sd^2/(K[same] - K[other]) is chi-square with n - 1 degrees of freedom.
    T -> infinity: the backward pass through the mean removes what all places share. held: the slip of a derivative
    that takes mean and sd for constants.
    """

    name: ClassVar[str] = "batch"
    rule: ClassVar[str] = (
        "v = K[same] - K[other]: K[same] <- gamma^2 + beta^2, K[other] <- beta^2 - gamma^2/(n - 1), mean beta; given "
        "the normalized units z, Th <- r (delta - 1/n - z z/n), r = gamma^2 n/((n - 3) v) (Th[same] - Th[other])"
    )
    normalizes: ClassVar[bool] = True
    couples_samples: ClassVar[bool] = True
    fewest_places: ClassVar[int] = 4  # the mean of 1/sd^2 is finite only for n > 3

    gamma: Value = symbols.gamma
    beta: Value = symbols.beta
    held: bool = False

    @property
    def words(self) -> str:
        return "batch normalization"

    def apply(self, state: State, run: Run, path: str) -> State:
        """Over infinitely many samples, or over exactly n places."""
        if not isinstance(state.law, Gaussian):
            raise CompositionError(
                f"step {path}: batch normalization of units whose law is not Gaussian ({_law(state)}): their "
                "directions over the batch are not uniform. Put a dense step before it."
            )
        return self._limit(state, run) if run.infinite else self._exact(state, run, path)

    def _limit(self, state: State, run: Run) -> State:
        common, square = state.K.other, self.gamma**2 / (state.K.same - state.K.other)
        less = replace(state, K=state.K.map(lambda K: K - common), mean=0 * state.mean)
        if not self.held:
            less = replace(less, tangent=mapped(state.tangent, lambda t: t.map(lambda v: v - t.other)))
        return less.affine(square, self.beta, run.expect)

    def _exact(self, state: State, run: Run, path: str) -> State:
        if state.K.mate is not None and not np.all(state.K.mate == state.K.other):
            raise CompositionError(
                f"step {path}: batch normalization over a fixed number of samples whose positions are correlated: "
                "places are not exchangeable. Normalize before positions are mixed, or take T to infinity."
            )
        n = run.samples * state.positions
        factor = self.gamma**2 * n / ((n - 3) * (state.K.same - state.K.other))
        K = state.alike(self.gamma**2 + self.beta**2, self.beta**2 - self.gamma**2 / (n - 1))
        if self.held:
            tangent = mapped(state.tangent, lambda t: t * factor)
            return replace(state, K=K, mean=self.beta, tangent=tangent, law=_Held(n, self.gamma, self.beta, {}))
        # Places are exchangeable: what is added for mates equals what is added for others, and is counted with it.
        spread = {source: factor * (t.same - t.other) for source, t in state.tangent.items()}
        projection = state.alike(1 - 2 / n, -1 / n + 1 / (n * (n - 1)))
        tangent = {source: projection * value for source, value in spread.items()}
        return replace(state, K=K, mean=self.beta, tangent=tangent, law=Spherical(n, self.gamma, self.beta, spread))

    def wrong(self) -> Iterator[tuple[str, str, Step]]:
        """Slips in the derivative and the scale."""
        what = "the derivative through the statistics of batch normalization is forgotten"
        yield "fixed mu,sd", what, replace(self, held=True)
        yield "gamma=1", "the scale gamma is forgotten", replace(self, gamma=sp.S.One)
        yield "beta=0", "the shift beta is forgotten", replace(self, beta=sp.S.Zero)


class _Held(Spherical):
    """The spherical law with the slip of slopes averaged apart from a tangent overlap that is not projected."""

    def through(self, phi, slope, state, expect):
        right = super().through(phi, slope, state, expect)
        slopes = state.alike(*(expect.sphere(slope, 0, count, self.n, self.gamma, self.beta) for count in (1, 2)))
        return replace(right, tangent=mapped(state.tangent, lambda t: t * slopes))


def _law(state: State) -> str:
    after = getattr(state.law, "after", None)
    return f"the output of {after}" if after else "a normalized batch"
