"""Judges whether a prediction of `theory` and a measurement of `numerics` agree.

Names are imported when they are used: the command line needs no torch to print a formula.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verify.claim import Claim, OrderClaim, OutputClaim
    from verify.claims import CLAIMS, add_claim
    from verify.composition_claims import OverlapClaim, add_network_claim, network_claims
    from verify.draws import Draws
    from verify.kit import conformance
    from verify.models.assertions import assert_bounded, coordinate_check
    from verify.setting import Setting, SettingError
    from verify.verdict import Effort, NotVerified, Verdict, check

_MODULES = {
    "claim": ("Claim", "OrderClaim", "OutputClaim"),
    "claims": ("CLAIMS", "add_claim"),
    "draws": ("Draws",),
    "kit": ("conformance",),
    "composition_claims": ("OverlapClaim", "add_network_claim", "network_claims"),
    "models.assertions": ("assert_bounded", "coordinate_check"),
    "setting": ("Setting", "SettingError"),
    "verdict": ("Effort", "NotVerified", "Verdict", "check"),
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
            return getattr(import_module(f"verify.{module}"), name)
    raise AttributeError(f"module 'verify' has no attribute {name!r}")
