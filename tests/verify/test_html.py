"""The report: it can be made from the written record alone, is whole, safe, small, and stands in a browser."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fimcheck.verify import CLAIMS, Draws, Effort, Setting, check
from fimcheck.verify.judge import suite
from fimcheck.verify.judge.controls import challenge
from fimcheck.verify.rule.limit import extrapolate
from fimcheck.verify.rule.rule import Rule
from fimcheck.verify.rule.statistics import judge, settle
from fimcheck.verify.show import html, record
from fimcheck.verify.show.record import NotARecord

SETTING = Setting("linear", samples=4)
VOID = {"meta", "br", "hr", "img", "link", "input"}


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """Two claims and their wrong theories, as read back from the file that holds them."""
    effort, draws = Effort(eps=0.2, error_rate=0.05, looks=1, budget=1.0), Draws(SETTING, ["lambda_max", "m"])
    todo = [suite.Case(CLAIMS[name], SETTING) for name in ("plain.lambda_max", "plain.m")]
    verdicts = [check(case.claim, SETTING, effort, draws) for case in todo]
    attacks = [(v, challenge(v, draws)) for v in verdicts]
    built = record.build(verdicts, [draws], effort, todo, "fimcheck verify 'plain m'", attacks)
    return json.loads(json.dumps(built, allow_nan=False))


class Reader(HTMLParser):
    """Fails on elements that are not closed in turn; gathers what a browser would load, ids, links and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster", "action") or (tag == "link" and name == "href"):
                self.loads.append(str(value))
            if name == "id":
                self.ids.append(str(value))
            if tag == "a" and name == "href":
                self.links.append(str(value))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_loads_nothing(made: dict[str, Any]) -> None:
    text = html.render(made)
    read = Reader(text)
    assert read.loads == []
    assert not re.search(r"https?:|url\(|@import|<script", text)
    assert len(read.ids) == len(set(read.ids))
    assert {link.removeprefix("#") for link in read.links} <= set(read.ids)
    for verdict in made["verdicts"]:
        assert read.text.count(verdict["claim"]) >= 2
        assert verdict["statement"] in read.text
        assert f"{verdict['points'][0]['mean']:.4g}" in read.text
    assert read.tags.count("svg") == len(made["verdicts"])
    assert read.tags.count("title") == read.tags.count("desc") + 1 == len(made["verdicts"]) + 1
    assert "fimcheck verify 'plain m'" in read.text
    assert made["manifest"]["packages"]["torch"] in read.text
    assert "1 of 3 claims agree" in read.text, "the sentence about the growth, of which one claim was tested"
    for mistake in html._mistakes(made["controls"]).values():
        assert mistake in read.text


def test_hostile_text_stays_text(made: dict[str, Any]) -> None:
    evil = "<img src=x onerror=alert(1)>\"'&</style></title>"
    verdict = made["verdicts"][0]
    hurt = {
        **verdict,
        "claim": evil,
        "statement": evil,
        "formula": evil,
        "source": evil,
        "setting": {**verdict["setting"], "text": evil},
        "finding": {**verdict["finding"], "reason": evil},
    }
    text = html.render({**made, "verdicts": [hurt], "command": evil})
    read = Reader(text)
    assert "img" not in read.tags
    assert read.loads == []
    assert read.text.count("<img src=x onerror=alert(1)>") >= 6


@pytest.mark.parametrize(
    "formula",
    [
        r"\href{javascript:alert(1)}{x}",
        r"\text{<b>x</b>}",
        r"\text{<img src=x>}",
        r"\style{color:red}{x}",
        r"\frac{",
        "&",
    ],
)
def test_a_broken_formula_is_shown_as_its_source(formula: str) -> None:
    shown = str(html.math_of(formula))
    assert Reader(shown).tags == ["code"]


def test_every_formula_of_the_claims_becomes_mathematics() -> None:
    cases = suite.cases(list(CLAIMS.values()), suite.BASES[:1])
    assert {Reader(str(html.math_of(c.claim.formula(c.setting)))).tags[0] for c in cases} == {"math"}


