"""The record of a run as one HTML page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import math
from collections import Counter
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment, StrictUndefined
from latex2mathml.converter import convert
from markupsafe import Markup

from fimcheck.theory.network.relation import RELATIONS
from fimcheck.verify.files import write_whole
from fimcheck.verify.show.chart import chart
from fimcheck.verify.show.record import checked, write

# Never colour alone: every outcome has a sign and its word beside it.
SIGNS = {"AGREE": "✓", "INCONCLUSIVE": "?", "DISAGREE": "✗", "MISFIT": "≁", "INVALID": "!"}
KILLS = {"AGREE": "B", "INCONCLUSIVE": "?", "DISAGREE": "d", "MISFIT": "m", "INVALID": "i", None: "="}
MATHML = "{http://www.w3.org/1998/Math/MathML}"
# What a formula may be made of; links, styles and foreign elements are not mathematics.
ELEMENTS = {
    MATHML + name
    for name in (
        *("math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "mfrac", "msqrt", "mroot", "msub", "msup", "msubsup"),
        *("munder", "mover", "munderover", "mstyle", "mpadded", "mtable", "mtr", "mtd"),
    )
}
ATTRIBUTES = {"display", "displaystyle", "scriptlevel", "mathvariant", "stretchy", "accent", "fence", "form", "width"}


def write_report(folder: Path, record: dict[str, Any]) -> None:
    """results.json and index.html in a folder, which is made if it does not exist."""
    folder.mkdir(exist_ok=True)
    write(folder / "results.json", record)
    write_whole(folder / "index.html", render(record))


def render(record: dict[str, Any]) -> str:
    """The page of a record made by `record.build`, or read back from its JSON.

    NotARecord if it has another schema.
    """
    checked(record)
    template = files("fimcheck.verify.show").joinpath("page.html.jinja").read_text(encoding="utf-8")
    env = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.filters |= {"math": math_of, "chart": chart, "short": short, "with_error": with_error, "percent": percent}
    verdicts = [{**v, "number": i} for i, v in enumerate(record["verdicts"], 1)]
    return env.from_string(template).render(
        record=record,
        verdicts=verdicts,
        groups=[(text, list(group)) for text, group in groupby(verdicts, key=lambda v: v["setting"]["text"])],
        counts=[(name, n) for name in SIGNS if (n := Counter(v["finding"]["outcome"] for v in verdicts)[name])],
        sentence_signs={"verified": "AGREE", "open": "INCONCLUSIVE", "REFUTED": "DISAGREE"},
        signs=SIGNS,
        kill_signs=KILLS,
        mistakes=_mistakes(record["controls"] or ()),
        close=_close(record["controls"] or ()),
        relations=RELATIONS,
        streams=_streams(record["draws"]),
    )


def math_of(latex: str) -> Markup | str:
    """A formula as MathML, which browsers show without a library; its source as it stands where that fails."""
    try:
        tree = ElementTree.fromstring(convert(latex))
    except Exception:  # whatever the converter stumbles over, the source still says it
        return Markup("<code>{}</code>").format(latex)
    if any(e.tag not in ELEMENTS or not set(e.attrib) <= ATTRIBUTES for e in tree.iter()):
        return Markup("<code>{}</code>").format(latex)
    for element in tree.iter():
        element.tag = element.tag.removeprefix(MATHML)  # HTML knows the namespace by itself
    return Markup(ElementTree.tostring(tree, encoding="unicode"))


def short(value: float | str) -> str:
    """Four digits of a number, infinity and "not a number" as a dash."""
    number = float(value)
    return f"{number:.4g}" if math.isfinite(number) else "–"


def percent(value: float | str) -> str:
    """A share in percent; a dash where it is not finite."""
    number = float(value)
    return f"{number:.1%}" if number < 10 else "–"


def with_error(limit: dict[str, Any] | None) -> str:
    """A fitted limit and its standard error."""
    return "–" if limit is None else f"{float(limit['value']):.4f} ± {float(limit['error']):.4f}"


def _mistakes(controls: list[dict[str, Any]] | tuple[()]) -> dict[str, str]:
    return {wrong["id"]: wrong["mistake"] for row in controls for wrong in row["wrong_theories"]}


def _close(controls: list[dict[str, Any]] | tuple[()]) -> dict[str, list[str]]:
    """For every mistake the claims that cannot see it, with the factor by which it moves their predictions."""
    found: dict[str, list[str]] = {}
    for row in controls:
        for wrong in row["wrong_theories"]:
            if wrong["outcome"] is None:
                text = f"{row['claim']} {row['setting'].split()[0]} × {float(wrong['factor']):.3f}"
                found.setdefault(wrong["id"], []).append(text)
    return found


def _streams(draws: list[dict[str, Any]]) -> dict[str, str]:
    """Where the numbers were made and from which seeds, gathered from all the draws."""
    measured = [m for d in draws for m in d["measurements"]]
    facts: dict[str, set[str]] = {
        "device": {m["device"] for m in measured},
        "number type": {m["dtype"] for m in measured},
        "seed block": {str(d["seed_block"]) for d in draws},
        "random generator": {m["versions"]["generator"] for m in measured},
        "threads": {m["versions"]["threads"] for m in measured},
        "notes": {note for m in measured for note in m["notes"]},
    }
    shown = {name: ", ".join(sorted(found)) for name, found in facts.items() if found}
    return shown | {"networks measured": str(sum(len(m["seeds"]) for m in measured))}
