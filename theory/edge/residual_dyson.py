"""The Dyson equation of a residual network, where every unit is a matrix."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fimcheck.theory.edge.dyson import Equation, Number, Solution, add_inputs


@dataclass(frozen=True)
class Alike:
    """What numbers do that vary alike for all units, see `finite_rank`; of branch b, (units, B) and more.

    level: mean over the samples of phi(u^b). back: of the derivative at the branch's dense step; eta: of what comes
    back from there to phi(u^b), W^T back. pull: mean of W level given the mean fields; pull_left (B,): its variance
    then, the biases'. bends (units, B + 1, K): of the signals by the variance of a forward field. Of the square of
    phi(u^b) less its mean: square_1 (units, B, B + 1), of its average by the forward fields; square_2, by half their
    variances; square_left (units, B, B) and square_noise (units, B, K), covariances of what a linear approximation
    leaves, with each other and with what is left of the signals.
    """

    level: np.ndarray
    eta: np.ndarray
    pull: np.ndarray
    pull_left: np.ndarray
    back: np.ndarray
    bends: np.ndarray
    square_1: np.ndarray
    square_2: np.ndarray
    square_left: np.ndarray
    square_noise: np.ndarray

    def at_first(self, units: int) -> "Alike":
        """The same at the first of the units."""
        own = {name: value[:units] for name, value in vars(self).items() if name != "pull_left"}
        return replace(self, **own)


@dataclass(frozen=True)
class Residual(Equation):
    """The Dyson equation. columns (units, K, J): what the J fields do to the K signals; noise (units, K, K); weights
    (units,), their sum 1; base (K,): multipliers of the signals. gains (B,), into: sigma_w2 of the branches and of the
    first step; alpha, alpha_0: widths of stream and inputs; first: tq_2 of the first step; gap:
    alpha (kappa_1 - kappa_2), with alpha of all layers. alike: None behind a normalization.

    The energies: of the B + 1 fields forward and the B backward; of the first B signals and of the last B; of the
    inputs.
    """

    columns: np.ndarray
    noise: np.ndarray
    weights: np.ndarray
    base: np.ndarray
    gains: np.ndarray
    into: float
    alpha: float
    alpha_0: float
    first: float
    rho: float
    gap: float
    alike: Alike | None = None

    @property
    def shift(self) -> float:
        """The diagonal shift c."""
        return self.rho * self.gap

    @property
    def blocks(self) -> int:
        """B."""
        return len(self.gains)

    @property
    def size(self) -> int:
        """How many energies."""
        return 4 * self.blocks + 2

    @cached_property
    def _feed(self) -> tuple[np.ndarray, np.ndarray]:
        """(size + 1, J + K + 1): what forms in the fields, responses and noise add to Sigma and to the energies; and
        where the energies stand among g, the fields and the multipliers."""
        B, J = self.blocks, 2 * self.blocks + 1
        feed = np.zeros((self.size + 1, 2 * J + 1))
        feed[0, -1] = self.rho * self.alpha
        for b, gain in enumerate(self.gains):
            feed[2 + b, J + b] = feed[1 + J + b, 1 + b] = gain  # through W forward: field b + 1 and signal b
            feed[2 + B + b, J + B + 1 + b] = feed[1 + J + B + b, B + 1 + b] = gain  # and backward
        feed[-1, 0] = self.into * self.alpha / self.alpha_0
        return feed, np.delete(np.arange(2 * J + 1), 1 + J + B)  # nothing is added to the multiplier of phi(u^B)

    def at(self, g: Number, energies: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """(Sigma, F), its derivatives by (g, energies), and the smallest determinant, which has to be positive."""
        B, J = self.blocks, 2 * self.blocks + 1
        feed, places = self._feed
        averages, slopes, lowest = self._responses(g, *self.parts(energies))
        kind = np.result_type(g, energies)
        value, by = (feed @ averages).astype(kind), np.zeros((self.size + 1, self.size + 1), kind)
        by[:, : 1 + J + 2 * B] = feed @ slopes[:, places]
        inputs = add_inputs(value, by, g, self.first + energies[-1], self.rho * self.alpha_0, self.into)
        return value, by, min(lowest, inputs)

    def at_first(self, units: int) -> "Residual":
        """The same at the first of its units, all of equal weight."""
        alike = None if self.alike is None else self.alike.at_first(units)
        weights = np.full(units, 1 / units)
        return replace(self, columns=self.columns[:units], noise=self.noise[:units], weights=weights, alike=alike)

    def parts(self, energies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies of the fields (J,), and multipliers of the signals (K,)."""
        B, J = self.blocks, 2 * self.blocks + 1
        multipliers = self.base + np.concatenate([energies[J : J + B], [0.0], energies[J + B : J + 2 * B]])
        return energies[:J], multipliers

    def _responses(
        self, g: Number, fields: np.ndarray, multipliers: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Averages of the diagonals of Y^T H Y and P, and of tr N H; their slopes by g, fields and multipliers.

        H = L (1 - Q L)^-1, P = Q (1 - L Q)^-1, Q = g N + Y diag(fields) Y^T, L = diag(multipliers).
        """
        y, n = self.columns, self.noise
        q = self.quadratic(g, fields)
        eye = np.eye(q.shape[-1])
        matrix = eye - q * multipliers
        back = np.linalg.inv(matrix)  # (1 - Q L)^-1
        h, p = multipliers[:, None] * back, back @ q
        forms = y.mT @ h @ y
        through = back @ y  # (1 - Q L)^-1 Y
        hy, nh = h @ y, n @ h
        k = back.mT  # (1 - L Q)^-1
        by_noise = np.concatenate([(hy * (n @ hy)).sum(1), (k * (n @ k)).sum(1)], 1)
        square = np.block([[forms, through.mT], [through, p]]) ** 2
        averages = np.concatenate([forms.diagonal(0, 1, 2), p.diagonal(0, 1, 2), nh.trace(0, 1, 2)[:, None]], 1)
        slopes = np.zeros((*averages.shape, averages.shape[1]), averages.dtype)
        slopes[:, :-1, 1:] = square
        slopes[:, :-1, 0] = slopes[:, -1, 1:] = by_noise
        slopes[:, -1, 0] = (nh * nh.mT).sum((1, 2))
        means = (np.einsum("u,u...->...", self.weights, v) for v in (averages, slopes))
        return *means, self._determinant(q, multipliers)

    def quadratic(self, g: Number, fields: np.ndarray) -> np.ndarray:
        """Q of every unit."""
        return g * self.noise + (self.columns * fields) @ self.columns.mT

    def _matrix(self, q: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
        """1 - Q L of every unit, made symmetric."""
        root = np.sqrt(multipliers)
        return np.eye(len(root)) - root[:, None] * q * root

    def _determinant(self, q: np.ndarray, multipliers: np.ndarray) -> float:
        """The smallest of all units; below 0 where a matrix is not positive; 1 if complex."""
        if np.iscomplexobj(q):
            return 1.0
        if multipliers.min() < 0:
            return -1.0
        try:
            factors = np.linalg.cholesky(self._matrix(q, multipliers))
        except np.linalg.LinAlgError:
            return -1.0
        return float(factors.diagonal(0, 1, 2).prod(1).min() ** 2)

    def margin(self, at: Solution) -> float:
        """How far the most extreme unit is from splitting off: its smallest eigenvalue over their mean."""
        fields, multipliers = self.parts(at.energies)
        q = self.quadratic(at.g, fields)
        lowest = np.linalg.eigvalsh(self._matrix(q, multipliers))[:, 0]
        return float(lowest.min() / (self.weights @ lowest))
