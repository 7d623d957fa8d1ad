"""The Dyson equation of several outputs where the units' backward fields have directions: of a matrix over the classes.

At finite width the classes overlap, by M^-1/2. What the samples carry forward has then another strength for every
direction over the classes, and a unit responds with a matrix: its forward signal for each class, its backward one.
"""

from dataclasses import dataclass

import numpy as np

from fimcheck.theory.edge.layer import Layer
from fimcheck.theory.edge.own_units import in_units_of_mean, mean_outer
from fimcheck.theory.edge.units import Units

Array = np.ndarray


@dataclass(frozen=True)
class State:
    """g and the energies: c of the inputs, (C, C); a and c, (L - 1, C, C), b and e, (L - 1,), of the hidden layers."""

    g: Array
    inputs: Array
    a: Array
    c: Array
    b: Array
    e: Array

    def flat(self) -> Array:
        """All numbers in a row; the matrices are symmetric."""
        rows, columns = np.triu_indices(len(self.g))
        matrices = np.stack([self.g, self.inputs, *self.a, *self.c])
        return np.concatenate([matrices[:, rows, columns].ravel(), self.b, self.e])


def alike(g: float, energies: Array, classes: int) -> State:
    """The state of classes that are alike, from the energies of `Dyson`."""
    eye = np.eye(classes)
    a, b, c, e = energies[:-1].reshape(-1, 4).T
    return State(g * eye, energies[-1] * eye, a[:, None, None] * eye, c[:, None, None] * eye, b, e)


def overlaps(found: Units) -> tuple[list[Array], list[Array]]:
    """tq_2 and tq_1 - tq_2 of every weight layer over the classes, (C, C), in units of their mean over them."""
    eye = np.eye(found.classes)
    two, gap = [eye], [eye]
    for layer, eta in zip(found.layers[::-1], found.fields[::-1], strict=True):
        own = layer.gamma * float(np.real(layer.mean(layer.f1**2 + layer.slope_variance)))
        gap.insert(0, in_units_of_mean(mean_outer(layer, layer.slope_variance, eta) + own * gap[0]))
        two.insert(0, in_units_of_mean(mean_outer(layer, layer.f1**2, eta)))
    return two, gap


