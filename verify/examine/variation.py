"""Settings near a setting: varied so that factors can be told apart, and shrunk to the simplest that still fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from shlex import join
from typing import Any

from fimcheck import theory
from fimcheck.verify.claims.claim import Claim
from fimcheck.verify.claims.kinds import OrderClaim
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.claims.wording import SettingError

FAILURES = ("DISAGREE", "MISFIT")
# Numbers of classes and of samples that shrinking tries, the smallest first.
CLASSES, SAMPLES = (1, 2, 3), (2, 3, 4, 8)


def varied_settings(setting: Setting, claim: Claim) -> list[Setting]:
    """The setting, one more for every symbol with that symbol changed, two for T, and one with all changed at once.

    Changing one at a time makes the logarithms of the symbols independent over the settings: no product of their
    powers is the same everywhere as another one, nor as a number. The last setting tests that it is a product.
    All are settings that the claim is about; a symbol that it fixes is not varied. Nor is the depth for an order
    parameter of one layer, because its distance from the output would change with it.
    """
    claim.admit(setting)
    found = [setting]
    together: dict[str, Any] = {}
    for choices in _variations(setting, claim):
        for change in choices:
            changed = _changed(setting, claim, change)
            if changed is not None and changed != setting:
                found.append(changed)
                together = {**change, **together}
                break
    everything = _changed(setting, claim, _all_ratios(setting, found, together))
    return found if everything is None or everything in found else [*found, everything]


def _variations(setting: Setting, claim: Claim) -> Iterator[list[dict[str, Any]]]:
    """For every symbol the changes to try, the first one admitted being taken."""
    yield [{"sigma_w2": setting.sigma_w2 * f} for f in (0.75, 1.5)]
    if setting.sigma_b2 > 0:
        yield [{"sigma_b2": setting.sigma_b2 * 4}]
    if "gamma" not in setting.idle:
        yield [{"gamma": setting.gamma * f} for f in (1.5, 0.6)]
    if "last_gamma" not in setting.idle:
        yield [{"last_gamma": setting.last_gamma * 1.5}]
    yield [{"classes": c} for c in (3, 5) if c != setting.classes]
    for i, old in enumerate(setting.ratios):
        yield [{"ratios": (*setting.ratios[:i], a, *setting.ratios[i + 1 :])} for a in (1.5, 0.5) if a != old]
    if setting.samples is not None:
        yield [{"samples": n} for n in (setting.samples // 2, 3 * setting.samples)]
        yield [{"samples": 2 * setting.samples}]
    else:
        yield [{"rho": (setting.rho or 0.0) * f} for f in (2.0, 0.5)]
    if not (claim.network or (isinstance(claim, OrderClaim) and claim.layer is not None)):
        yield [{"depth": setting.depth + 1, "ratios": (*setting.ratios, setting.ratios[-1])}]


def _all_ratios(setting: Setting, found: list[Setting], together: dict[str, Any]) -> dict[str, Any]:
    """All changes at once, those of the single ratios joined; the depth stays, so that every ratio keeps its place."""
    same_depth = [s.ratios for s in found if s.depth == setting.depth]
    ratios = tuple(next((r[i] for r in same_depth if r[i] != old), old) for i, old in enumerate(setting.ratios))
    return {**{k: v for k, v in together.items() if k != "depth"}, "ratios": ratios}


def _changed(setting: Setting, claim: Claim, change: dict[str, Any]) -> Setting | None:
    """The changed setting, or None where the theory, the networks or the claim refuse it."""
    try:
        changed = replace(setting, **change)
        claim.admit(changed)
        for width in claim.widths(changed):
            changed.network(width)
            changed.samples_at(width)
    except ValueError:
        return None
    return changed


def shrink(setting: Setting, fails: Callable[[Setting], bool]) -> Setting:
    """The simplest setting found that still fails, from one that does.

    First everything at once is made as simple as it can be; else, one after the other and each to the simplest
    value that still fails: fewer layers, equal widths, the scales 1, beta 0, no bias, sigma_w2 1 or 2, fewer classes,
    fewer samples, a linear activation or relu. Greedy, in one pass and always the same, with at most 21 calls of
    fails(setting), each of which may take a whole verdict. A setting that fails() refuses with SettingError, or
    that cannot be made, counts as one that does not fail.
    """
    steps = _simplifications(setting)
    everything = setting
    for choices in steps:
        everything = next(filter(None, (_simpler(everything, change) for change in choices)), everything)
    asked = {setting, everything}
    if everything == setting or _fails(fails, everything):
        return everything
    for choices in steps:
        for change in choices:
            candidate = _simpler(setting, change)
            if candidate is None or candidate in asked:
                continue
            asked.add(candidate)
            if _fails(fails, candidate):
                setting = candidate
                break
    return setting


def _simplifications(setting: Setting) -> list[list[dict[str, Any]]]:
    """For every field the changes that make it simpler, the simplest first."""
    odd = theory.activation(setting.activation).parity == "odd"  # then it may have to stay so
    activations = ("linear",) if odd else ("linear", "relu")
    variances = (1.0, 2.0)
    steps: list[list[dict[str, Any]]] = [
        [{"depth": d} for d in sorted({2, 3, setting.depth // 2, setting.depth - 1}) if 2 <= d < setting.depth],
        [{"ratios": (1.0,)}],
        [{"last_gamma": 1.0}],
        [{"gamma": 1.0}],
        [{"beta": 0.0}],
        [{"sigma_b2": 0.0}],
        [{"sigma_w2": v} for v in variances[: variances.index(setting.sigma_w2)]]
        if setting.sigma_w2 in variances
        else [{"sigma_w2": v} for v in variances],
        [{"classes": c} for c in CLASSES if c < setting.classes],
        [{"samples": t} for t in SAMPLES if setting.samples is not None and t < setting.samples],
        [{"activation": a} for a in activations if setting.activation not in activations[: activations.index(a) + 1]],
    ]
    return [choices for choices in steps if choices]


def _simpler(setting: Setting, change: dict[str, Any]) -> Setting | None:
    """The changed setting; None where it is the same or cannot be made. Fewer layers keep the first and last ratios."""
    depth = change.get("depth", setting.depth)
    ratios = change.get("ratios", (*setting.ratios[: depth - 1], setting.ratios[-1]))
    try:
        changed = replace(setting, **{**change, "ratios": ratios})
    except ValueError:
        return None
    return None if changed == setting else changed


def _fails(fails: Callable[[Setting], bool], setting: Setting) -> bool:
    try:
        return fails(setting)
    except SettingError:
        return False


def replay(claim: str, setting: Setting, file: Path | None = None) -> str:
    """The command that tests a claim at a setting again, quoted for a shell; file: the extension that it comes from."""
    words = ["verify", claim] if file is None else ["check", str(file), "--claim", claim]
    return join(["fimcheck", *words, "--setting", str(setting)])
