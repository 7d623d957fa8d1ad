"""What matters of a wide signal: overlaps of its units between places, and how its units are distributed.

A place is a position of a sample. Inputs are independent, so a pair of places is of one of three relations: the *same*
place, its *mate* (another position of the same sample) and any place of an*other* sample. Without positions there are
no mates, and the two relations that are left are the paper's indices 1 and 2.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import sympy as sp

from fimcheck.theory.gaussian.functions import ActivationError, Function, ImpossibleError

Value = Any
"""A SymPy expression, or a float64 number or array."""

ROUNDING = 1e-9
"""Relative error of an average that is rounding, and not a wrong average."""


def require_positive(gram: np.ndarray, f: Function) -> None:
    """Refuse a matrix of E f(u_s) f(u_t) with a negative eigenvalue."""
    smallest, largest = np.linalg.eigvalsh((gram + gram.T) / 2)[[0, -1]]
    if smallest < -ROUNDING * max(largest, 0.0) * len(gram):
        raise ImpossibleError(
            f"The {len(gram)} x {len(gram)} matrix E f(u_s) f(u_t) of f(x) = {f.expr} has the eigenvalue "
            f"{smallest:.6g} beside {largest:.6g}, which no random f(u) can have. One of its averages is "
            "wrong: please report the function and the inputs."
        )


Source = tuple[str, str]
"""A dense step by its path and a relation: what that step adds to the tangent overlap of places so related."""


@dataclass(frozen=True)
class Overlaps:
    """One value for each relation of two places; mate is None in a network without positions.

    For given inputs `other` is a T x T matrix: entry (s, t) belongs to the pair of samples s and t.
    """

    same: Value
    other: Value
    mate: Value | None = None

    def items(self) -> Iterator[tuple[str, Value]]:
        """The relations that exist, with their values."""
        yield "same", self.same
        if self.mate is not None:
            yield "mate", self.mate
        yield "other", self.other

    def map(self, f: Callable[[Value], Value]) -> "Overlaps":
        """f of every value."""
        return Overlaps(f(self.same), f(self.other), None if self.mate is None else f(self.mate))

    def between(self, f: Callable[[Value], Value]) -> tuple[Value, Value | None]:
        """f of the overlaps of two different places; equal ones stay equal."""
        other = f(self.other)
        if self.mate is None:
            return other, None
        return other, other if np.all(self.mate == self.other) else f(self.mate)

    def with_(self, other: "Overlaps", f: Callable[[Value, Value], Value]) -> "Overlaps":
        """f of every two values of the same relation."""
        mate = None if self.mate is None or other.mate is None else f(self.mate, other.mate)
        return Overlaps(f(self.same, other.same), f(self.other, other.other), mate)

    def possible(self, f: Function) -> "Overlaps":
        """The averages of f(u) f(v), where they are numbers, after a check that they are finite and that random f(u)
        can have them.
        """
        numbers = {relation: value for relation, value in self.items() if not isinstance(value, sp.Expr)}
        if "same" not in numbers:
            return self
        same = np.asarray(self.same, float)
        for relation, value in numbers.items():
            value = np.asarray(value, float)
            if not np.all(np.isfinite(value)):
                raise OverflowError(
                    f"E f(u) f(v) of f(x) = {f.expr} of {relation} places is beyond float64: it "
                    "grows too fast for the variance before it. Take a smaller sigma_w2, sigma_b2 or gamma, "
                    "or fewer layers."
                )
            excess = np.abs(value) - same * (1 + ROUNDING)
            if np.any(excess > 0):
                raise ImpossibleError(
                    f"E f(u) f(v) = {np.ravel(value)[np.argmax(excess)]:.12g} of f(x) = {f.expr} of {relation} places "
                    f"exceeds E f(u)^2 = {np.max(np.broadcast_to(same, value.shape)):.12g}, which no Gaussian pair can "
                    "do. One of the two averages is wrong: please report the function and the network."
                )
        matrix = np.asarray(numbers.get("other", 0.0), float)
        if matrix.ndim == 2 and same.ndim == 0 and np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), same):
            require_positive(matrix, f)
        return self

    def __add__(self, other: "Overlaps") -> "Overlaps":
        return self.with_(other, lambda a, b: a + b)

    def __mul__(self, factor: "Overlaps | Value") -> "Overlaps":
        if isinstance(factor, Overlaps):
            return self.with_(factor, lambda a, b: a * b)
        return self.map(lambda a: a * factor)

    __rmul__ = __mul__


Tangent = Mapping[Source, Overlaps]
"""The tangent overlap lim (1/M) sum_params dx_i(a) dx_i(b), linear in what the dense steps added: by source."""


def mapped(tangent: Tangent, f: Callable[[Overlaps], Overlaps]) -> dict[Source, Overlaps]:
    """A linear map of the tangent overlap."""
    return {source: f(overlaps) for source, overlaps in tangent.items()}


def added(one: Tangent, two: Tangent) -> dict[Source, Overlaps]:
    """The sum of two tangent overlaps."""
    total = dict(one)
    for source, overlaps in two.items():
        total[source] = total[source] + overlaps if source in total else overlaps
    return total


class Expectations(Protocol):
    """Where steps get their averages from: closed forms or numbers; one is the number 1 of their kind."""

    one: Value

    def same(self, f: Function, p: Value, mean: Value) -> Value:
        """E f(u)^2, u ~ N(mean, p)."""

    def pair(self, f: Function, p: Value, c: Value, mean: Value) -> Value:
        """E f(u) f(v) of a pair with common mean, variance p and covariance c."""

    def mean(self, f: Function, p: Value, mean: Value) -> Value:
        """E f(u), u ~ N(mean, p)."""

    def sphere(self, f: Function, power: int, count: int, samples: Value, gamma: Value, beta: Value) -> Value:
        """Over a batch, h(z) = z^power f(gamma z + beta): E h(z_1) (count = 0), E h(z_1)^2 (1), E h(z_1) h(z_2) (2)."""

    def root(self, value: Value) -> Value:
        """The positive square root."""


class Law(Protocol):
    """How the units of a signal are distributed."""

    def through(self, phi: Function, slope: Function, state: "State", expect: Expectations) -> "State":
        """The state after an elementwise function; an ActivationError where this law does not tell it."""
        ...

    def scaled(self, square: Value, mean: Value, expect: Expectations) -> "Law":
        """The law of the signal after every unit is centered, multiplied by the root of ``square`` and shifted."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """Units are jointly Gaussian over the places."""

    def through(self, phi: Function, slope: Function, state: "State", expect: Expectations) -> "State":
        """E phi(u) phi(v) of a Gaussian pair; the slopes multiply the tangent overlaps."""
        m, p = state.mean, state.K.same - state.mean**2

        def kernel(f: Function) -> Overlaps:
            found = Overlaps(expect.same(f, p, m), *state.K.between(lambda K: expect.pair(f, p, K - m**2, m)))
            return found.possible(f)

        slopes = kernel(slope)
        return replace(
            state, K=kernel(phi), mean=expect.mean(phi, p, m), tangent=mapped(state.tangent, lambda t: t * slopes)
        )

    def scaled(self, square: Value, mean: Value, expect: Expectations) -> "Gaussian":  # noqa: ARG002
        """Gaussian still."""
        return self


@dataclass(frozen=True)
class Spherical:
    """gamma z + beta, z over the n places of a batch sqrt(n) times a uniform unit vector orthogonal to (1, .., 1).

    spread: given z the tangent overlap of the places a and b is, by source, spread (delta_ab - 1/n - z_a z_b / n).
    """

    n: Value
    gamma: Value
    beta: Value
    spread: Mapping[Source, Value]

    def through(self, phi: Function, slope: Function, state: "State", expect: Expectations) -> "State":
        """phi sees z itself: its slope and the tangent overlap given z are averaged together (derived here)."""
        at = (self.n, self.gamma, self.beta)
        same, pair = (expect.sphere(phi, 0, count, *at) for count in (1, 2))
        d1, d2 = (expect.sphere(slope, 0, count, *at) for count in (1, 2))
        z1, z2 = (expect.sphere(slope, 1, count, *at) for count in (1, 2))
        slopes = state.alike(d1 * (1 - 1 / self.n) - z1 / self.n, -(d2 + z2) / self.n)
        tangent = {source: slopes * spread for source, spread in self.spread.items()}
        return replace(
            state, K=state.alike(same, pair).possible(phi), mean=expect.sphere(phi, 0, 0, *at), tangent=tangent
        )

    def scaled(self, square: Value, mean: Value, expect: Expectations) -> "Spherical":
        """Spherical with another scale and shift."""
        spread = {source: square * value for source, value in self.spread.items()}
        return Spherical(self.n, self.gamma * expect.root(square), mean, spread)


@dataclass(frozen=True)
class Unmixed:
    """A law that no nonlinear step knows, until dense weights mix the units; after: the step it is the law of."""

    after: str

    def through(self, phi: Function, slope: Function, state: "State", expect: Expectations) -> "State":  # noqa: ARG002
        """Refused."""
        raise ActivationError(
            f"an activation on the output of {self.after}: the law of its units is not known, so no Gaussian average "
            "applies. Put a dense step between the two."
        )

    def scaled(self, square: Value, mean: Value, expect: Expectations) -> "Unmixed":  # noqa: ARG002
        """Unknown still."""
        return self


@dataclass(frozen=True)
class State:
    """A wide signal: everything about it that matters as the width grows.

    K: lim (1/n) sum_i x_i(a) x_i(b) over the n units. mean: lim (1/n) sum_i x_i(a). tangent: lim (1/M) sum_params
    dx_i(a) dx_i(b) of one unit, parameters so far. law: how the units are distributed. width: n/M. positions: their
    number N, 1 without positions. fresh: whether dense weights have made the units independent of those of the stream
    that a branch began with.
    """

    K: Overlaps
    mean: Value
    tangent: Tangent
    law: Law
    width: Value
    positions: Value
    fresh: bool = False

    def alike(self, same: Value, other: Value) -> Overlaps:
        """Overlaps whose mates are as other samples."""
        return Overlaps(same, other, None if self.K.mate is None else other)

    def affine(self, square: Value, mean: Value, expect: Expectations) -> "State":
        """Every unit centered, multiplied by the root of ``square``, and given another mean."""
        return replace(
            self,
            K=self.K.map(lambda K: square * (K - self.mean**2) + mean**2),
            mean=mean,
            tangent=mapped(self.tangent, lambda t: t * square),
            law=self.law.scaled(square, mean, expect),
        )


def input_state(width: Value, positions: Value, other: Value | None = None, one: Value = sp.S.One) -> State:
    """Independent N(0, 1) inputs; ``other`` is the T x T overlap of given inputs of mean square 1."""
    zero = 0 * one
    mate = None if positions == 1 else zero
    return State(Overlaps(one, zero if other is None else other, mate), zero, {}, Gaussian(), width, positions)
