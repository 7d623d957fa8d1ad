"""The stages that a theory extension goes through, from its definitions to wrong theories that must fail."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sympy as sp

from fimcheck import theory
from fimcheck.theory.gaussian.kernel import kernel
from fimcheck.verify.claims.composition import OverlapClaim
from fimcheck.verify.claims.extension import SECONDS, Extension, ExtensionError, place, time_limit
from fimcheck.verify.claims.paper import CLAIMS
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.examine.cases import BASES, claim_cases, order_cases, setting_with
from fimcheck.verify.examine.conformance import checks
from fimcheck.verify.examine.diagnosis import Run, diagnose, diagnose_place
from fimcheck.verify.examine.places import Place, Refusal, compared, in_the_limit, places, summary
from fimcheck.verify.judge import suite
from fimcheck.verify.judge.controls import Kill, challenge
from fimcheck.verify.judge.suite import Case
from fimcheck.verify.judge.verdict import Verdict
from fimcheck.verify.rule.statistics import REFUSED


@dataclass(frozen=True)
class Stage:
    """What became of one stage: passed, failed, open (something stayed INCONCLUSIVE), empty, or stopped before its end;
    lines say why; examined says what was looked at, and what was not.
    """

    name: str
    outcome: str
    lines: tuple[str, ...]
    seconds: float = 0.0
    verdicts: tuple[Verdict, ...] = ()
    attacks: tuple[tuple[Verdict, Sequence[Kill]], ...] = ()
    examined: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Plain data, for the JSON record, which holds the verdicts and attacks of all stages elsewhere."""
        facts = {"stage": self.name, "outcome": self.outcome, "seconds": round(self.seconds, 1), "lines": self.lines}
        return {**facts, "examined": self.examined} if self.examined else facts


STAGES = ("conformance", "derivation", "places", "order parameters", "claims", "wrong theories")


def examine(
    extension: Extension,
    run: Run,
    device: str = "cpu",
    thorough: bool = False,
    started: Callable[[str], None] = lambda _: None,
) -> Iterator[Stage]:
    """Every stage in order; a stage that fails is the last. thorough: at more settings. started: told of every place.

    A stage that is stopped, by Ctrl-C or an error that is not the file's, gives what it had found before it raises.
    """
    tested: list[tuple[Verdict, Draws]] = []
    found: list[Verdict] = []
    attacks: list[tuple[Verdict, Sequence[Kill]]] = []

    def noted(todo: list[Case], once: bool = False) -> Iterator[tuple[Verdict, Draws]]:
        for verdict, drawn in run(todo, once):
            found.append(verdict)
            yield verdict, drawn

    stages = {
        "conformance": lambda: conforms(extension, device),
        "derivation": lambda: derives(extension),
        "places": lambda: stands(extension, started),
        "order parameters": lambda: orders(extension, noted),
        "claims": lambda: claims(extension, noted, tested, thorough),
        "wrong theories": lambda: controls(tested, attacks),
    }
    for name, stage in stages.items():
        start = time.monotonic()
        found.clear()
        try:
            done = stage()
        except BaseException as error:
            where = place(error, extension.path)
            if not isinstance(error, Exception) or where == str(extension.path):  # not from a line of the file
                lines = (f"stopped with {len(found)} verdicts, {len(attacks)} claims attacked",)
                yield Stage(name, "stopped", lines, time.monotonic() - start, tuple(found), tuple(attacks))
                raise
            done = Stage(name, "failed", (f"{where}: {type(error).__name__}: {error}",), verdicts=tuple(found))
        yield replace(done, seconds=time.monotonic() - start)
        if done.outcome == "failed":
            return


def conforms(extension: Extension, device: str) -> Stage:
    """Whether what the file defines is a definition at all: `verify.examine.conformance` on every name."""
    names = dict.fromkeys((*extension.activations, *extension.hidden, *extension.outputs))
    count, faults = 0, []
    for name in names:
        try:
            for check in checks(name, device):
                count += 1
                if check.fault:
                    faults.append(f"{extension.line(name)}: {check.subject}: {check.requirement}: {check.fault}")
        except ExtensionError as error:
            faults.append(f"{place(error.__cause__ or error, extension.path)}: {error}")
        except Exception as error:
            faults.append(f"{place(error, extension.path)}: {name} raised {type(error).__name__}: {error}")
    lines = [f"{count} requirements tried on {', '.join(names) or 'no definition'}"]
    lines += [f"torch function of {name} made from its expression" for name in extension.generated]
    return Stage("conformance", "failed" if faults else "passed" if names else "empty", (*lines, *faults))