def test_a_page_of_a_full_run_is_under_3_megabytes(made: dict[str, Any]) -> None:
    """As many verdicts and rows of wrong theories as all claims with two activations give."""
    n = len(suite.cases())
    assert n > 150
    many = {**made, "verdicts": (made["verdicts"] * n)[:n], "controls": (made["controls"] * n)[:n], "planned": n}
    assert len(html.render(many).encode()) < 3e6


def test_interrupted_empty_and_infinite_runs_are_shown(made: dict[str, Any]) -> None:
    assert "0 of 2 cases were tested" in html.render({**made, "verdicts": [], "controls": None, "draws": []})
    widths, rule = [16, 32, 64, 128, 256], Rule(0.05, 0.01, 1, "equals", (1.0, 2.0))
    broken = judge(widths, [np.full(9, np.nan)] * 5, rule)
    v = check(CLAIMS["plain.m"], SETTING, Effort(eps=0.2, error_rate=0.05, looks=1, budget=1.0))
    nowhere = tuple(replace(p, mean=np.nan, error=np.nan, predicted=np.inf) for p in v.points)
    spoilt = replace(v, finding=broken, points=nowhere)
    built = record.build([spoilt], [], v.effort, [suite.Case(v.claim, SETTING)], "")
    text = html.render(json.loads(json.dumps(built, allow_nan=False)))
    assert "nothing finite to draw" in text
    assert "INVALID" in text


def test_another_schema_is_refused(made: dict[str, Any]) -> None:
    with pytest.raises(NotARecord, match="schema = 1"):
        html.render({**made, "schema": 1})


def test_a_confirmed_failure_keeps_both_findings() -> None:
    rng = np.random.default_rng(5)
    widths = [16, 32, 64, 128, 256]
    rule = Rule(0.05, 0.01, 1, "equals", (1.0, 2.0))
    blocks: dict[str, list[np.ndarray]] = {}

    def sample(block: str, counts: Any) -> list[np.ndarray]:
        return blocks.setdefault(block, [rng.normal(1.5, 0.01, n) for n in counts])

    finding, _ = settle(widths, [50] * 5, sample, rule)
    assert finding.outcome == "DISAGREE"
    assert finding.confirmation == judge(widths, blocks["confirm"], rule)
    assert finding.confirmation != judge(widths, blocks["main"], rule)


def test_the_recorded_coefficients_are_those_of_the_curve() -> None:
    rng = np.random.default_rng(1)
    widths = np.array([16, 32, 64, 128, 256])
    curve = 1.2 + 3.0 / widths - 40.0 / widths**2
    limit = extrapolate(widths.tolist(), [y + 1e-9 * rng.normal(size=20) for y in curve], (1.0, 2.0))
    assert limit.value == pytest.approx(1.2, abs=1e-8)
    assert limit.coefficients == pytest.approx((3.0, -40.0), rel=1e-5)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium to look with")
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_a_browser_shows_it(made: dict[str, Any], tmp_path: Path, width: int, height: int) -> None:
    """No sideways scrolling, plots and formulas have a size, and a link into a closed claim opens it."""
    look = """<script>addEventListener('load', () => {
      const all = q => document.querySelectorAll(q)
      const shown = q => { const box = all(q)[0].getBoundingClientRect(); return box.width > 5 && box.height > 5 }
      document.body.dataset.seen = JSON.stringify({
        wide: document.documentElement.scrollWidth - innerWidth, open: all('details[open]').length,
        svg: shown('details[open] svg'), math: shown('details[open] math'), table: shown('table.claims') })
    })</script></body>"""
    text = re.sub(r"<meta http-equiv[^>]*>", "", html.render(made)).replace("</body>", look)
    (tmp_path / "index.html").write_text(text)
    done = subprocess.run(
        ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         f"--window-size={width},{height}", "--virtual-time-budget=2000", "--dump-dom",
         f"{(tmp_path / 'index.html').as_uri()}#v2"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found = re.search(r"data-seen=\"([^\"]*)\"", done.stdout)
    assert found, done.stderr[-500:]
    seen = json.loads(found[1].replace("&quot;", '"'))
    assert seen["wide"] <= 0
    assert seen | {"wide": 0} == {"wide": 0, "open": 1, "svg": True, "math": True, "table": True}
