"""Judges whether a prediction of `theory` and a measurement of `numerics` agree."""

from verify.check import Effort, NotVerified, Verdict, check
from verify.claim import Claim, OrderClaim, OutputClaim
from verify.claims import CLAIMS, add_claim
from verify.draws import Draws
from verify.kit import conformance
from verify.network_claims import OverlapClaim, add_network_claim, network_claims
from verify.setting import Setting, SettingError

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
    "check",
    "conformance",
    "network_claims",
]
