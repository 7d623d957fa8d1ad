"""Networks from a text, or from the plain data that it stands for."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

import sympy as sp

from fimcheck.theory import symbols
from fimcheck.theory.gaussian.activations import BUILTIN, activation
from fimcheck.theory.network.chain import finite, nonnegative, nonzero, positive
from fimcheck.theory.network.combine import Chain
from fimcheck.theory.network.composition import Network
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.elementwise import Phi
from fimcheck.theory.network.grammar import Node, parse, unrolled
from fimcheck.theory.network.inputs import GivenInputs
from fimcheck.theory.network.step import STEPS, CompositionError, Step

SHORT = {"sw2": "sigma_w2", "sb2": "sigma_b2"}
RULES = {
    **dict.fromkeys(("sigma_w2", "width", "keep", "rate", "taps"), positive),
    "sigma_b2": nonnegative,
    **dict.fromkeys(("gamma", "by", "a"), nonzero),
}
"""What a parameter may be, where it is more than a finite number."""


def compose(
    described: str | Sequence[Node],
    *,
    last: str = "none",
    sigma_w2: Any = symbols.sigma_w2,
    sigma_b2: Any = symbols.sigma_b2,
    gamma: Any = symbols.gamma,
    beta: Any = symbols.beta,
    last_gamma: Any = symbols.last_gamma,
    input_width: Any = 1,
    positions: Any = None,
    inputs: GivenInputs | None = None,
    text: str = "",
) -> Network:
    """The network of a text, "dense 2*(skip(relu dense)) relu dense", or of plain data; see `grammar`.

    Its last step is the dense step of the outputs. A step that is described without sw2, sb2, gamma or beta gets the
    network's. positions: their number; by default 1, or the symbol N for a text with a step that needs them. text: what
    is shown for plain data. Raises CompositionError for an unknown step or parameter and for steps that do not fit
    together, DescriptionError for a text outside the grammar.

    >>> theory.compose("dense relu dense").alpha
    1
    >>> theory.compose([("dense", {}, ()), ("relu", {}, ()), ("dense", {}, ())]).alpha
    1
    """
    nodes = unrolled(parse(described)) if isinstance(described, str) else described
    text = described if isinstance(described, str) else text
    shared = {
        "sigma_w2": positive("sigma_w2", sigma_w2),
        "sigma_b2": nonnegative("sigma_b2", sigma_b2),
        "gamma": nonzero("gamma", gamma),
        "beta": finite("beta", beta),
    }
    steps = _chain(nodes, shared, "").steps
    if not steps or not isinstance(steps[-1], Dense):
        raise CompositionError(
            "a network ends in a dense step, whose units are the C outputs; this one ends otherwise. Add dense at "
            "the end."
        )
    top = nodes[-1][1]
    if "width" in top:
        raise CompositionError("the last dense step has C units, the number of outputs: leave its width out.")
    chain = Chain((*steps[:-1], replace(steps[-1], width=sp.S.Zero)))  # the outputs: C/M -> 0
    if positions is None:
        needed = isinstance(described, str) and any(step.needs_positions for _, step in chain.walk())
        positions = symbols.N if needed else 1
    return Network(
        chain, last, nonzero("last_gamma", last_gamma), positive("input_width", input_width),
        positive("positions", positions), inputs, text,
    )  # fmt: skip


def _chain(nodes: Sequence[Node], shared: Mapping[str, Any], path: str) -> Chain:
    return Chain(tuple(_step(node, shared, f"{path}{number}") for number, node in enumerate(nodes, 1)))


def _step(node: Node, shared: Mapping[str, Any], path: str) -> Step:
    name, given, branches = node
    if name in BUILTIN:
        if given or branches:
            raise CompositionError(f"step {path}: the activation {name} takes no parameters and no branches.")
        return Phi(activation(name))
    if name not in STEPS:
        near = get_close_matches(name, (*STEPS, *BUILTIN), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise CompositionError(
            f"step {path}: {name!r} is not a step{hint or '.'} Known: {', '.join(STEPS)}, and the activations "
            f"{', '.join(BUILTIN)}."
        )
    kind = STEPS[name]
    own = {field.name: field for field in fields(kind)}
    places = [n for n, field in own.items() if "Chain" in str(field.type)]
    if len(branches) != len(places):
        raise CompositionError(
            f"step {path}: {name} takes {len(places)} branches ({', '.join(places) or 'none'}), got {len(branches)}."
        )
    values: dict[str, Any] = {}
    for key, value in given.items():
        full = SHORT.get(key, key)
        if full not in own or full in places or isinstance(own[full].default, bool):
            known = ", ".join(n for n in own if n not in places and not isinstance(own[n].default, bool)) or "nothing"
            raise CompositionError(f"step {path}: {name} has no parameter {key!r}; it takes {known}.")
        values[full] = _value(full, value, path, name)
    values = {n: v for n, v in shared.items() if n in own} | values
    inner = {place: _chain(branch, shared, f"{path}.{place}.") for place, branch in zip(places, branches, strict=True)}
    return kind(**values, **inner)


def _value(name: str, value: Any, path: str, step: str) -> Any:
    if isinstance(value, str):
        return value
    try:
        return RULES.get(name, finite)(name, value)
    except (ValueError, TypeError) as error:
        raise CompositionError(f"step {path}: {step}: {error}") from error