class ClassDyson:
    """The equation at the units of one network, see `own_units`.

    g = (z - c - Sigma(g))^-1 and the energies of what is carried forward are matrices over the classes.
    """

    def __init__(self, found: Units) -> None:
        self.found, self.fields = found, found.fields
        two, gap = overlaps(found)
        self.first = found.first * two[0]
        self.forward = [layer.forward * matrix for layer, matrix in zip(found.layers, two[1:], strict=True)]
        self.gamma = [layer.gamma * matrix for layer, matrix in zip(found.layers, gap[1:], strict=True)]
        self.shift = found.rho * sum(size * matrix for size, matrix in zip(found.gaps, gap, strict=True))
        self.alphas = found.alphas

    def at(self, top: float, state: State) -> tuple[State, float, float]:
        """What the equation makes of a state; z, where the largest eigenvalue of g is ``top``; and the smallest
        determinant of the inputs and the units, which has to be positive."""
        layers = self.found.layers
        lam = self.first + state.inputs
        own = np.eye(self.found.classes) - state.g @ lam
        inverse, lowest = np.linalg.inv(own), float(np.linalg.det(own))
        sigma = self.found.rho * self.found.alpha_0 * lam @ inverse
        a, c, b, e = (np.zeros_like(energies) for energies in (state.a, state.c, state.b, state.e))
        a[0] = layers[0].weight * inverse @ state.g
        inputs = np.zeros_like(lam)
        for i, layer in enumerate(layers):
            h, p, determinant = self._responses(i, state)
            lowest = min(lowest, determinant)
            noise = self._pulled(i, (layer.n_pp, layer.k_x, layer.k_d), h)
            noise = noise + layer.mean(layer.slope_variance * h[:, -1, -1]) * self.gamma[i]
            sigma = sigma + self.found.rho * layer.alpha * noise
            back = layer.weight * self.alphas[i + 1] / self.alphas[i] * self._pulled(i, _squares(layer), h)
            if i == 0:
                inputs = back
            else:
                c[i - 1], e[i - 1] = back, layer.weight * layer.mean(p[:, -1, -1])
            if i + 1 < len(layers):
                above = layers[i + 1].weight
                a[i + 1] = above * np.einsum("u,uij->ij", layer.weights, p[:, :-1, :-1])
                b[i + 1] = above * self.alphas[i + 1] / self.alphas[i + 2] * layer.mean(layer.f1**2 * h[:, -1, -1])
        values, vectors = np.linalg.eigh(self.shift + (sigma + sigma.T) / 2)
        z = float(values[-1]) + 1 / top
        return State((vectors / (z - values)) @ vectors.T, inputs, a, c, b, e), z, lowest

    def margin(self, state: State) -> float:
        """How far the most extreme unit is from splitting off: its smallest eigenvalue of 1 - Q L over their mean."""
        margins = []
        for i, layer in enumerate(self.found.layers):
            q, multipliers = self._unit(i, state)
            values, vectors = np.linalg.eigh(multipliers)
            root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
            lowest = np.linalg.eigvalsh(np.eye(len(root)) - root @ q @ root)[:, 0]
            margins.append(lowest.min() / (layer.weights @ lowest))
        return float(min(margins))

    def _responses(self, i: int, state: State) -> tuple[Array, Array, float]:
        """H = L (1 - Q L)^-1 and P = Q (1 - L Q)^-1 of the units of a hidden layer, (units, C + 1, C + 1), and the
        smallest determinant of 1 - Q L."""
        q, multipliers = self._unit(i, state)
        matrix = np.eye(len(multipliers)) - multipliers @ q
        back = np.linalg.inv(matrix)
        return back @ multipliers, q @ back, float(np.linalg.det(matrix).min())

    def _unit(self, i: int, state: State) -> tuple[Array, Array]:
        """Q of the units of a hidden layer, (units, C + 1, C + 1), and their L."""
        layer, eta = self.found.layers[i], self.fields[i]
        parts = zip((layer.n_pp, layer.k_x, layer.k_d), _squares(layer), strict=True)
        pp, pd, dd = (n[:, None, None] * state.g + s[:, None, None] * state.a[i] for n, s in parts)
        q = np.zeros((len(eta), self.found.classes + 1, self.found.classes + 1))
        q[:, :-1, :-1] = pp
        q[:, :-1, -1] = q[:, -1, :-1] = np.einsum("uij,uj->ui", pd, eta)
        gamma = layer.slope_variance * (state.g * self.gamma[i]).sum()
        q[:, -1, -1] = np.einsum("ui,uij,uj->u", eta, dd, eta) + gamma + state.e[i] * layer.f1**2
        multipliers = np.zeros(q.shape[1:])
        multipliers[:-1, :-1] = self.forward[i] + state.c[i]
        multipliers[-1, -1] = layer.backward + state.b[i]
        return q, multipliers

    def _pulled(self, i: int, values: tuple[Array, Array, Array], h: Array) -> Array:
        """Average over the units of pp H_pp + pd (H_pd eta^T + eta H_dp) + dd H_dd eta eta^T."""
        layer, eta = self.found.layers[i], self.fields[i]
        pp, pd, dd = (layer.weights * value for value in values)
        mixed = np.einsum("u,ui,uj->ij", pd, h[:, :-1, -1], eta)
        both = np.einsum("u,ui,uj->ij", dd * h[:, -1, -1], eta, eta)
        return np.einsum("u,uij->ij", pp, h[:, :-1, :-1]) + mixed + mixed.T + both


def _squares(layer: Layer) -> tuple[Array, Array, Array]:
    """Of u = (f1, f2) in (f1, f2 eta)."""
    return layer.f1**2, layer.f1 * layer.f2, layer.f2**2
