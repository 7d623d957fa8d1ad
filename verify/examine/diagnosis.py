"""What a failure is put down to: what it goes with, the missing factor, the simplest setting that still fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import join
from typing import Protocol

from fimcheck.verify.claims.claim import Claim
from fimcheck.verify.claims.composition import OverlapClaim
from fimcheck.verify.claims.kinds import OrderClaim
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.examine.factors import propose
from fimcheck.verify.examine.observation import Observation, observe, overlap_symbols
from fimcheck.verify.examine.places import Comparison
from fimcheck.verify.examine.variation import FAILURES, replay, shrink, varied_settings
from fimcheck.verify.judge.suite import Case
from fimcheck.verify.judge.verdict import Verdict


class Run(Protocol):
    """Verdicts on cases, one by one, with their draws."""

    def __call__(self, todo: list[Case], /, once: bool = False) -> Iterator[tuple[Verdict, Draws]]:
        """once: one look at few draws, for the causes of what has been refused."""
        ...


TOLD_BY = ("activation", "depth", "beta", "gamma", "sigma_b2", "sigma_w2", "samples", "classes", "ratios")
"""Properties of a setting that a failure may go with."""
DRAWN = 32
"""Networks of every width that tell the factor of a place."""
MOST_TOLD = 3
"""More of them that tell failing settings from holding ones explain nothing."""


def diagnose(verdict: Verdict, others: Sequence[Verdict], run: Run, file: Path) -> Iterator[str]:
    """Causes of a failing verdict, the likeliest first, then the command that replays it.

    others: verdicts on the same claim at other settings, which tell what the failure goes with. An order
    parameter has the factor for its cause; a claim about the whole is shrunk to the simplest setting that fails.
    """
    if verdict.status not in FAILURES:
        yield str(verdict)  # INVALID: nothing was measured that a cause could be read off
        return
    apart = _apart(verdict, others)
    if apart:
        yield apart
    if verdict.rule.relation == "equals":
        yield factor(verdict, run)
    simplest = verdict.setting
    if not isinstance(verdict.claim, OrderClaim | OverlapClaim):
        simplest = shrink(verdict.setting, lambda setting: _fails(verdict.claim, setting, run))
        yield f"the simplest setting found that still fails: {simplest}"
    yield f"replay: {replay(verdict.claim.id, simplest, file)}"


def diagnose_place(comparison: Comparison, file: Path) -> Iterator[str]:
    """What is refused at a place, the factor that it departs by, sought at settings near it, and the command that
    examines the place alone.
    """
    claim, setting = comparison.refused, comparison.place.setting
    assert claim is not None
    yield f"{comparison.place}: {comparison.words(claim)}"
    start = replace(setting, beta=0.0)
    observed = []
    for near in varied_settings(start, claim):
        found = Comparison(replace(comparison.place, setting=near), comparison.error_rate).ratio(claim, DRAWN)
        if found is not None:
            observed.append(Observation(near, *found, overlap_symbols(claim, near)))
    found = propose(observed)
    words = f"at beta = 0 {found}" if start != setting else str(found)
    if found.proposals and found.proposals[0].factor == "1":
        words += f"; it departs at beta = {setting.beta:g} and not at beta = 0: look at how beta enters"
    yield words
    yield f"replay: {join(['fimcheck', 'check', str(file), '--setting', str(setting)])}"


def factor(verdict: Verdict, run: Run) -> str:
    """The factor that is missing, sought at settings that vary one symbol each.

    They have beta = 0: a shift enters no formula as a factor, and hides those that do.
    """
    start = replace(verdict.setting, beta=0.0)
    cases = [Case(verdict.claim, setting) for setting in varied_settings(start, verdict.claim)]
    observed, left_out = [], []
    for found, _ in run(cases, once=True):
        try:
            observed.append(observe(found))
        except ValueError as error:
            left_out.append(str(error))
    found = propose(observed)
    words = [str(found), *left_out]
    if start != verdict.setting:
        words[0] = f"at beta = 0 {words[0]}"
        if found.proposals and found.proposals[0].factor == "1":
            words.append(f"it departs at beta = {verdict.setting.beta:g} and not at beta = 0: look at how beta enters")
    return "; ".join(words)


def _apart(verdict: Verdict, others: Sequence[Verdict]) -> str:
    """What tells the settings at which the claim fails from those at which it holds, if few things do."""
    same = [v for v in (verdict, *others) if v.claim == verdict.claim]
    failing = [v.setting for v in same if v.status in FAILURES]
    holding = [v.setting for v in same if v.status == "AGREE"]
    if not holding:
        return ""
    found = [words for name in TOLD_BY if (words := _told_by(name, failing, holding))]
    if not found:
        return "no single property of the setting tells where it fails from where it holds"
    if len(found) > MOST_TOLD:
        names = ", ".join(words.split(":")[0] for words in found)
        return f"where it fails differs from where it holds in {names}: more settings would tell which it is"
    return "it goes with " + ", or with ".join(found)


def _told_by(name: str, failing: Sequence[Setting], holding: Sequence[Setting]) -> str:
    """How a property tells failing settings from holding ones: by its name, or by lying beyond a value; or ""."""
    if any(name in s.idle for s in (*failing, *holding)):
        return ""
    fails, holds = ({getattr(s, name) for s in group} for group in (failing, holding))
    if name == "activation":
        if fails & holds:
            return ""
        return f"the activation: fails with {', '.join(sorted(fails))} only, holds with {', '.join(sorted(holds))}"
    if name == "ratios":
        uneven, even = ({len(set(r)) > 1 for r in group} for group in (fails, holds))
        return "unequal widths: fails with them only" if uneven == {True} and even == {False} else ""
    if None in fails | holds:
        return ""
    if min(fails) > max(holds):
        return f"{name}: fails from {min(fails):g} on, holds up to {max(holds):g}"
    if max(fails) < min(holds):
        return f"{name}: fails up to {max(fails):g}, holds from {min(holds):g} on"
    return ""


def _fails(claim: Claim, setting: Setting, run: Run) -> bool:
    claim.admit(setting)
    return any(verdict.status in FAILURES for verdict, _ in run([Case(claim, setting)], once=True))
