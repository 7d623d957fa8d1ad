"""Which claims are tested at which settings, and the run over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from fimcheck.verify.claims.claim import Claim, couples_samples, odd
from fimcheck.verify.claims.paper import CLAIMS
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.judge.verdict import Effort, Verdict, check

# Networks that claims are tested with: --quick takes the first alone. The second is deeper and of unequal widths.
# sigma_b2 of the first, and with it gamma and beta below, are such that the wrong theories are wrong by more than 6.5%,
# or by less than eps: at sigma_b2 = 0.1 the first layer's q_1 without it is wrong by exactly 5%.
BASES = (
    Setting("relu", sigma_b2=0.3, last_gamma=2.0, samples=5),
    Setting("tanh", depth=4, ratios=(0.5, 1.5, 1.0, 1.0), last_gamma=2.0, samples=5),
)


@dataclass(frozen=True)
class Case:
    """One claim at one setting."""

    claim: Claim
    setting: Setting


def default_setting(claim: Claim, base: Setting) -> Setting:
    """The setting at which a claim is tested when none is named: the base with what the claim is about."""
    if claim.network:
        return Setting.parse(claim.network)
    output, coupled = claim.output, couples_samples(claim.hidden)
    classes = 6 if output.over == "classes" or output.added else 2
    last_gamma = base.last_gamma if output.scaled else 1.0
    base = replace(
        base, hidden=claim.hidden, last=claim.last, last_gamma=last_gamma, classes=classes,
        # 1/sd^2 over six samples or more has a finite variance over networks, as over six classes above.
        samples=max(base.samples or 0, 6 if output.over == "samples" else 0, claim.fewest_samples),
    )  # fmt: skip
    if claim.centered:
        base = replace(base, sigma_b2=0.0)
    elif claim.hidden != "none":
        base = replace(base, gamma=1.25, beta=0.5 if base.activation == "relu" else 1.0)
    if claim.samples == "proportional":
        return replace(base, classes=1, samples=None, rho=1.0 if coupled else 2.0)
    if coupled:
        # So many samples that the mean gradient has the largest eigenvalue. Others than relu need more, and the shift.
        few = bool(output.removed) or base.activation == "relu"
        return replace(base, classes=1, samples=12 if few else 24)
    if claim.quantity == "lambda_max" and output.spectrum is not None:
        # A single eigenvalue in the top group: with rivals the largest exceeds its limit by M^-1/2, which
        # takes many more draws to extrapolate.
        samples = output.removed + 1 if output.removed else 4
        return replace(base, classes=1, samples=max(samples, claim.fewest_samples))
    if claim.quantity == "lambda_max" and output.over == "classes":
        # One direction of three classes is left, so the largest eigenvalue has no rival: the next is below.
        return replace(base, classes=3, samples=12)
    if claim.quantity == "alignment":
        # Eigenvectors mix by fluctuation over gap. With few samples the gap of tanh is a quarter of the eigenvalue,
        # and no power of the width describes the mixing at the widths that are sampled.
        return replace(base, samples=48)
    if output.over == "samples" and not claim.given:
        # Averages of 1/sd^2 vary from network to network at every width: classes and samples calm them, and shallow
        # networks are cheap.
        return replace(base, depth=2, ratios=(base.ratios[0], base.ratios[-1]), classes=8, samples=32)
    return base


def cases(claims: Iterable[Claim] = tuple(CLAIMS.values()), bases: Iterable[Setting] = BASES) -> list[Case]:
    """Every claim at its default setting for every base; claims that share a setting stand together.

    A claim about odd activations is tested with the odd ones among those given, with tanh where there is none.
    """
    bases = tuple(bases)
    todo = []
    for claim in claims:
        fitting = [b for b in bases if odd(b.activation)] or [replace(b, activation="tanh") for b in bases[:1]]
        fitting = [replace(bases[0], activation=a) for a in claim.activations] or (fitting if claim.centered else bases)
        todo += dict.fromkeys(Case(claim, default_setting(claim, base)) for base in fitting)
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
    drawn: dict[tuple[Setting, bool], Draws] = {}
    for case in todo:
        started(case)
        key = _draws_key(case)
        if key not in drawn:
            wanted = {q for other in todo if _draws_key(other) == key for q in other.claim.quantities}
            drawn[key] = make_draws(case.setting, wanted)
        yield check(case.claim, case.setting, share, drawn[key]), drawn[key]


def _draws_key(case: Case) -> tuple[Setting, bool]:
    """What shares its draws. What takes long for every draw, gradient descent or a solution of its own, shares none."""
    return case.setting, case.claim.measured == "stable_rate" or "shared" in case.claim.given
