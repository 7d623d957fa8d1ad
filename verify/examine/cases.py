"""Which settings a reader's theory is examined at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from fimcheck import theory
from fimcheck.verify.claims.claim import Claim
from fimcheck.verify.claims.composition import OverlapClaim, network_claims
from fimcheck.verify.claims.extension import Extension
from fimcheck.verify.claims.kinds import OutputClaim
from fimcheck.verify.claims.paper import CLAIMS, claims_about_orders, spectrum_claims
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.claims.wording import SettingError
from fimcheck.verify.examine.strategies import SMOOTH_OR_KINKED, settings_for
from fimcheck.verify.judge import suite
from fimcheck.verify.judge.suite import Case

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


def order_cases(extension: Extension) -> list[Case]:
    """The order parameters that what is new enters, each after all that it depends on."""
    found = []
    for name in extension.hidden:
        for setting in (setting_with(name), *behind_activation(name)):
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


def behind_activation(step: str) -> Iterator[Setting]:
    """A network with an added step behind relu, whose units have a mean, if its theory allows that."""
    try:
        found = Setting(steps=f"dense relu {step} dense", samples=64, sigma_b2=0.3, gamma=1.25, beta=0.5)
    except (theory.CompositionError, theory.ActivationError):
        return
    yield replace(found, samples=fewest_samples(found))


def fewest_samples(setting: Setting) -> int:
    """T from which the draws of a network are calm; 8 where samples are mixed, as for batch, else 5."""
    wide = setting.wide()
    return max(wide.fewest_samples, 8 if wide.depends_on_samples("fixed") else 5)


def corners(claims: Sequence[Claim], base: Setting) -> Iterator[Case]:
    """Claims about kappa_1 and kappa_2 where they are about a corner; one output, as these networks are expensive."""
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
