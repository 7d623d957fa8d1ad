"""A ratio of measured to predicted, with everything that a missing factor may be made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

from fimcheck import theory
from fimcheck.verify.claims.claim import Claim
from fimcheck.verify.claims.kinds import OrderClaim
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.examine.misread import averages, misreadings
from fimcheck.verify.judge.verdict import Verdict

# Relative error of a ratio that is known exactly: theory and network round.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Observation:
    """The ratio measured / predicted in the limit of large width at one setting, with its standard error.

    extra: further symbols that the missing factor may be made of, such as {"q_1": 2.1}. named: whole factors by
    name, each a candidate of its own; see `misread`.
    """

    setting: Setting
    ratio: float
    error: float
    extra: Mapping[str, float] = field(default_factory=dict)
    named: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (isfinite(self.ratio) and isfinite(self.error) and self.ratio > 0 and self.error > 0):
            raise ValueError(
                f"ratio {self.ratio} +- {self.error} at {self.setting}: a factor is sought for positive finite "
                "ratios and errors; leave this setting out"
            )

    @property
    def symbols(self) -> dict[str, float]:
        """Values of everything that a missing factor may be made of, numbers aside.

        sigma_b2 is not among them: it enters a variance as a summand and never as a factor.
        """
        s = self.setting
        known = {"sigma_w2": s.sigma_w2, "L": s.depth, "C": s.classes, "C-1": s.classes - 1, "C-2": s.classes - 2}
        known |= {f"alpha_{i}": a for i, a in enumerate(s.ratios)}
        known |= {name: getattr(s, name) for name in ("gamma", "last_gamma") if name not in s.idle}
        if s.samples is None:
            known |= {"rho": s.rho or 0.0}
        else:
            known |= {"T": s.samples, "T-1": s.samples - 1, "T-2": s.samples - 2, "T-3": s.samples - 3}
        return {name: float(value) for name, value in (known | dict(self.extra)).items()}


def observe(verdict: Verdict) -> Observation:
    """The limit that a verdict found, with the order parameters of the theory as further symbols.

    The error is that of the fit without the smallest width: the wider of the two that the rule looked at.
    """
    limit, guard = verdict.finding.limit, verdict.finding.guard
    if limit is None or guard is None:
        raise ValueError(f"{verdict.claim.id} [{verdict.setting}]: nothing was measured; {verdict.finding.reason}")
    extra = order_symbols(verdict) | averages(verdict.claim, verdict.setting)
    named = misreadings(verdict.claim, verdict.setting)
    error = max(limit.error, guard.error, ROUNDING * abs(limit.value))
    return Observation(verdict.setting, limit.value, error, extra, named)


def order_symbols(verdict: Verdict) -> dict[str, float]:
    """Order parameters that the claim is made of: q of its layer, or else the two kappas."""
    claim, setting = verdict.claim, verdict.setting
    if claim.network:
        return overlap_symbols(claim, setting)
    orders = theory.numeric_order_parameters(setting.wide(), claim.samples, setting.samples)
    layer = claim.layer if isinstance(claim, OrderClaim) else None
    name, one, two = "kappa", orders.kappa1, orders.kappa2
    if layer is not None:
        if layer not in orders.q1:
            return {}
        name, one, two = "q", orders.q1[layer], orders.q2[layer]
    return {f"{name}_1": float(one), f"{name}_2": float(two), f"{name}_1-{name}_2": float(one - two)}


def overlap_symbols(claim: Claim, setting: Setting) -> dict[str, float]:
    """K before the step that an overlap belongs to, and the two kappas for what belongs to the whole network."""
    orders = theory.numeric_order_parameters(setting.wide(), T=setting.samples)
    path = getattr(claim, "path", "")
    if not path:
        one, two, name = orders.kappa1, orders.kappa2, "kappa"
    else:
        *above, number = path.rpartition(".")
        before = "".join(above) + str(int(number) - 1) if number.isdigit() and int(number) > 1 else ""
        if before not in orders.K:
            return {}
        one, two, name = orders.K[before].same, orders.K[before].other, f"K[{before}]"
    return {f"{name}_1": float(one), f"{name}_2": float(two), f"{name}_1-{name}_2": float(one) - float(two)}
