"""What a person sees of a run on the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from string import ascii_letters

from rich.console import Console, ConsoleOptions, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fimcheck.theory.network.relation import RELATIONS
from fimcheck.verify.claims.abstract import SENTENCES, Sentence
from fimcheck.verify.judge.controls import Kill
from fimcheck.verify.judge.suite import Case
from fimcheck.verify.judge.verdict import Verdict
from fimcheck.verify.rule.statistics import DRIFT

COLOURS = {"AGREE": "green", "INCONCLUSIVE": "yellow", "DISAGREE": "red", "MISFIT": "red", "INVALID": "magenta"}


NAMES, NUMBERS = 35, ((9, "right"), (12, "right"), (7, "right"), (12, "left"))
"""Columns of the table: most for the names of claims, and width and side of each that follows."""


@dataclass(frozen=True)
class Head:
    """The names of the columns of `Line`."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        yield _line(("claim", "predicted", "limit", "detects", "status"), options, "bold")


@dataclass(frozen=True)
class Line:
    """One verdict in a line, below its setting unless that is the one of the verdict before; at most 80 columns wide.

    Columns are as wide for every verdict, so that each can be shown as it falls. The limit carries its standard error
    in units of its last digit, in parentheses. Where the terminal is too narrow the name folds, and no number is cut.
    """

    verdict: Verdict
    before: Verdict | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text | Table]:
        if self.before is None or self.before.setting != self.verdict.setting:
            yield Text(f"  {self.verdict.setting}", style="dim")
        yield _line(_row(self.verdict), options)


@dataclass(frozen=True)
class Verdicts:
    """Verdicts, one `Line` each, below the names of the columns."""

    verdicts: Sequence[Verdict]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Head | Line]:
        yield Head()
        for before, verdict in zip([None, *self.verdicts], self.verdicts, strict=False):
            yield Line(verdict, before)


