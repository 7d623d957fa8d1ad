"""Judges whether a prediction of `theory` and a measurement of `numerics` agree."""

from verify.check import Effort, NotVerified, Verdict, check
from verify.claim import Claim
from verify.claims import CLAIMS
from verify.draws import Draws
from verify.setting import Setting, SettingError

__all__ = ["CLAIMS", "Claim", "Draws", "Effort", "NotVerified", "Setting", "SettingError", "Verdict", "check"]
