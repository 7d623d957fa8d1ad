"""The stages that a theory extension goes through, from its definitions to wrong theories that must fail."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import sympy as sp
from hypothesis import HealthCheck, Phase, given, settings

from fimcheck import theory
from fimcheck.theory.gaussian.kernel import kernel
from fimcheck.verify.claims.claim import Claim, OutputClaim
from fimcheck.verify.claims.composition import OverlapClaim, network_claims
from fimcheck.verify.claims.extension import SECONDS, Extension, ExtensionError, place, time_limit
from fimcheck.verify.claims.paper import CLAIMS, claims_about_orders, spectrum_claims
from fimcheck.verify.claims.setting import Setting, SettingError
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.examine.blame import Run, blame
from fimcheck.verify.examine.conformance import checks
from fimcheck.verify.examine.strategies import SMOOTH_OR_KINKED, settings_for
from fimcheck.verify.judge import suite
from fimcheck.verify.judge.controls import Kill, challenge
from fimcheck.verify.judge.suite import Case
from fimcheck.verify.judge.verdict import Verdict
from fimcheck.verify.rule.statistics import REFUSED

# Generated settings for each case of normalization, beside the default one and the corners; and if thorough.
GENERATED, THOROUGH = 3, 10
# What a rule may get wrong away from the default setting: a deep network; a negative shift, a small scale, other weight
# variances and unequal widths; and few samples.
CORNERS: tuple[dict[str, Any], ...] = (
    {"depth": 8, "ratios": (1.0,), "sigma_w2": 1.5},
    {"beta": -0.25, "gamma": 0.6, "sigma_w2": 0.7, "ratios": (0.5, 0.5, 2.0)},
    {"samples": 6},  # 1/sd^2 over fewer has no finite variance over networks
)
AT_CORNERS = ("m", "lambda_perp")
BASES = (suite.BASES[0], replace(suite.BASES[0], activation="tanh"))
# What a new activation is tested with, beside its order parameters.
WITH_ACTIVATION = (("plain.m", "plain.s", "plain.lambda_perp"), ("last_mean.m",), ("hidden_layer.m",))


@dataclass(frozen=True)
class Stage:
    """What became of one stage: passed, failed, open (something stayed INCONCLUSIVE), empty, or stopped before its end;
    lines say why.
    """

    name: str
    outcome: str
    lines: tuple[str, ...]
    seconds: float = 0.0
    verdicts: tuple[Verdict, ...] = ()
    attacks: tuple[tuple[Verdict, Sequence[Kill]], ...] = ()

    def record(self) -> dict[str, Any]:
        """Plain data, for the JSON record, which holds the verdicts and attacks of all stages elsewhere."""
        return {"stage": self.name, "outcome": self.outcome, "seconds": round(self.seconds, 1), "lines": self.lines}


def examine(extension: Extension, run: Run, device: str = "cpu", thorough: bool = False) -> Iterator[Stage]:
    """Every stage in order; a stage that fails is the last. thorough: at more settings.

    A stage that is stopped, by Ctrl-C or an error that is not the file's, gives what it had found before it raises.
    """
    tested: list[tuple[Verdict, Draws]] = []
    found: list[Verdict] = []
    attacks: list[tuple[Verdict, Sequence[Kill]]] = []

    def noted(todo: list[Case]) -> Iterator[tuple[Verdict, Draws]]:
        for verdict, drawn in run(todo):
            found.append(verdict)
            yield verdict, drawn

    stages = {
        "conformance": lambda: conforms(extension, device),
        "derivation": lambda: derives(extension),
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
    """Whether what the file defines is a definition at all: `verify.kit` on every name."""
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
            lines += departure(verdict, len(cases))
            lines += blame(verdict, (), run, extension.path)
            return Stage("order parameters", "failed", tuple(lines), verdicts=tuple(verdicts))
    if not verdicts:
        return Stage("order parameters", "empty", tuple(lines))
    lines.append(f"{len(verdicts)} order parameters measured, layer by layer")
    return Stage("order parameters", _outcome(verdicts), tuple(lines), verdicts=tuple(verdicts))


def order_cases(extension: Extension) -> list[Case]:
    """The order parameters that what is new enters, each after all that it depends on."""
    found = []
    for name in extension.hidden:
        setting = setting_with(name)
        claims = (c for c in network_claims(setting) if isinstance(c, OverlapClaim))
        found += [Case(replace(claim, source=str(extension.path)), setting) for claim in claims]
    for activation in extension.activations:
        places: list[tuple[str, int | None]] = [("q1", 1), ("hq1", 1), ("hq2", 1)]
        places += [("q1", 2), ("q2", 2), ("hq1", 2), ("hq2", 2)]
        places += [(name, layer) for layer in (2, 1) for name in ("tq1", "tq2")]
        for claim in claims_about_orders("none", [*places, ("kappa1", None), ("kappa2", None)]):
            claim = replace(claim, source=str(extension.path))
            found.append(Case(claim, suite.default_setting(claim, replace(BASES[0], activation=activation))))
    return found


def setting_with(step: str) -> Setting:
    """A network with an added step in two layers: between dense weights and relu if relu can follow it, else alone."""
    numbers: dict[str, Any] = {"samples": 64, "sigma_b2": 0.3, "gamma": 1.25, "beta": 0.5}
    try:
        found = Setting(hidden=step, **numbers)
    except ValueError:
        found = Setting(steps=f"dense {step} dense {step} dense", **numbers)
    return replace(found, samples=fewest_samples(found))


def departure(verdict: Verdict, count: int) -> Iterator[str]:
    """Which order parameter departs, and by how much."""
    claim, limit = verdict.claim, verdict.finding.limit
    layer = getattr(claim, "layer", None)
    where = claim.quantity if layer is None else f"{claim.quantity} at layer {layer}"
    if isinstance(claim, OverlapClaim) and claim.path:
        words = verdict.setting.wide().all_steps[claim.path.removesuffix(".value").removesuffix(".output")].words
        where = f"{claim.id.removeprefix('network.')}, step {claim.path}: {words},"
    ratio = f"measured/predicted {limit.value:.4f} +- {limit.error:.4f}" if limit else verdict.finding.reason
    yield f"{where} is the first of {count}, in the order of computation, to depart: {ratio}"


def fewest_samples(setting: Setting) -> int:
    """T from which the draws of a network are calm; 8 where samples are mixed, as for batch, else 5."""
    wide = setting.wide()
    return max(wide.fewest_samples, 8 if wide.depends_on_samples("fixed") else 5)


def claims(extension: Extension, run: Run, tested: list[tuple[Verdict, Draws]], thorough: bool = False) -> Stage:
    """What is claimed about what is new, at default settings (which go to ``tested``) and at others."""
    default, others = claim_cases(extension, thorough)
    verdicts = []
    for verdict, drawn in run([*default, *others]):
        verdicts.append(verdict)
        if Case(verdict.claim, verdict.setting) in default:
            tested.append((verdict, drawn))
    if not verdicts:
        return Stage("claims", "empty", ())
    lines = [f"{len(default)} at default settings, {len(others)} at corners of the domain and generated ones"]
    lines.append(examined([verdict.setting for verdict in verdicts]))
    failed = {verdict.claim.id: verdict for verdict in reversed(verdicts) if verdict.status in REFUSED}
    lines += [f"{id} fails: {verdict.finding.reason} [{verdict.setting}]" for id, verdict in failed.items()]
    for verdict in list(failed.values())[:1]:  # one cause is likely to be the cause of all
        lines += blame(verdict, verdicts, run, extension.path)
    return Stage("claims", _outcome(verdicts), tuple(lines), verdicts=tuple(verdicts))


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
    return f"examined: {', '.join(ranges)}" + (f"; phi {', '.join(acts)}" if acts else "")


def corners(claims: Sequence[Claim], base: Setting) -> Iterator[Case]:
    """Claims about kappa_1 and kappa_2 where they are about a corner; one output, since these networks are dear."""
    for changes in CORNERS:
        for claim in (c for c in claims if c.quantity in AT_CORNERS):
            try:
                usual = suite.default_setting(claim, base)
                changed = {name: value for name, value in changes.items() if name not in usual.idle}
                setting = replace(usual, classes=base.classes, **changed)
                claim.admit(setting)
            except (SettingError, ValueError):
                continue  # the claim, or the rule, is not about that corner
            yield Case(claim, setting)


@cache
def claim_cases(extension: Extension, thorough: bool = False) -> tuple[list[Case], list[Case]]:
    """Claims about what is new at their default settings; and at corners of the domain and generated settings."""
    default, others = [], []

    def add(claims: Sequence[Claim], activations: tuple[str, ...] = (), everywhere: bool = True) -> None:
        bases = [replace(BASES[0], activation=a) for a in activations] or BASES
        default.extend(suite.cases(claims, bases))
        others.extend(corners(claims, bases[0]) if everywhere else ())
        for setting in generate(claims[0], activations or SMOOTH_OR_KINKED, THOROUGH if thorough else GENERATED):
            others.extend(Case(claim, setting) for claim in claims)

    for hidden in extension.hidden:
        setting = setting_with(hidden)
        if setting.steps:  # it takes the place of the activation: no chain of the paper has it
            own = [replace(c, source=str(extension.path)) for c in network_claims(setting, every=False)]
            default.extend(Case(claim, setting) for claim in own)
            continue
        coupled = setting.couples_samples
        for last, quantities in (("none", f"m s lambda_perp{' lambda_1' if coupled else ''}"), ("mean", "m")):
            found = spectrum_claims(hidden, last, quantities)
            few = min(setting.samples or 2, max(6, setting.wide().fewest_samples) if coupled else 2)
            own = [replace(c, source=str(extension.path), fewest_samples=few) for c in found]
            add(own, everywhere=last == "none")
    for last in extension.outputs:
        own = [
            OutputClaim(f"last_{last}.{q}", f"{last} of the outputs: {q}, given the outputs", q, q, last=last,
                        given=("raw_outputs",), source=str(extension.path))
            for q in ("m", "s")
        ]  # fmt: skip
        add(own)
    for activation in extension.activations:
        for i, ids in enumerate(WITH_ACTIVATION):
            add([CLAIMS[id] for id in ids], (activation,), everywhere=i == 0)
    for id in extension.claims:
        add([CLAIMS[id]])
    return default, others


def generate(claim: Claim, activations: tuple[str, ...], count: int = GENERATED) -> list[Setting]:
    """Settings that a claim is about, always the same ones; they differ in activation, or in depth if it has one.

    None for a claim about one composed network, whose setting is given.
    """
    if claim.network:
        return []
    found: list[Setting] = []
    one = len(claim.activations or activations) == 1

    @settings(derandomize=True, database=None, deadline=None, max_examples=8 * count, phases=[Phase.generate],
              suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])  # fmt: skip
    @given(settings_for(claim, max_depth=4, activations=activations))
    def collect(setting: Setting) -> None:
        try:
            claim.admit(setting)
        except SettingError:
            return
        if all((s.depth if one else s.activation) != (setting.depth if one else setting.activation) for s in found):
            found.append(setting)

    collect()
    return found[-count:]  # the first ones are the simplest


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
