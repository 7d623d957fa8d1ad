"""The first minute of a run: what is tested, what is not and how to ask for it, and every verdict as it falls."""

import io
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from fimcheck.verify import CLAIMS, Draws, Effort, Setting, Verdict, check
from fimcheck.verify.claims.abstract import SENTENCES
from fimcheck.verify.claims.claim import Claim
from fimcheck.verify.claims.paper import GROUPS, OURS, group
from fimcheck.verify.cli import console
from fimcheck.verify.cli.todo import asked
from fimcheck.verify.judge import suite
from fimcheck.verify.show import progress, terminal

SETTING = Setting("linear", depth=2, samples=4)


def groups_of(claims: dict[str, Claim]) -> dict[str, list[str]]:
    """The groups that every claim is in."""
    return {id: [name for name in GROUPS if id in group(name)] for id in claims}


def test_every_claim_is_in_one_group() -> None:
    assert {len(names) for names in groups_of(CLAIMS).values()} == {1}
    assert all(CLAIMS[id].source == OURS for id in group("beyond")), "the paper's statements are not ours"
    assert set(group("paper")) > {id for sentence in SENTENCES for id in sentence.claims}


def test_a_claim_in_no_group_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: a claim that is neither the paper's nor beyond it."""
    lost = {"plain.m": replace(CLAIMS["plain.m"], beyond=None)}  # type: ignore[arg-type]
    monkeypatch.setattr("fimcheck.verify.claims.paper.CLAIMS", lost)
    assert groups_of(lost) == {"plain.m": []}


def test_a_group_stands_for_its_claims() -> None:
    paper, beyond = (asked([name], None, None) for name in GROUPS)
    assert asked(None, None, None) == paper
    both = {case.claim.id for case in asked(["paper", "beyond", "plain.m"], None, None)}
    assert both == {case.claim.id for case in (*paper, *beyond)} == set(CLAIMS)


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    return check(CLAIMS["plain.m"], SETTING, Effort(budget=1e6), Draws(SETTING, ["m"]))


def test_every_verdict_is_shown_before_the_next_case_starts(
    fimcheck: Any, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(console.out, "print", lambda *words, **_: shown.append(text(*words)))
    seen: list[bool] = []

    def run(todo: list[suite.Case], *_: Any) -> Iterator[tuple[Verdict, None]]:
        for case in todo:
            seen.append((bool(shown) and shown[-1].startswith("plain.m ")) or not seen)
            yield replace(verdict, claim=replace(case.claim, id="plain.m")), None

    monkeypatch.setattr(suite, "run", run)
    fimcheck("verify", "--quick", "plain.m", "plain.s", "last_mean.m")
    assert seen == [True] * 3
    assert "3 AGREE" in shown[-1] or verdict.status != "AGREE"


def text(*words: Any) -> str:
    """The last line of what the console would print."""
    recorder = Console(width=100, record=True, file=io.StringIO())
    recorder.print(*words)
    return recorder.export_text().rstrip("\n").splitlines()[-1] if words else ""


class Pipe(io.StringIO):
    """Standard output that counts how often it was flushed."""

    flushed = 0

    def flush(self) -> None:
        self.flushed += 1
        super().flush()


def test_what_is_piped_comes_line_by_line(monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> None:
    pipe = Pipe()
    monkeypatch.setattr(sys, "stdout", pipe)
    for n, write in enumerate((lambda: console.say("a"), lambda: console.show(terminal.Line(verdict)))):
        before = pipe.flushed
        write()
        assert pipe.flushed > before, n
        assert pipe.getvalue().endswith("\n"), "standard error would go on in the same line"


@pytest.mark.parametrize("width", [60, 80, 100])
def test_progress_keeps_its_counts(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = Console(width=width, file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(progress, "err", wide)
    recorder = Console(width=width, record=True, file=io.StringIO())
    with progress.Watch(103) as watch:
        for _ in range(57):
            watch.start_on("growth.last_mean.lambda_max_outputs")
        watch.say("measuring 200 networks of width 1024 at dense 2*(skip(relu dense)) relu dense sw2=1 sb2=0.1 M/T=2")
        recorder.print(watch.get_renderable())
    lines = recorder.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert "57/103" in lines[0]
    assert "left: " in lines[0]
    assert "0:00:00" in lines[1]


def test_lines_are_as_wide_alone_as_together(verdict: Verdict) -> None:
    def shown(*parts: Any) -> list[str]:
        recorder = Console(width=80, record=True, file=io.StringIO())
        for part in parts:
            recorder.print(part)
        return recorder.export_text().splitlines()

    other = replace(verdict, claim=replace(verdict.claim, id="x"))
    together = shown(terminal.Verdicts([verdict, other]))
    assert together == shown(terminal.Head(), terminal.Line(verdict), terminal.Line(other, verdict))
    assert len([line for line in together if str(SETTING) in line]) == 1
