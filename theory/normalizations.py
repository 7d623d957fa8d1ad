"""What each normalization in the hidden layers does to the forward pair and to the backward signal.

The definitions of the normalizations (what is done to a network) are not here: these are their consequences
for wide networks. The same rules serve expressions and float64 numbers.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from theory.functions import Function

Value = Any
"""A SymPy expression, or a float64 number or array."""


class Expectations(Protocol):
    """Where a rule gets its averages from: closed forms or numbers."""

    def same(self, f: Function, p: Value, mean: Value) -> Value:
        """E f(u)^2, u ~ N(mean, p)."""

    def pair(self, f: Function, p: Value, c: Value, mean: Value) -> Value:
        """E f(u) f(v) of a pair with common mean, variance p and covariance c."""

    def sphere(self, f: Function, power: int, count: int, samples: Value, gamma: Value, beta: Value) -> Value:
        """Over a batch, h(z) = z^power f(gamma z + beta): E h(z_1)^2 (count = 1), E h(z_1) h(z_2) (2)."""


@dataclass(frozen=True)
class Parameters:
    """The values that enter the recursion; samples is T, for steps that mix samples, infinite for T -> infinity."""

    sigma_w2: Value
    sigma_b2: Value
    ratios: tuple[Value, ...]
    gamma: Value
    beta: Value
    samples: Value


Two = tuple[Value, Value]
"""Values for one sample with itself and for two different samples."""


Pair = tuple[Value, Value, Value]
"""Variance, covariance and mean of the Gaussian pair that phi sees."""


@dataclass(frozen=True)
class HiddenRule:
    """No normalization: phi sees the pre-activations z = W h + b as they are. The base of all rules.

    A rule says what a step between z and phi does to a wide network; most override `pair` and `gain` alone.
    couples_samples: whether the step mixes samples. Then the derivative of one output reaches every sample, and tq
    is an overlap summed over the samples at which it arrives. fewest_samples: smallest T the rule is stated for.
    """

    couples_samples: ClassVar[bool] = False
    fewest_samples: ClassVar[int] = 2

    def pair(self, q: Two, at: Parameters) -> Pair:  # noqa: ARG002
        """What phi sees, from q = variance and covariance of z."""
        return q[0], q[1], 0

    def gain(self, q: Two, at: Parameters) -> Two:  # noqa: ARG002
        """Factors that the step's own derivative puts on the backward overlaps."""
        return 1, 1

    def skip(self, at: Parameters) -> Value:  # noqa: ARG002
        """The weight a of a branch that adds a times what phi saw one layer below; 0 for no branch."""
        return 0

    def seen(self, q: Two, below: Pair | None, at: Parameters) -> Pair:
        """What phi sees, branch included: it is independent of z, whose weights are fresh. below: one layer below."""
        own, a = self.pair(q, at), self.skip(at)
        if below is None or a == 0:
            return own
        return own[0] + a**2 * below[0], own[1] + a**2 * below[1], own[2] + a * below[2]

    def forward(self, expect: Expectations, phi: Function, seen: Pair, at: Parameters) -> Two:  # noqa: ARG002
        """hq of a layer from what phi sees."""
        p, c, mean = seen
        return expect.same(phi, p, mean), expect.pair(phi, p, c, mean)

    def backward(
        self, expect: Expectations, slope: Function, q: Two, seen: Pair, upper: Two, above: Two | None, at: Parameters
    ) -> tuple[Two, Two]:
        """tq of a layer, and the same overlaps of the signal before the step's derivative.

        upper: tq of the layer above; above: the second result there, None where that layer is the output.
        """
        p, c, mean = seen
        one = at.sigma_w2 * upper[0] * expect.same(slope, p, mean)
        two = at.sigma_w2 * upper[1] * expect.pair(slope, p, c, mean)
        a = self.skip(at)
        if above is not None and a != 0:
            one, two = one + a**2 * above[0], two + a**2 * above[1]
        gain = self.gain(q, at)
        return (gain[0] * one, gain[1] * two), (one, two)

    def overlaps(self, hq: Two) -> Two:
        """Forward overlaps that meet the backward ones in kappa_1 and kappa_2."""
        return hq


@dataclass(frozen=True)
class LayerNorm(HiddenRule):
    """u -> gamma (u - mean)/sd + beta over units: as M grows, mean -> 0 and sd^2 -> q_1."""

    def pair(self, q: Two, at: Parameters) -> tuple[Value, Value, Value]:
        """Variance gamma^2, the correlation kept, mean beta."""
        return at.gamma**2, at.gamma**2 * q[1] / q[0], at.beta

    def gain(self, q: Two, at: Parameters) -> Two:
        """gamma^2/q_1; the rank-two part of the Jacobian is O(1/M)."""
        return at.gamma**2 / q[0], at.gamma**2 / q[0]


