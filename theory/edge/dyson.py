"""The Dyson equation of the linearized matrix: at most 4 (L - 1) + 1 scalars, given the trace g of the resolvent."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from fimcheck.theory.edge.units import EdgeError, Layer, Units

Number = Any
"""Real, or complex off the axis."""

ITERATIONS = 4000
PRECISION = 1e-13


@dataclass(frozen=True)
class State:
    """Self-energies: a, b, e of the hidden layers 1..L-1 and c of the layers 0..L-1, as arrays."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    e: np.ndarray

    def far(self, other: "State") -> float:
        """Largest relative difference."""
        pairs = zip((self.a, self.b, self.c, self.e), (other.a, other.b, other.c, other.e), strict=True)
        return max(float(np.max(np.abs(x - y) / (np.abs(y) + 1e-30), initial=0.0)) for x, y in pairs)


@dataclass(frozen=True)
class Averages:
    """Averages over the units of one layer that the equation needs, and the smallest of its two determinants."""

    pp: Number
    dd: Number
    aa: Number
    bb: Number
    noise: Number
    determinant: float


def start(found: Units, kind: type = float) -> State:
    """No self-energy at all."""
    n = len(found.layers)
    return State(*(np.zeros(size, kind) for size in (n, n, n + 1, n)))


def averages(layer: Layer, g: Number, state: State, i: int, classes: int) -> Averages:
    """One hidden layer, the i-th from 0, at given self-energies."""
    a, b, c, e = state.a[i], state.b[i], state.c[i + 1], state.e[i]
    lp, ld = layer.forward + c, layer.backward + b
    noise_d = layer.e**2 * layer.k_d + classes * layer.gamma * layer.slope_variance
    q_pp = g * layer.n_pp + a * layer.f1**2
    q_pd = layer.e * (g * layer.k_x + a * layer.f1 * layer.f2)
    q_dd = g * noise_d + a * layer.e**2 * layer.f2**2 + e * layer.f1**2
    det = (1 - q_pp * lp) * (1 - q_dd * ld) - q_pd**2 * lp * ld
    h_pp, h_dd, h_pd = lp * (1 - q_dd * ld) / det, ld * (1 - q_pp * lp) / det, lp * ld * q_pd / det
    pp = (q_pp * (1 - q_dd * ld) + ld * q_pd**2) / det
    dd = (q_dd * (1 - q_pp * lp) + lp * q_pd**2) / det
    aa = layer.f1**2 * h_pp + 2 * layer.f1 * layer.e * layer.f2 * h_pd + layer.e**2 * layer.f2**2 * h_dd
    bb = layer.f1**2 * h_dd
    noise = layer.n_pp * h_pp + 2 * layer.e * layer.k_x * h_pd + noise_d * h_dd
    across = 1 - q_pp * lp  # the directions of the classes that eta does not point to
    if classes > 1:
        h, share = lp / across, 1 / classes
        pp = share * pp + (1 - share) * q_pp / across
        aa = share * aa + (1 - share) * layer.f1**2 * h
        noise = share * noise + (1 - share) * layer.n_pp * h
    lowest = float(min(np.real(det).min(), np.real(across).min()))
    return Averages(*(layer.mean(v) for v in (pp, dd, aa, bb, noise)), determinant=lowest)


def critical(layer: Layer, g: float, state: State, i: int, classes: int) -> np.ndarray:
    """|eta|^2 from which a unit of hidden layer i, counted from 0, is an eigenvalue beyond z(g): there D = 0.

    D is linear in |eta|^2. One number per xi; inf where no unit ever is.
    """
    a, b, c, e = state.a[i], state.b[i], state.c[i + 1], state.e[i]
    lp, ld = layer.forward + c, layer.backward + b
    forward = 1 - (g * layer.n_pp + a * layer.f1**2) * lp
    own = g * layer.k_d + a * layer.f2**2
    shared = g * classes * layer.gamma * layer.slope_variance + e * layer.f1**2
    falls = ld * (forward * own + (g * layer.k_x + a * layer.f1 * layer.f2) ** 2 * lp)
    with np.errstate(divide="ignore"):
        return np.where(falls > 0, forward * (1 - shared * ld) / falls, np.inf)


