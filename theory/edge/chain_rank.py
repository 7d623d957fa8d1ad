"""The sums of a chain that terms of finite rank couple, see `finite_rank`."""

import numpy as np

from fimcheck.theory.edge.curve import Curve
from fimcheck.theory.edge.dyson import Dyson, Solution
from fimcheck.theory.edge.finite_rank import Sums, propagators
from fimcheck.theory.edge.layer import NEGLIGIBLE, Layer
from fimcheck.theory.edge.response import backward_noise, quadratic


def sums(curve: Curve[Dyson], g: float) -> Sums:
    """All sums at g."""
    at = curve.solved(g)
    assert at is not None  # left of the end
    equation, found = curve.equation, Sums()
    for i, row in enumerate(equation.rows):
        _add_layer(found, equation, at, i, row)
        _add_length(found, equation, at, i)
    for i in range(1, len(equation.rows)):
        _couple_weights(found, equation, at, i)
    return found


def _add_layer(found: Sums, equation: Dyson, at: Solution, i: int, layer: Layer) -> None:
    """Sums over the units of a hidden layer.

    "a x": what the layer below sends acts on the unit through a, times x; "b x": what the layer above sends back;
    "p x", "d x": its signals forward and backward.
    """
    nothing = np.zeros_like(layer.f1)

    def form(*parts: np.ndarray) -> np.ndarray:
        """(units, 4): factors of p, d and of their multipliers."""
        return np.stack(parts, 1)

    def to(x: np.ndarray | float) -> np.ndarray:
        return form(nothing, nothing, layer.f1 * x, layer.f2 * layer.e * x)

    def back(x: np.ndarray) -> np.ndarray:
        return form(nothing, nothing, nothing, layer.f1 * x)

    eta, backward = layer.e, layer.f1 * layer.e
    forms = {"bend": form(nothing, nothing, layer.f2 / 2, layer.f3 * eta / 2)}
    if i > 0:
        forms |= {"a pull": to(layer.pull), "d pull": form(nothing, layer.pull, nothing, nothing)}
        forms |= {"a back": to(backward), "d back": form(nothing, backward, nothing, nothing)}
    if i + 1 < len(equation.rows):
        forms |= {"p level": form(layer.level, nothing, nothing, nothing), "b level": back(layer.level)}
        forms |= {"p eta": form(eta, nothing, nothing, nothing), "b eta": back(eta)}
        noise = form(nothing, nothing, layer.square_phi, layer.square_slope * eta)
        forms["square"] = at.energies[4 * i] * to(layer.square_1) + at.g * noise
    units = _propagators(layer, at.g, at.energies[4 * i : 4 * i + 4])
    # The part of W level that the mean field does not tell.
    unit = form(nothing, nothing + 1, nothing, nothing)
    left = {(i, "a pull"): (layer.pull_left, to(1.0)), (i, "d pull"): (layer.pull_left, unit)}
    found.add_over(units, layer.weights, {(i, name): one for name, one in forms.items()}, left)


def _propagators(layer: Layer, g: float, energies: np.ndarray) -> np.ndarray:
    """Covariances (units, 4, 4) of p, d and their multipliers."""
    (forward, mixed, backward), multipliers = quadratic(layer, g, energies, backward_noise(layer, 1))
    Q = np.stack([forward, mixed, mixed, backward], 1).reshape(-1, 2, 2)
    return propagators(Q, np.array(multipliers))


def _add_length(found: Sums, equation: Dyson, at: Solution, i: int) -> None:
    """The length of what the layer below sends to hidden layer i, and its multiplier."""
    layer, alphas = equation.rows[i], equation.found.alphas
    if i == 0:
        noise = 2 * at.g  # of x^2
    else:
        below = equation.rows[i - 1]
        noise = float(below.mean(at.g * below.square_left + at.energies[4 * (i - 1)] * below.square_1**2).real)
        found.couple((i, "multiplier"), (i - 1, "square"), -layer.weight)
        passed = layer.weight / 2 * float(below.mean(below.square_2).real)
        found.couple((i, "multiplier"), (i - 1, "length"), -np.sqrt(alphas[i] / alphas[i - 1]) * passed)
    found.couple((i, "bend"), (i, "length"), -np.sqrt(alphas[i + 1] / alphas[i]))
    found.add([(i, "length"), (i, "multiplier")], np.array([[layer.weight**2 * noise, 1.0], [1.0, 0.0]]))


def _couple_weights(found: Sums, equation: Dyson, at: Solution, i: int) -> None:
    """What is known of the weights between hidden layers i - 1 and i, and the product of overlaps."""
    layer, below, alphas = equation.rows[i], equation.rows[i - 1], equation.found.alphas
    r = np.sqrt(alphas[i] / alphas[i + 1])
    # hq_2 and tq_2 of the very units, which may be cut. Where the limit has no hq_2, that of a network is noise.
    level = float(below.mean(below.level**2).real)
    back = float(layer.mean((layer.f1 * layer.e) ** 2).real)
    (a, b, _, _), (_, _, c, e) = at.energies[4 * i : 4 * i + 4], at.energies[4 * i - 4 : 4 * i]
    level = level if layer.backward > NEGLIGIBLE else 0.0
    found.couple_weights(i, i - 1, level, back, (a, b, c, e), float(r))
    if level > NEGLIGIBLE and i + 1 < len(equation.rows):
        pulled = layer.weight * float(layer.mean(layer.square_1 * layer.pull).real)
        found.couple((i + 1, "multiplier"), (i - 1, "p level"), -pulled / (r * level))
