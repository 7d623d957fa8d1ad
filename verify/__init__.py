"""Judges whether a prediction of `theory` and a measurement of `numerics` agree.

Names are imported when they are used: the command line needs no torch to print a formula.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fimcheck.verify.claims.claim import Claim
    from fimcheck.verify.claims.composition import OverlapClaim, add_network_claim, network_claims
    from fimcheck.verify.claims.kinds import OrderClaim, OutputClaim
    from fimcheck.verify.claims.paper import CLAIMS, add_claim
    from fimcheck.verify.claims.setting import Setting
    from fimcheck.verify.claims.wording import SettingError
    from fimcheck.verify.draws.draws import Draws
    from fimcheck.verify.examine.conformance import conformance
    from fimcheck.verify.judge.verdict import Effort, NotVerified, Verdict, check
    from fimcheck.verify.models.assertions import assert_bounded, coordinate_check

_MODULES = {
    "claims.claim": ("Claim",),
    "claims.kinds": ("OrderClaim", "OutputClaim"),
    "claims.paper": ("CLAIMS", "add_claim"),
    "draws.draws": ("Draws",),
    "examine.conformance": ("conformance",),
    "claims.composition": ("OverlapClaim", "add_network_claim", "network_claims"),
    "models.assertions": ("assert_bounded", "coordinate_check"),
    "claims.setting": ("Setting",),
    "claims.wording": ("SettingError",),
    "judge.verdict": ("Effort", "NotVerified", "Verdict", "check"),
}

__all__ = [
    "CLAIMS",
    "Claim",
    "Draws",
    "Effort",
    "NotVerified",
    "OrderClaim",
    "OutputClaim",
    "OverlapClaim",
    "Setting",
    "SettingError",
    "Verdict",
    "add_claim",
    "add_network_claim",
    "assert_bounded",
    "check",
    "conformance",
    "coordinate_check",
    "network_claims",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"fimcheck.verify.{module}"), name)
    raise AttributeError(f"module 'verify' has no attribute {name!r}")
