"""The formula book as a page."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fimcheck.verify.claims.paper import CLAIMS
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.judge.verdict import Effort, check
from fimcheck.verify.show import book, record


class Read(HTMLParser):
    """Ids, links inside the page, and what is loaded from elsewhere."""

    ids: list[str]
    links: list[str]
    loaded: list[str]

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids, self.links, self.loaded = [], [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key == "id":
                self.ids.append(value or "")
            elif key == "href" and tag == "a":
                self.links.append((value or "").removeprefix("#"))
            elif key in ("src", "href"):
                self.loaded.append(value or "")


@pytest.fixture(scope="module")
def run() -> dict:
    """A small record: one claim that the book states for relu."""
    setting, effort = Setting("relu", samples=4), Effort(eps=0.2, looks=1, budget=1.0)
    draws = Draws(setting, ("m",))
    verdict = check(CLAIMS["plain.m"], setting, effort, draws)
    return record.build([verdict], [draws], effort, [], "fimcheck verify plain.m")


@pytest.fixture(scope="module")
def text(run: dict) -> str:
    return book.render(["relu"], run)


def test_every_section_can_be_linked_to_and_nothing_is_loaded(text: str) -> None:
    found = Read(text)
    assert len(found.ids) == len(set(found.ids))
    assert set(found.links) <= set(found.ids)
    assert not found.loaded
    assert "relu-hidden-batch-last-mean" in found.ids
    assert book.anchor("transformer block: " + book.NETWORKS["transformer block"]) in found.ids
    assert text.count("<math") > 150
    assert "<code>\\" not in text, "every formula became MathML"


def test_a_verdict_stands_beside_its_statement_alone(run: dict, text: str) -> None:
    assert text.count('class="mark ') == 1
    own = text[text.index('id="relu-hidden-none-last-none"') : text.index('id="relu-hidden-none-last-mean"')]
    assert re.search(rf'class="mark {run["verdicts"][0]["finding"]["outcome"]}"', own)
    assert run["manifest"]["written"] in text
    assert 'class="mark ' not in book.render(["relu"])
    assert 'class="mark ' not in book.render(["linear"], run), "another activation's verdict is not shown"


def test_where_lists_are_in_the_record(run: dict) -> None:
    lines = run["verdicts"][0]["where"]
    assert any(line.startswith(r"\kappa_1 = ") for line in lines)
    assert r"\sigma_w^2" in " ".join(lines), "in symbols"


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    for text in ("", "[]", "{", '{"schema": 1}', "[" * 100_000):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(record.NotARecord):
            record.read(tmp_path / "x.json")
