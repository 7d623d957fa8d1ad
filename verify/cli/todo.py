"""What a command line asks to be tested: claims, each at a setting, and how hard."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated

import typer

from fimcheck.verify.claims.claim import Claim, odd
from fimcheck.verify.claims.composition import network_claims
from fimcheck.verify.claims.paper import CLAIMS, GROUPS, group
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.judge import suite
from fimcheck.verify.judge.verdict import Effort

# The first look of --quick may cost this much per claim, and is doubled twice at most; see draws.cost.
QUICK = Effort(error_rate=0.01, looks=3, budget=6e8)
FULL = Effort(error_rate=0.01, looks=4, budget=4e10)

# Sampled weights per second and core that a time budget is turned into draws with. A constant, not a measurement:
# the plan of a run must not depend on how busy the machine is.
NOMINAL_RATE = 8e7

Claims = Annotated[
    list[str] | None,
    typer.Argument(help="claims to test, by name or by group: paper (the default), or beyond, what goes beyond it"),
]
Activations = Annotated[
    list[str] | None,
    typer.Option(
        "--activation", help="activations in place of the default ones: relu, and without --quick a deeper tanh network"
    ),
]
AtSetting = Annotated[
    str | None,
    typer.Option(
        "--setting",
        help='test there: "relu C=2 T=6 last=mean", or a network of steps, "dense 2*(skip(relu dense)) relu dense T=6"',
    ),
]


def asked(
    claim: list[str] | None,
    activation: list[str] | None,
    setting: str | None,
    default: Sequence[Setting] = suite.BASES[:1],
) -> list[suite.Case]:
    """The cases that claims, activations and a setting name together; the paper's claims at the default settings if
    nothing does."""
    for name in activation or ():
        odd(name)  # refuses a name that no theory knows, also where no claim would use it
    if setting is None:
        return suite.cases(
            _named(claim), [replace(suite.BASES[0], activation=a) for a in activation] if activation else default
        )
    at = Setting.parse(setting)
    own = {c.id: c for c in network_claims(at)} if at.composed else {}
    if activation is not None or (claim is None and not own):
        raise ValueError(f"--setting {setting!r}: name the claims to test there, and no --activation beside it")
    return [suite.Case(c, at) for c in _named(claim or list(own), own)]


def _named(ids: list[str] | None, own: Mapping[str, Claim] = MappingProxyType({})) -> list[Claim]:
    """Claims by id; own: those about the network of a setting, beside the ones that `fimcheck claims` lists."""
    known = {**CLAIMS, **own}
    ids = [id for name in ids or ["paper"] for id in (group(name) if name in GROUPS else [name])]
    unknown = sorted(set(ids) - set(known))
    if unknown:
        about = f"; about this network are {', '.join(own)}" if own else ""
        raise ValueError(f"claim {unknown[0]!r} is unknown; `fimcheck claims` lists them{about}")
    return [known[id] for id in dict.fromkeys(ids)]


def planned(effort: Effort, text: str | None, cases: int) -> Effort:
    """The effort if the first looks at all cases may take a time such as 90s, 10m or 1.5h together, if one is given; a
    number alone counts minutes.
    """
    if text is None:
        return effort
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)([smh]?)", text)
    if not found:
        raise ValueError(f"--budget {text}: it must be a time such as 90s, 10m or 1.5h; give one")
    seconds = float(found[1]) * {"s": 1, "m": 60, "": 60, "h": 3600}[found[2]]
    return replace(effort, budget=seconds * NOMINAL_RATE * (os.cpu_count() or 1) / max(1, cases))