@dataclass(frozen=True)
class BatchNormLimit(HiddenRule):
    """u -> gamma (u - mean)/sd + beta over T -> infinity samples."""

    couples_samples: ClassVar[bool] = True

    def pair(self, q: Two, at: Parameters) -> tuple[Value, Value, Value]:
        """Independent N(beta, gamma^2) variables."""
        return at.gamma**2, 0 * q[0], at.beta

    def gain(self, q: Two, at: Parameters) -> Two:
        """The backward pass through the mean removes what is constant over samples, all of tq_2."""
        return at.gamma**2 / (q[0] - q[1]), 0

    def overlaps(self, hq: Two) -> Two:
        """Below a batch normalization only the centered part of the forward signal counts."""
        return hq[0] - hq[1], hq[0] - hq[1]


@dataclass(frozen=True)
class BatchNormExact(BatchNormLimit):
    """Batch normalization over exactly T samples (derived here).

    phi sees d_t, z_t of a uniform direction z orthogonal to 1 (sphere.py). With d_t = gamma phi'(gamma z_t
    + beta) and the projection Pi = I - 1 1^T/T - z z^T/T, the backward overlap of a unit is (1/sd^2) D Pi
    D, and T sd^2/(q_1 - q_2) is chi-square with T - 1 degrees of freedom. tq_1 and tq_2 are its diagonal
    and off-diagonal entries, summed over the samples at which the signal arrives.
    """

    fewest_samples: ClassVar[int] = 4  # the mean of 1/sd^2 is finite only for T > 3

    def forward(self, expect: Expectations, phi: Function, seen: Pair, at: Parameters) -> Two:  # noqa: ARG002
        """hq from the sphere; it does not depend on q."""
        args = (at.samples, at.gamma, at.beta)
        return expect.sphere(phi, 0, 1, *args), expect.sphere(phi, 0, 2, *args)

    def backward(
        self,
        expect: Expectations,
        slope: Function,
        q: Two,
        seen: Pair,  # noqa: ARG002
        upper: Two,
        above: Two | None,
        at: Parameters,
    ) -> tuple[Two, Two]:
        """Under the output the signal arrives at one sample; further down it is isotropic, with mean 0."""
        T = at.samples
        args = (T, at.gamma, at.beta)
        d1, d2 = (at.gamma**2 * expect.sphere(slope, 0, n, *args) for n in (1, 2))
        z1, z2 = (at.gamma**2 * expect.sphere(slope, 1, n, *args) for n in (1, 2))
        scale = at.sigma_w2 * T / ((T - 3) * (q[0] - q[1]))  # sigma_w2 E[1/sd^2]
        diagonal = d1 * (1 - 1 / T) - z1 / T  # E d_t Pi_tt d_t
        off = -(d2 + z2) / T  # E d_t Pi_ts d_s
        if above is None:
            return (scale * diagonal, scale * off), upper
        # tr(Pi_1 D Pi D)/(T - 1) with Pi_1 = I - 1 1^T/T.
        isotropic = diagonal - off
        return (scale * isotropic * upper[0], scale * isotropic * upper[1]), upper


BUILT_IN: dict[str, HiddenRule] = {"none": HiddenRule(), "layer": LayerNorm(), "batch": BatchNormExact()}
ADDED: dict[str, HiddenRule] = {}


def add_normalization(name: str, rule: HiddenRule) -> None:
    """Add the rule of a normalization (or any other step before phi) of the hidden layers under a new name."""
    if not isinstance(rule, HiddenRule):
        raise ValueError(f"normalization {name!r}: {rule!r} is no rule; give an instance of a class made of HiddenRule")
    check_new("normalization", name, hidden_names())
    ADDED[name] = rule


def check_new(what: str, name: str, taken: tuple[str, ...]) -> None:
    """Refuse a name that a setting could not spell, or that is taken."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"{what} name {name!r}: it must be one word, since settings name it; use letters")
    if name in taken:
        raise ValueError(f"{what} {name!r} exists already; choose another name than {', '.join(taken)}")


def hidden_names() -> tuple[str, ...]:
    """Names of the hidden normalizations that have a rule."""
    return (*BUILT_IN, *ADDED)


def hidden_rule(name: str | HiddenRule, samples: str) -> HiddenRule:
    """The rule of a hidden normalization for T fixed or for T large."""
    if isinstance(name, HiddenRule):
        return name
    if name == "batch" and samples != "fixed":
        return BatchNormLimit()
    return {**BUILT_IN, **ADDED}[name]