def derives(extension: Extension) -> Stage:
    """Closed forms of what is new, with certificates, and the recursion on expressions against that on numbers."""
    lines: list[str] = []
    failed = False
    try:
        with time_limit(SECONDS, "derivation"):
            for name in extension.activations:
                act = theory.activation(name)
                for what, f in (("phi", act.phi), ("phi'", act.phi.derivative())):
                    found = kernel(f, f).centered
                    form = "no closed form" if found.expr is None else f"= {found.expr}"
                    lines.append(f"{name}: E[{what}(u) {what}(v)] by {found.method}: {form}")
                for certificate in theory.certify(act):
                    failed |= not certificate.holds
                    lines.append(f"{name}: certificate {certificate.what}, {certificate.digits:.0f} digits")
            for name in extension.hidden:
                far, formula = _two_ways(name)
                shown = (
                    str(formula) if len(str(formula)) < 400 else f"an expression of {formula.count_ops()} operations"
                )
                lines.append(f"{name}: {setting_with(name).structure}: kappa_1 = {shown}")
                if not far < 1e-9:
                    failed = True
                    lines.append(f"{extension.line(name)}: {name}: the rule gives other values on expressions than on "
                                 f"numbers, by {far:.2g}; use operations that mean the same on both")  # fmt: skip
            for id in extension.claims:
                claim = CLAIMS[id]
                case = suite.cases([claim], BASES)[0]
                prediction = claim.prediction(case.setting)
                lines.append(f"{id}: {prediction.quantity} {prediction.relation} {prediction.formula}")
    except ExtensionError as error:
        return Stage("derivation", "failed", (*lines, f"{place(error.__cause__ or error, extension.path)}: {error}"))
    except Exception as error:
        text = f"{place(error, extension.path)}: {type(error).__name__}: {error}"
        return Stage("derivation", "failed", (*lines, text))
    return Stage("derivation", "failed" if failed else "passed" if lines else "empty", tuple(lines))


def _two_ways(hidden: str) -> tuple[float, sp.Basic]:
    """How far the recursion on expressions and that on numbers are apart, at numbers; and a formula to look at."""
    setting = setting_with(hidden)
    T = setting.samples
    one = theory.order_parameters(setting.wide(), "fixed")
    two = theory.numeric_order_parameters(setting.wide(), T=T)
    far = 0.0
    for name in ("kappa1", "kappa2"):
        exact = float(sp.N(sp.sympify(getattr(one, name)).subs(theory.symbols.T, T)))
        far = max(far, abs(float(getattr(two, name)) - exact) / max(abs(exact), 1e-300))
    return far, theory.order_parameters(theory.compose(setting.nodes, beta=0)).kappa1


ERROR_RATE = 0.005
"""Chance that a right step is refused in some place, or a wrong one passes in one where it is wrong."""


def stands(extension: Extension, started: Callable[[str], None] = lambda _: None) -> Stage:
    """Every added step in every kind of place: the states of its theory are possible ones, and their overlaps those of
    sampled signals."""
    found: list[Place] = []
    refusals: list[Refusal] = []
    for name in extension.hidden:
        for at in places(name):
            (found if isinstance(at, Place) else refusals).append(at)  # type: ignore[arg-type]
        if not any(name in re.findall(r"\w+", at.setting.steps) for at in found):
            words = "; ".join(dict.fromkeys(refusal.words for refusal in refusals))
            return Stage("places", "failed", (f"{extension.line(name)}: {name} is refused in every place: {words}",))
    for at in found:
        if at.fault:
            return Stage("places", "failed", (f"{at}: {at.fault}",))
    for name in extension.hidden:
        if words := in_the_limit(name):
            return Stage("places", "failed", (f"{extension.line(name)}: {name}: {words}",))
    if not found:
        return Stage("places", "empty", ())
    done, refused = compared(found, ERROR_RATE, started)
    said = tuple(summary(extension.hidden, done, refusals))
    if refused is not None:
        lines = tuple(diagnose_place(refused, extension.path))
        return Stage("places", "failed", lines, examined=said)
    left = [f"open: {c.place}: {c.words(claim)}" for c in done for claim in c.left.values()]
    agreed = sum(comparison.agreed for comparison in done)
    lines = (f"{agreed} overlaps at {len(found)} settings agree with sampled signals", *left)
    whole = not left and all(refusal.by_theory for refusal in refusals)
    return Stage("places", "passed" if whole else "open", lines, examined=said)


def orders(extension: Extension, run: Run) -> Stage:
    """Order parameters against measured ones in the order of their computation; the first that departs ends it."""
    verdicts: list[Verdict] = []
    lines: list[str] = []
    for case in order_cases(extension):
        if case.claim.prediction(case.setting).formula == 0:
            lines.append(f"{case.claim.id} is predicted to vanish [{case.setting}]: no ratio to test")
    cases = [c for c in order_cases(extension) if c.claim.prediction(c.setting).formula != 0]
    for verdict, _ in run(cases):
        verdicts.append(verdict)
        if verdict.status in REFUSED:
            lines += _departure(verdict, len(cases))
            lines += diagnose(verdict, (), run, extension.path)
            return Stage("order parameters", "failed", tuple(lines), verdicts=tuple(verdicts))
    if not verdicts:
        return Stage("order parameters", "empty", tuple(lines))
    lines.append(f"{len(verdicts)} order parameters measured, layer by layer")
    return Stage("order parameters", _outcome(verdicts), tuple(lines), verdicts=tuple(verdicts))


