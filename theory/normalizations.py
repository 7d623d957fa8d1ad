"""What each normalization in the hidden layers does to the forward pair and to the backward signal.

The definitions of the normalizations (what is done to a network) are not here: these are their consequences
for wide networks. The same rules serve expressions and float64 numbers.
"""

from dataclasses import dataclass
from typing import Any, Protocol

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
    """The values that enter the recursion; samples is T, for batch normalization over T samples."""

    sigma_w2: Value
    sigma_b2: Value
    ratios: tuple[Value, ...]
    gamma: Value
    beta: Value
    samples: Value


Two = tuple[Value, Value]
"""Values for one sample with itself and for two different samples."""


@dataclass(frozen=True)
class PlainLayer:
    """No normalization: phi sees the pre-activations as they are."""

    def pair(self, q: Two, at: Parameters) -> tuple[Value, Value, Value]:  # noqa: ARG002
        """Variance, covariance and mean of the pair that phi sees."""
        return q[0], q[1], 0

    def gain(self, q: Two, at: Parameters) -> Two:  # noqa: ARG002
        """Factors that the normalization's own derivative puts on the backward overlaps."""
        return 1, 1

    def forward(self, expect: Expectations, phi: Function, q: Two, at: Parameters) -> Two:
        """hq of a layer from its q."""
        p, c, mean = self.pair(q, at)
        return expect.same(phi, p, mean), expect.pair(phi, p, c, mean)

    def backward(
        self,
        expect: Expectations,
        slope: Function,
        q: Two,
        upper: Two,
        top: bool,  # noqa: ARG002
        at: Parameters,
    ) -> Two:
        """tq of a layer from its q and the tq above; top: whether the layer above is the output."""
        p, c, mean = self.pair(q, at)
        one, two = self.gain(q, at)
        w2 = at.sigma_w2
        return w2 * upper[0] * one * expect.same(slope, p, mean), w2 * upper[1] * two * expect.pair(slope, p, c, mean)

    def overlaps(self, hq: Two) -> Two:
        """Forward overlaps that meet the backward ones in kappa_1 and kappa_2."""
        return hq


@dataclass(frozen=True)
class LayerNorm(PlainLayer):
    """u -> gamma (u - mean)/sd + beta over units: as M grows, mean -> 0 and sd^2 -> q_1."""

    def pair(self, q: Two, at: Parameters) -> tuple[Value, Value, Value]:
        """Variance gamma^2, the correlation kept, mean beta."""
        return at.gamma**2, at.gamma**2 * q[1] / q[0], at.beta

    def gain(self, q: Two, at: Parameters) -> Two:
        """gamma^2/q_1; the rank-two part of the Jacobian is O(1/M)."""
        return at.gamma**2 / q[0], at.gamma**2 / q[0]


@dataclass(frozen=True)
class BatchNormLimit(PlainLayer):
    """u -> gamma (u - mean)/sd + beta over T -> infinity samples."""

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

    def forward(self, expect: Expectations, phi: Function, q: Two, at: Parameters) -> Two:  # noqa: ARG002
        """hq from the sphere; it does not depend on q."""
        args = (at.samples, at.gamma, at.beta)
        return expect.sphere(phi, 0, 1, *args), expect.sphere(phi, 0, 2, *args)

    def backward(self, expect: Expectations, slope: Function, q: Two, upper: Two, top: bool, at: Parameters) -> Two:
        """Under the output the signal arrives at one sample; further down it is isotropic, with mean 0."""
        T = at.samples
        args = (T, at.gamma, at.beta)
        d1, d2 = (at.gamma**2 * expect.sphere(slope, 0, n, *args) for n in (1, 2))
        z1, z2 = (at.gamma**2 * expect.sphere(slope, 1, n, *args) for n in (1, 2))
        scale = at.sigma_w2 * T / ((T - 3) * (q[0] - q[1]))  # sigma_w2 E[1/sd^2]
        diagonal = d1 * (1 - 1 / T) - z1 / T  # E d_t Pi_tt d_t
        off = -(d2 + z2) / T  # E d_t Pi_ts d_s
        if top:
            return scale * diagonal, scale * off
        # tr(Pi_1 D Pi D)/(T - 1) with Pi_1 = I - 1 1^T/T.
        isotropic = diagonal - off
        return scale * isotropic * upper[0], scale * isotropic * upper[1]


def hidden_rule(name: str, samples: str) -> PlainLayer:
    """The rule of a hidden normalization for T fixed or for T large."""
    if name == "batch":
        return BatchNormExact() if samples == "fixed" else BatchNormLimit()
    return LayerNorm() if name == "layer" else PlainLayer()
