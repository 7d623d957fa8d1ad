"""Which claims are tested at which settings, and the run over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from verify.check import Effort, Verdict, check
from verify.claims import CLAIMS, Claim
from verify.draws import Draws
from verify.setting import Setting

ACTIVATIONS = ("relu", "tanh")


@dataclass(frozen=True)
class Case:
    """One claim at one setting."""

    claim: Claim
    setting: Setting


def default_setting(claim: Claim, activation: str) -> Setting:
    """The setting at which a claim is tested when none is named."""
    base = Setting(activation=activation, hidden=claim.hidden, last=claim.last, samples=6)
    if claim.samples == "proportional":
        return replace(base, samples=None, rho=2.0)
    if claim.measured == "lambda_max":
        # A single eigenvalue in the top group: with rivals the largest exceeds its limit by M^-1/2, which
        # takes many more draws to extrapolate.
        alone = {"none": 4, "mean": 2, "batch": 3}.get(claim.last, 6)
        return replace(base, samples=max(claim.fewest_samples, alone))
    if claim.last == "batch" and not claim.given:
        # Averages of 1/sd^2 vary from network to network at every width; classes and samples calm them.
        return replace(base, classes=4, samples=24)
    return replace(base, classes=2, samples=max(claim.fewest_samples, 6))


def cases(claims: Iterable[Claim] = tuple(CLAIMS.values()), activations: Iterable[str] = ACTIVATIONS) -> list[Case]:
    """Every claim at its default setting for every activation; claims that share a setting stand together."""
    todo = [Case(claim, default_setting(claim, activation)) for activation in activations for claim in claims]
    first = {case.setting: i for i, case in reversed(list(enumerate(todo)))}
    return sorted(todo, key=lambda case: first[case.setting])


def run(
    todo: list[Case],
    effort: Effort,
    make_draws: Callable[[Setting, set[str]], Draws],
    started: Callable[[Case], None] = lambda _: None,
) -> Iterator[tuple[Verdict, Draws]]:
    """Verdicts in order, with the draws they rest on.

    Claims about the same setting share its draws; the error rate is split over all cases.
    """
    share = replace(effort, error_rate=effort.error_rate / max(1, len(todo)))
    drawn: dict[Setting, Draws] = {}
    for case in todo:
        started(case)
        if case.setting not in drawn:
            wanted = {q for other in todo if other.setting == case.setting for q in other.claim.quantities}
            drawn[case.setting] = make_draws(case.setting, wanted)
        yield check(case.claim, case.setting, share, drawn[case.setting]), drawn[case.setting]
