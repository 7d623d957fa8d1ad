"""The sums of a residual network that terms of finite rank couple, see `finite_rank`."""

import numpy as np
from scipy import linalg

from fimcheck.theory.edge.curve import Curve
from fimcheck.theory.edge.finite_rank import Sums, propagators
from fimcheck.theory.edge.layer import NEGLIGIBLE
from fimcheck.theory.edge.residual_dyson import Alike, Residual


def sums(curve: Curve[Residual], g: float) -> Sums:
    """All sums at g, those of the weights of branch b under the number b."""
    at, equation = curve.solved(g), curve.equation
    assert at is not None  # left of the end
    alike = equation.alike
    assert alike is not None
    found, B = Sums(), equation.blocks
    fields, multipliers = equation.parts(at.energies)
    units = propagators(equation.quadratic(g, fields), multipliers)
    forms = _forms(equation, alike, g, fields)
    left = {}  # the part of W level that the mean field does not tell
    for b, variance in enumerate(alike.pull_left):
        left[b, "a pull"] = variance, _to_signals(equation.columns[:, :, b + 1])
        left[b, "d pull"] = variance, _signal(equation, B + 1 + b)
    found.add_over(units, equation.weights, forms, left)
    _add_lengths(found, equation, alike, g, fields)
    for b in range(B):
        _couple_weights(found, equation, alike, at.energies, b)
    return found


def _to_signals(parts: np.ndarray) -> np.ndarray:
    """(units, 2 K): factors of the multipliers of the signals, and none of the signals."""
    return np.concatenate([np.zeros_like(parts), parts], 1)


def _signal(equation: Residual, k: int) -> np.ndarray:
    """(units, 2 K): signal k itself."""
    found = np.zeros((len(equation.weights), 2 * equation.columns.shape[1]))
    found[:, k] = 1.0
    return found


def _forms(equation: Residual, alike: Alike, g: float, fields: np.ndarray) -> dict[tuple[int, str], np.ndarray]:
    """What is summed, (units, 2 K), by the names of `chain_rank`; the bends by the field whose variance changes."""
    B = equation.blocks
    found = {(k, "bend"): _to_signals(alike.bends[:, k]) for k in range(B + 1)}
    for b in range(B):
        forward, backward = (_to_signals(equation.columns[:, :, j]) for j in (b + 1, B + 1 + b))
        p, d = _signal(equation, b), _signal(equation, B + 1 + b)
        level, eta, pull, back = (x[:, b, None] for x in (alike.level, alike.eta, alike.pull, alike.back))
        square = np.einsum("k,uk,usk->us", fields[: B + 1], alike.square_1[:, b], equation.columns[:, :, : B + 1])
        found |= {
            (b, "a pull"): forward * pull, (b, "d pull"): d * pull,
            (b, "a back"): forward * back, (b, "d back"): d * back,
            (b, "p level"): p * level, (b, "b level"): backward * level,
            (b, "p eta"): p * eta, (b, "b eta"): backward * eta,
            (b, "square"): _to_signals(square + g * alike.square_noise[:, b]),
        }  # fmt: skip
    return found


def _add_lengths(found: Sums, equation: Residual, alike: Alike, g: float, fields: np.ndarray) -> None:
    """Lengths of the inputs and of what the branches send, and their multipliers."""
    B, weights = equation.blocks, equation.weights
    linear = np.einsum("u,ubk,uck,k->bc", weights, alike.square_1, alike.square_1, fields[: B + 1])
    noise = linalg.block_diag(
        equation.into**2 * 2 * g,
        np.outer(equation.gains, equation.gains) * (g * np.tensordot(weights, alike.square_left, 1) + linear),
    )
    one = np.eye(B + 1)
    names = [(k, name) for name in ("length", "multiplier") for k in range(B + 1)]
    found.add(names, np.block([[noise, one], [one, 0 * one]]))
    widths = np.sqrt(equation.alpha / np.array([equation.alpha_0, *[equation.alpha] * B]))
    passed = equation.gains[:, None] / 2 * np.tensordot(weights, alike.square_2, 1)
    for k in range(B + 1):
        found.couple((k, "bend"), (k, "length"), -widths[k])
        for b in range(k, B):  # what comes in at k is seen from there on
            found.couple((b + 1, "multiplier"), (k, "length"), -widths[k] * passed[b, k])
    for b in range(B):
        found.couple((b + 1, "multiplier"), (b, "square"), -equation.gains[b])


def _couple_weights(found: Sums, equation: Residual, alike: Alike, energies: np.ndarray, b: int) -> None:
    """What is known of the weights of branch b, and the product of overlaps."""
    B, J, weights = equation.blocks, 2 * equation.blocks + 1, equation.weights
    level, back = (float(weights @ x[:, b] ** 2) for x in (alike.level, alike.back))
    level = level if equation.base[B + 1 + b] > NEGLIGIBLE else 0.0
    found.couple_weights(b, b, level, back, (*energies[[b + 1, J + B + b, J + b, B + 1 + b]],))
    if level > NEGLIGIBLE:
        for later in range(b + 1, B):
            pulled = float(weights @ (alike.square_1[:, later, b + 1] * alike.pull[:, b]))
            found.couple((later + 1, "multiplier"), (b, "p level"), -equation.gains[later] * pulled / level)
