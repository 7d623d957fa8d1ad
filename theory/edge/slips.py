"""Mistakes in the equations of the edge, which a test has to refuse."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fimcheck.theory.edge.residual_dyson import Residual
from fimcheck.theory.edge.units import Change, Units


def _layers(**change: Callable[[Any], Any]) -> Change:
    """Every hidden layer with some fields changed."""

    def changed(found: Units) -> Units:
        layers = (
            replace(layer, **{name: f(getattr(layer, name)) for name, f in change.items()}) for layer in found.layers
        )
        return replace(found, layers=tuple(layers))

    return changed


def _zero(value: Any) -> Any:
    return 0 * value


INVERTED: tuple[str, Change] = (
    "rho is inverted in the edge",
    lambda found: replace(found, rho=1 / found.rho),
)

SLIPS: dict[str, tuple[str, Change]] = {
    "no shared eta": ("the backward signal that all samples share is dropped", _layers(e=_zero)),
    "forward alone": ("the backward part of the edge is dropped", _layers(backward=_zero)),
    "backward alone": (
        "the forward part of the edge is dropped",
        lambda found: replace(_layers(forward=_zero)(found), first=0.0),
    ),
    "no f2": ("the curvature of phi is dropped from the edge", _layers(f2=_zero, k_x=_zero)),
    "1/rho": INVERTED,
}
"""Mistakes in the equation: words, and what they do to the averages."""


RANK_SLIPS: dict[str, tuple[str, Change]] = {
    "no pull": (
        "what the mean fields tell of the weights is dropped",
        _layers(pull=_zero, pull_left=_zero),
    ),
    "lengths apart": (
        "the lengths of signals are taken for independent of the signals",
        _layers(square_1=_zero, square_2=_zero, square_left=_zero, square_phi=_zero, square_slope=_zero),
    ),
    "no level": ("the mean of the activations is dropped where samples overlap with it", _layers(level=_zero)),
}
"""Mistakes in the terms of finite rank alone, which leave the bulk as it is."""


def _alike(*names: str) -> Change:
    """A residual network's equation without some of what varies alike for all units."""
    return lambda found: replace(found, alike=replace(found.alike, **{n: 0 * getattr(found.alike, n) for n in names}))


RESIDUAL_RANK_SLIPS: dict[str, tuple[str, Change]] = {
    "no pull": (RANK_SLIPS["no pull"][0], _alike("pull", "pull_left")),
    "lengths apart": (
        RANK_SLIPS["lengths apart"][0],
        _alike("square_1", "square_2", "square_left", "square_noise"),
    ),
    "no bend": ("that lengths of signals change what a unit gives is dropped", _alike("bends")),
}
"""The same of a residual network."""


def _parts(**change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """A residual network's equation with some fields changed."""
    return lambda found: replace(found, **{name: f(getattr(found, name)) for name, f in change.items()})


def _without_signals(found: Residual, keep: slice) -> Residual:
    """With the multipliers of some signals alone."""
    base = np.zeros_like(found.base)
    base[keep] = found.base[keep]
    return replace(found, base=base)


def _apart(noise: np.ndarray) -> np.ndarray:
    """Signals of different places without noise in common."""
    return noise * np.eye(noise.shape[-1])


def _straight(columns: np.ndarray) -> np.ndarray:
    """What comes through the weights forward without effect on the derivatives."""
    places = columns.shape[-1] // 2 + 1
    found = columns.copy()
    found[:, places:, :places] = 0.0
    return found


RESIDUAL_SLIPS: dict[str, tuple[str, Change]] = {
    "forward alone": (
        "the backward part of the edge is dropped",
        lambda found: _without_signals(found, slice(0, found.blocks + 1)),
    ),
    "backward alone": (
        "the forward part of the edge is dropped",
        lambda found: replace(_without_signals(found, slice(found.blocks + 1, None)), first=0.0),
    ),
    "no f2": ("the curvature of phi is dropped from the edge", _parts(columns=_straight)),
    "apart": ("what a unit gives at different blocks is taken for independent", _parts(noise=_apart)),
    "no stream": (
        "the units of every layer are taken for units of their own",
        _parts(noise=_apart, columns=lambda columns: columns * np.eye(columns.shape[-1])),
    ),
    "1/rho": INVERTED,
}
"""The same of a residual network."""
