"""The formula book as one HTML page that needs nothing else, with the verdicts of a run where its record is given."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from fimcheck import theory
from fimcheck.theory.network.prediction import Prediction
from fimcheck.theory.symbols import latex
from fimcheck.theory.writing import book as formula_book
from fimcheck.theory.writing import latex as in_latex
from fimcheck.verify.show.html import SIGNS, math_of, with_error

# Networks of steps that a reader may look for first.
NETWORKS = {
    "pre-norm residual": "dense 2*(skip(layer relu dense)) layer relu dense",
    "residual": "dense 2*(skip(relu dense)) relu dense",
    "convolutional": "conv relu conv relu conv pool dense",
    "transformer block": "dense skip(layer attention) skip(layer dense relu dense) pool layer dense",
}


@dataclass(frozen=True)
class Row:
    """A statement as the page shows it: formula in LaTeX, and the verdicts on it."""

    quantity: str
    formula: str
    samples: str
    exponent: str
    source: str
    verdicts: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Section:
    """One network: title, where to link to, what it is searched by, its statements and their where-list."""

    title: str
    anchor: str
    words: str
    rows: tuple[Row, ...]
    where: tuple[str, ...]


def render(activations: Iterable[str], record: dict[str, Any] | None = None) -> str:
    """The page. record: of a run, as `record.build` makes it; its verdicts stand beside what they are about."""
    verdicts = record["verdicts"] if record else []
    entries = [formula_book.entry(name) for name in activations]
    groups = []
    for found in entries:
        act = found.activation
        chains = [] if found.trouble else formula_book.chains(act)
        sections = [
            _section(f"{act.name}, hidden {net.hidden}, last {net.last}", net, _about(verdicts, net, act.name))
            for net in chains
        ]
        groups.append((found, f"\\phi(x) = {latex(act.expr)}", formula_book.facts(act), sections))
    networks = [
        _section(f"{title}: {text}", theory.compose(text), [v for v in verdicts if v["setting"].get("steps") == text])
        for title, text in NETWORKS.items()
    ]
    env = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.filters |= {"math": math_of, "with_error": with_error, "anchor": anchor}
    template = files("fimcheck.verify.show").joinpath("book.html.jinja").read_text(encoding="utf-8")
    return env.from_string(template).render(
        groups=groups, networks=networks, signs=SIGNS, record=record, depth=formula_book.DEPTH
    )


def anchor(title: str) -> str:
    """What a link to a title ends with."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _section(title: str, net: Any, verdicts: list[dict[str, Any]]) -> Section:
    chapter = formula_book.chapter(net)
    rows = tuple(_row(p, verdicts) for p in chapter.predictions)
    words = " ".join([title, *(row.quantity for row in rows)]).lower()
    return Section(title, anchor(title), words, rows, chapter.where)


def _row(found: Prediction, verdicts: list[dict[str, Any]]) -> Row:
    about = [v for v in verdicts if (v["quantity"], v["samples"]) == (found.quantity, found.samples)]
    own = [v for v in about if v["quantity"].startswith(v["measured"])]  # and not through the stable rate
    return Row(
        found.quantity, in_latex.formula(found), found.samples, formula_book.exponent(found), found.source, tuple(own)
    )


def _about(verdicts: list[dict[str, Any]], net: theory.WideNetwork, act: str) -> list[dict[str, Any]]:
    """Verdicts on a chain of this activation and these normalizations, whatever the numbers of their setting."""
    case = {"hidden": net.hidden, "last": net.last, "activation": act}
    return [
        v for v in verdicts
        if not v["setting"].get("steps") and all(v["setting"][name] == value for name, value in case.items())
    ]  # fmt: skip
