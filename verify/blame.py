"""What a failure is put down to: the missing factor, the activation, the simplest setting that still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import join

from verify.claim import Claim, OrderClaim
from verify.composition_claims import OverlapClaim
from verify.diagnosis import observe, propose
from verify.draws import Draws
from verify.setting import Setting
from verify.suite import Case
from verify.variation import FAILURES, shrink, varied_settings
from verify.verdict import Verdict

Run = Callable[[list[Case]], Iterator[tuple[Verdict, Draws]]]
"""Verdicts on cases, one by one, with their draws."""


def blame(verdict: Verdict, others: Sequence[Verdict], run: Run, file: Path) -> Iterator[str]:
    """Causes of a failing verdict, the likeliest first, then the command that replays it.

    others: verdicts on the same claim at other settings, among which the activations are compared. An order
    parameter has the factor for its cause; a claim about the whole is shrunk to the simplest setting that fails.
    """
    if verdict.status not in FAILURES:
        yield str(verdict)  # INVALID: nothing was measured that a cause could be read off
        return
    by_activation = _activations(verdict, others)
    if by_activation:
        yield by_activation
    if verdict.rule.relation == "equals":
        yield factor(verdict, run)
    simplest = verdict.setting
    if not isinstance(verdict.claim, OrderClaim | OverlapClaim):
        simplest = shrink(verdict.setting, lambda setting: _fails(verdict.claim, setting, run))
        yield f"the simplest setting found that still fails: {simplest}"
    yield f"replay: {replay(file, verdict.claim, simplest)}"


def factor(verdict: Verdict, run: Run) -> str:
    """The factor that is missing, sought at settings that vary one symbol each.

    They have beta = 0: a shift enters no formula as a factor, and hides those that do.
    """
    start = replace(verdict.setting, beta=0.0)
    cases = [Case(verdict.claim, setting) for setting in varied_settings(start, verdict.claim)]
    observed, left_out = [], []
    for found, _ in run(cases):
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


def replay(file: Path, claim: Claim, setting: Setting) -> str:
    """The command that tests one claim of an extension at one setting."""
    return join(["fimcheck", "check", str(file), "--claim", claim.id, "--setting", str(setting)])


def _activations(verdict: Verdict, others: Sequence[Verdict]) -> str:
    """Whether the failure goes with the activation: verdicts at settings that differ in nothing else."""
    status = {verdict.setting.activation: verdict.status}
    for other in others:
        if other.claim == verdict.claim and _same_but_activation(other.setting, verdict.setting):
            status[other.setting.activation] = other.status
    failing = [a for a, s in status.items() if s in FAILURES]
    holding = [a for a, s in status.items() if s == "AGREE"]
    if not holding:
        return ""
    return (
        f"it goes with the activation: fails with {', '.join(failing)} only, holds with {', '.join(holding)}; "
        "an assumption on the activation is missing"
    )


def _same_but_activation(one: Setting, two: Setting) -> bool:
    return one.record() | {"activation": ""} == two.record() | {"activation": ""}


def _fails(claim: Claim, setting: Setting, run: Run) -> bool:
    claim.admit(setting)
    return any(verdict.status in FAILURES for verdict, _ in run([Case(claim, setting)]))
