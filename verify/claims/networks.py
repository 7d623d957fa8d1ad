"""The networks of a setting on both sides: finite ones to measure, wide ones to predict."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from fimcheck import numerics, theory

if TYPE_CHECKING:
    from fimcheck.verify.claims.setting import Setting

# Fields that are symbols of a formula.
NUMBERS = ("sigma_w2", "sigma_b2", "gamma", "beta", "last_gamma")


def _shared(setting: Setting) -> dict[str, Any]:
    """What networks of both sides take by the same names: their numbers, and what is done to the outputs."""
    return {name: getattr(setting, name) for name in ("last", *NUMBERS)}


def finite(setting: Setting, widths: tuple[int, ...], width: int) -> numerics.RandomNetwork | numerics.Composition:
    """The network of width M whose layers before the outputs have these widths."""
    if setting.composed:
        given = setting.given()
        inputs = widths[0] if given is None else given.shape[1]
        return numerics.Composition(
            setting.nodes, width, inputs, setting.classes, setting.positions, **_shared(setting)
        )
    return numerics.RandomNetwork(
        widths=(*widths, setting.classes), activation=setting.activation, hidden=setting.hidden, **_shared(setting)
    )


@cache
def wide(setting: Setting) -> theory.WideNetwork | theory.Network:
    """The infinitely wide network; kept, since every step of it is tried when it is made."""
    given = setting.given()
    if setting.steps or given is not None:
        return theory.compose(
            setting.nodes,
            **_shared(setting),
            input_width=setting.ratios[0] if given is None else given.shape[1] / theory.symbols.M,
            positions=setting.positions,
            inputs=None if given is None else theory.GivenInputs(given @ given.T / given.shape[1]),
            text=setting.steps,
        )
    return theory.WideNetwork(
        depth=setting.depth,
        activation=setting.activation,
        hidden=setting.hidden,
        ratios=setting.ratios,
        **_shared(setting),
    )


def symbolic(setting: Setting) -> theory.WideNetwork | theory.Network:
    """The wide network with symbols for its numbers, but for zeros and those in the text of its steps."""
    sigma_b2, beta = (
        (symbol if value else 0)
        for symbol, value in ((theory.symbols.sigma_b2, setting.sigma_b2), (theory.symbols.beta, setting.beta))
    )
    if setting.steps:
        positions = theory.symbols.N if setting.positions > 1 else 1
        return theory.compose(
            setting.nodes, last=setting.last, sigma_b2=sigma_b2, beta=beta, positions=positions, text=setting.steps
        )
    return theory.WideNetwork(
        setting.depth, setting.activation, setting.hidden, setting.last, sigma_b2=sigma_b2, beta=beta
    )