def _departure(verdict: Verdict, count: int) -> Iterator[str]:
    """Which order parameter departs, and by how much."""
    claim, limit = verdict.claim, verdict.finding.limit
    layer = getattr(claim, "layer", None)
    where = claim.quantity if layer is None else f"{claim.quantity} at layer {layer}"
    if isinstance(claim, OverlapClaim) and claim.path:
        words = verdict.setting.wide().all_steps[claim.path.removesuffix(".value").removesuffix(".output")].words
        where = f"{claim.id.removeprefix('network.')}, step {claim.path}: {words},"
    ratio = f"measured/predicted {limit.value:.4f} +- {limit.error:.4f}" if limit else verdict.finding.reason
    yield f"{where} is the first of {count}, in the order of computation, to depart: {ratio}"


def claims(extension: Extension, run: Run, tested: list[tuple[Verdict, Draws]], thorough: bool = False) -> Stage:
    """What is claimed about what is new, at default settings (which go to ``tested``) and at others."""
    default, others = claim_cases(extension, thorough)
    todo = [*default, *others]
    verdicts: list[Verdict] = []
    failed = None
    for verdict, drawn in run(todo):
        verdicts.append(verdict)
        if Case(verdict.claim, verdict.setting) in default:
            tested.append((verdict, drawn))
        if verdict.status in REFUSED:  # one cause is likely to be the cause of all that follow
            failed = verdict
            break
    if not verdicts:
        return Stage("claims", "empty", ())
    lines = [f"{len(default)} at default settings, {len(others)} at corners of the domain and generated ones"]
    if failed is not None:
        lines.append(f"{failed.claim.id} fails: {failed.finding.reason} [{failed.setting}]")
        same = [case for case in default if case.claim == failed.claim and case.setting != failed.setting]
        seen = {verdict.setting for verdict in verdicts if verdict.claim == failed.claim}
        verdicts += [verdict for verdict, _ in run([case for case in same if case.setting not in seen], once=True)]
        lines += diagnose(failed, verdicts, run, extension.path)
    said = [f"claims: {len(verdicts)} verdicts; {examined([verdict.setting for verdict in verdicts])}"]
    if left := len(todo) - len(verdicts):
        said.append(f"not examined: {left} claims at further settings, after the one that fails")
    return Stage("claims", _outcome(verdicts), tuple(lines), verdicts=tuple(verdicts), examined=tuple(said))


def examined(tested: Sequence[Setting]) -> str:
    """The part of the domain that was covered: the range of every number."""
    chains = [s for s in tested if not s.steps] or list(tested)
    numbers = {
        "depth": [s.depth for s in chains],
        "T": [s.samples for s in tested if s.samples is not None],
        **{name: [getattr(s, name) for s in tested] for name in ("sigma_w2", "sigma_b2", "gamma", "beta", "classes")},
        "width ratios": [a for s in tested for a in s.ratios],
    }
    ranges = [
        f"{name} {min(v):g} to {max(v):g}" if min(v) < max(v) else f"{name} {v[0]:g}"
        for name, v in numbers.items()
        if v
    ]
    acts = sorted({s.activation for s in chains if not s.steps})
    return ", ".join(ranges) + (f"; phi {', '.join(acts)}" if acts else "")


def controls(tested: Sequence[tuple[Verdict, Draws]], attacks: list[tuple[Verdict, Sequence[Kill]]]) -> Stage:
    """Wrong theories of every claim at its default settings, on the draws that the right one passed; ``attacks`` gets
    what became of them, claim by claim."""
    for verdict, drawn in tested:
        attacks.append((verdict, challenge(verdict, drawn)))
    kills = [kill for _, found in attacks for kill in found]
    believed = [(v, k) for v, found in attacks for k in found if k.survived]
    judged = [k.verdict.status for k in kills if k.verdict]
    refused = sum(status in ("DISAGREE", "MISFIT") for status in judged)
    lines = [f"{len(judged)} wrong theories: {refused} refused, {judged.count('INCONCLUSIVE')} inconclusive, "
             f"{judged.count('INVALID')} invalid, {len(believed)} believed"]  # fmt: skip
    lines += [f"{v.claim.id} [{v.setting}] believed {k.wrong.id}: {k.wrong.mistake}" for v, k in believed]
    outcome = "failed" if believed else "empty" if not judged else "passed" if refused else "open"
    return Stage("wrong theories", outcome, tuple(lines), attacks=tuple(attacks))


def _outcome(verdicts: Sequence[Verdict]) -> str:
    statuses = {v.status for v in verdicts}
    return "failed" if statuses & set(REFUSED) else "passed" if statuses == {"AGREE"} else "open"