def _line(row: tuple[str | Text, ...], options: ConsoleOptions, style: str = "") -> Table:
    names = max(12, min(NAMES, options.max_width - sum(width + 1 for width, _ in NUMBERS)))
    out = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0), style=style)
    out.add_column(width=names, overflow="fold")
    for width, justify in NUMBERS:
        out.add_column(width=width, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    out.add_row(*row)
    return out


def _row(v: Verdict) -> tuple[str | Text, ...]:
    limit, detectable = v.finding.limit, v.finding.detectable
    return (
        v.claim.id,
        f"{RELATIONS[v.rule.relation].prefix}{v.predicted:.4g}",
        _with_error(limit.value, limit.error) if limit else "-",
        f"M^{v.finding.drift:.2f}" if v.finding.drift is not None else f"{detectable:.1%}" if detectable < 10 else "-",
        Text(v.status, style=COLOURS[v.status]),
    )


def _with_error(value: float, error: float) -> str:
    """0.9977(46) for 0.9977 +- 0.0046; fewer decimals for larger errors."""
    decimals = 4 if error < 0.1 else 2 if error < 1 else 0
    return f"{value:.{decimals}f}({max(1, round(error * 10**decimals))})"


@dataclass(frozen=True)
class Said:
    """A sentence of the abstract and what became of it: `agreed` of its claims agree, in all their cases."""

    text: str
    claims: tuple[str, ...]
    agreed: int
    word: str


def abstract(verdicts: Sequence[Verdict], todo: Sequence[Case]) -> list[Said]:
    """The abstract of the paper, each sentence with what became of the claims that it is made of.

    todo: everything that was to be tested; a claim agrees if it does so in all its cases.
    """
    found: dict[str, list[str]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.claim.id, []).append(verdict.status)
    expected = Counter(case.claim.id for case in todo)
    said = []
    for sentence in SENTENCES:
        statuses = [status for name in sentence.claims for status in found.get(name, [])]
        agreed = sum(found.get(n, []) == ["AGREE"] * max(1, expected[n]) for n in sentence.claims)
        if "DISAGREE" in statuses or "MISFIT" in statuses:
            word = "REFUTED"
        elif "INVALID" in statuses:
            word = "NOT TESTED, a measurement is invalid"
        else:
            word = "verified" if agreed == len(sentence.claims) else "open"
        said.append(Said(sentence.text + _number(sentence, verdicts), sentence.claims, agreed, word))
    return said


def _number(sentence: Sentence, verdicts: Sequence[Verdict]) -> str:
    """What the sentence is worth: both measured largest eigenvalues at the largest width that both were tested at."""
    if sentence.compared is None:
        return ""
    tested = [
        next((v for v in verdicts if v.claim.id == name and v.status == "AGREE"), None) for name in sentence.compared
    ]
    before, after = ({p.width: p.predicted * p.mean for p in v.points} if v else {} for v in tested)
    widths = before.keys() & after.keys()
    if not widths:
        return ""
    M = max(widths)
    setting = next(v.setting for v in tested if v)
    return (
        f" (lambda_max {before[M]:.4g} without and {after[M]:.4g} with mean subtraction at M = {M}, "
        f"T = {setting.samples_at(M)}: {before[M] / after[M]:.0f} times)"
    )


def sentences(verdicts: Sequence[Verdict], todo: Sequence[Case]) -> str:
    """The abstract as lines of text."""
    said = abstract(verdicts, todo)
    return "\n".join(f"{s.text}: {s.word} ({s.agreed} of {len(s.claims)} claims agree)" for s in said)


def summary(verdicts: Sequence[Verdict]) -> str:
    """Counts of every status, then each verdict that is not AGREE with its reason."""
    counts = {s: sum(v.status == s for v in verdicts) for s in COLOURS}
    within = f" (within {verdicts[0].rule.eps:.3g})" if verdicts else ""
    lines = [(", ".join(f"{n} {s}" for s, n in counts.items() if n) or "no claim was tested") + within]
    lines += [f"  {v}" for v in verdicts if v.status != "AGREE"]
    lines += [f"  {v.claim.id}: compared is {v.compared}, for the theory says 0 there" for v in verdicts if v.scale]
    return "\n".join(lines)


def explain(verdict: Verdict) -> str:
    """What a claim says, how it is derived, what was measured, and how the verdict was reached."""
    claim, rule, finding = verdict.claim, verdict.rule, verdict.finding
    lines = [
        f"{claim.id}: {claim.statement}",
        f"  formula (LaTeX): {claim.formula(verdict.setting)}",
        f"  source: {claim.source}",
        f"  setting: {verdict.setting}",
        "",
        "Derivation",
        *(f"  {line}" for line in claim.prediction(verdict.setting).steps()),
        "",
        f"Measured: {claim.measured} of sampled networks; compared: {verdict.compared}",
        f"  {'width':>6} {'draws':>6} {'predicted':>10} {'compared':>19} {'error':>7}",
    ]
    for p in verdict.points:
        lines.append(f"  {p.width:6} {p.draws:6} {p.predicted:10.4g} {p.mean:19.4f} {p.error:7.4f}")
    lines += ["", "Verdict"]
    for name, fit in (("all widths", finding.limit), ("without the smallest", finding.guard)):
        if fit:
            law = " + ".join(["theta", *(f"a M^-{r:g}" for r in rule.powers[: len(fit.coefficients)])])
            lines.append(f"  {name}: {law}, theta = {fit.value:.4f} +- {fit.error:.4f}, fit p = {fit.fit_p:.2g}")
    lines += [
        f"  interval {finding.low:.4f} .. {finding.high:.4f} at error rate {rule.error_rate:.1e}; "
        f"{rule.relation} 1 within {rule.eps:.0%}: band {rule.band[0]:.4f} .. {rule.band[1]:.4f}",
        *(
            [f"  a theory wrong by {finding.detectable:.1%} would have been called DISAGREE with probability 0.9"]
            if math.isfinite(finding.detectable)
            else []
        ),
        *(
            [f"  beyond the bound it goes at most like M^{finding.drift:.2f}; from M^{DRIFT} on it would not AGREE"]
            if finding.drift is not None
            else []
        ),
        f"  {verdict.status} after {verdict.looks} of {rule.looks} looks: {finding.reason}",
    ]
    return "\n".join(lines)


SIGNS = {"AGREE": "[red]B[/]", "INCONCLUSIVE": "[yellow]?[/]", "DISAGREE": "d", "MISFIT": "m", "INVALID": "i"}


def kill_table(attacks: Sequence[tuple[Verdict, Sequence[Kill]]]) -> Group:
    """One row a claim, one lettered column a mistake; `kill_summary` says what letters and signs mean."""
    names = _mistakes(attacks)
    parts: list[Text] = [Text(f"{'':36}{ascii_letters[: len(names)]}")]
    for setting, group in groupby(attacks, key=lambda attack: attack[0].setting):
        parts.append(Text(f"  {setting}", style="dim"))
        for verdict, kills in group:
            signs = {k.wrong.id: SIGNS[k.verdict.status] if k.verdict else "=" for k in kills}
            row = "".join(signs.get(name, " ") for name in names)
            parts.append(Text.from_markup(f"{escape(verdict.claim.id):36}{row}"))
    return Group(*parts)


def kill_summary(attacks: Sequence[tuple[Verdict, Sequence[Kill]]]) -> str:
    """The score, and what the numbers and signs of the table mean."""
    kills = [kill for _, found in attacks for kill in found]
    wrong = [kill.verdict.status for kill in kills if kill.verdict is not None]
    refused = sum(status in ("DISAGREE", "MISFIT") for status in wrong)
    broken = [str(right) for right, _ in attacks if right.status not in ("AGREE", "INCONCLUSIVE")]
    return "\n".join(
        [
            f"{len(wrong)} wrong theories: {refused} refused, {wrong.count('INCONCLUSIVE')} inconclusive, "
            f"{wrong.count('INVALID')} invalid, {wrong.count('AGREE')} believed. "
            f"{len(kills) - len(wrong)} more move the prediction by eps at most.",
            "d: DISAGREE, m: MISFIT, i: INVALID, ?: inconclusive, =: within eps of the right theory, B: believed",
            *(f"the right theory fails, so its row says nothing: {text}" for text in broken),
            *(
                f"  {i}: {name}, {mistake}"
                for i, (name, mistake) in zip(ascii_letters, _mistakes(attacks).items(), strict=False)
            ),
            *_equivalent(attacks),
        ]
    )


def _equivalent(attacks: Sequence[tuple[Verdict, Sequence[Kill]]]) -> list[str]:
    """For every mistake the claims that cannot see it, with the factor by which it moves their predictions."""
    found: dict[str, list[str]] = {}
    often = Counter(verdict.claim.id for verdict, _ in attacks)
    for verdict, kills in attacks:
        where = f" {verdict.setting.activation}" if often[verdict.claim.id] > 1 else ""
        for kill in kills:
            if kill.verdict is None:
                found.setdefault(kill.wrong.id, []).append(f"{verdict.claim.id}{where} x {kill.factor:.3f}")
    lines = [f"  {name}: {', '.join(claims)}" for name, claims in found.items()]
    head = "mistakes that move a prediction by eps at most, which no rule with this eps can refuse, and by what factor:"
    return [head, *lines] if lines else []


def _mistakes(attacks: Sequence[tuple[Verdict, Sequence[Kill]]]) -> dict[str, str]:
    return {kill.wrong.id: kill.wrong.mistake for _, kills in attacks for kill in kills}