def advanced(found: Units, g: Number, state: State) -> tuple[State, Number, bool]:
    """The equation once: new self-energies, Sigma(g), and whether all determinants are positive."""
    layers = found.layers
    at = [averages(layer, g, state, i, found.classes) for i, layer in enumerate(layers)]
    lam = found.first + state.c[0]
    a, b, c, e = (np.zeros_like(v) for v in (state.a, state.b, state.c, state.e))
    a[0] = layers[0].weight * g / (1 - g * lam)
    alphas = [found.alpha_0, *(layer.alpha for layer in layers)]
    for i, mean in enumerate(at):
        c[i] = layers[i].weight * alphas[i + 1] / alphas[i] * mean.aa
        if i + 1 < len(layers):
            a[i + 1] = layers[i + 1].weight * mean.pp
            b[i + 1] = layers[i + 1].weight * alphas[i + 1] / alphas[i + 2] * mean.bb
        if i > 0:
            e[i - 1] = layers[i].weight * mean.dd
    noise = sum(layer.alpha * mean.noise for layer, mean in zip(layers, at, strict=True))
    sigma = found.rho * (found.alpha_0 * lam / (1 - g * lam) + noise)
    regular = bool(np.real(1 - g * lam) > 0 and all(mean.determinant > 0 for mean in at))
    return State(a, b, c, e), sigma, regular


def solved(
    found: Units, g: float, begin: State | None = None, precision: float = PRECISION
) -> tuple[State, float] | None:
    """The minimal positive solution at real g and Sigma(g); None where there is none.

    begin: a solution at a smaller g, from which the iteration rises as it does from zero.
    """
    state = begin or start(found)
    for _ in range(ITERATIONS):
        new, sigma, regular = advanced(found, g, state)
        if not regular or not np.isfinite(sigma):
            return None
        if new.far(state) < precision:
            return new, float(sigma)
        state = new
    return None


@dataclass(frozen=True)
class Resolvent:
    """g(z) off the real axis with its self-energies; jacobian: of the equation there, approximately."""

    z: complex
    g: complex
    state: State
    jacobian: np.ndarray | None = None

    def at(self, found: Units, z: complex) -> "Resolvent":
        """The solution at a point nearby, by Broyden's method, whose first Jacobian is the last one here."""
        for jacobian in (self.jacobian, None) if self.jacobian is not None else (None,):
            new = self._root(found, z, jacobian)
            if new is not None:
                return new
        raise EdgeError(f"the Dyson equation did not converge at z = {z:.6g}; keep farther from the real axis.")

    def _root(self, found: Units, z: complex, jacobian: np.ndarray | None) -> "Resolvent | None":
        """None where it does not converge."""

        def residual(numbers: np.ndarray) -> np.ndarray:
            g, state = _parts(numbers, len(found.layers))
            new, sigma, _ = advanced(found, g, state)
            return _joined(1 / (z - found.shift - sigma), new) - numbers

        known: Any = {} if jacobian is None else {"jac": lambda _: jacobian}
        solution = optimize.root(residual, _joined(self.g, self.state), tol=1e-10, **known)
        g, state = _parts(solution.x, len(found.layers))
        if not np.abs(solution.fun).max() < 1e-7 * (1 + np.abs(solution.x).max()) or not g.imag < 0:
            return None
        upper = np.zeros_like(solution.fjac)
        upper[np.triu_indices_from(upper)] = solution.r
        return Resolvent(z, g, state, solution.fjac.T @ upper)


def _parts(numbers: np.ndarray, layers: int) -> tuple[complex, State]:
    values = numbers[: len(numbers) // 2] + 1j * numbers[len(numbers) // 2 :]
    return complex(values[0]), State(*np.split(values[1:], [layers, 2 * layers, 3 * layers + 1]))


def _joined(g: complex, state: State) -> np.ndarray:
    values: Any = np.concatenate([[g], state.a, state.b, state.c, state.e])
    return np.concatenate([values.real, values.imag])
