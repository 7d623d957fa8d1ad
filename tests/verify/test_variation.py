"""Settings varied for a diagnosis, and shrunk to the simplest that still fails."""

import shlex
from dataclasses import dataclass, replace

import numpy as np
import pytest

from fimcheck import theory
from fimcheck.theory.network.composition import Composed
from fimcheck.verify import CLAIMS, Claim, Effort, Setting, SettingError, check
from fimcheck.verify.examine.variation import FAILURES, replay, shrink, varied_settings
from fimcheck.verify.judge.suite import default_setting, odd

RICH = Setting(
    "gelu", depth=5, ratios=(0.5, 2.0, 1.0, 1.5, 1.0), sigma_w2=1.7, sigma_b2=0.3, classes=4, samples=12,
    hidden="layer", last="batch", gamma=1.25, beta=0.5, last_gamma=2.0,
)  # fmt: skip
SIMPLEST = Setting("linear", 2, sigma_w2=1, sigma_b2=0, samples=3, hidden="layer", last="batch")
MOST_CALLS = 21


def logarithms(s: Setting) -> list[float]:
    """What settings of one depth may vary, the constant first, then sigma_w2; last T and rho."""
    symbols = [s.sigma_w2, s.sigma_b2 or 1, s.gamma, s.last_gamma, s.classes, *s.ratios, s.samples or 1, s.rho or 1]
    return [1.0, *map(float, np.log(symbols))]


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_varied_settings_tell_every_symbol_apart(claim: Claim) -> None:
    """Full rank of the logarithms of all that varies, so that no product of powers stands for another one."""
    activation = (*claim.activations, "tanh" if claim.centered else "relu")[0]
    found = varied_settings(default_setting(claim, Setting(activation, samples=6)), claim)
    assert len(set(found)) == len(found) <= 13
    for s in found:
        claim.admit(s)
        assert not claim.centered or (odd(s.activation) and s.sigma_b2 == 0)
    design = np.array([logarithms(s) for s in found if s.depth == found[0].depth])
    varied = np.ptp(design, axis=0) > 0
    assert varied[1]
    assert varied[-1 if claim.samples == "proportional" else -2]
    varied[0] = True  # a number
    assert np.linalg.matrix_rank(design[:, varied]) == varied.sum()


def test_varied_settings_keep_the_depth_of_an_order_parameter() -> None:
    def depths(claim: Claim) -> set[int]:
        return {s.depth for s in varied_settings(default_setting(claim, Setting("relu", samples=6)), claim)}

    assert depths(CLAIMS["hidden_layer.tq1[2]"]) == {3}
    assert depths(CLAIMS["plain.m"]) == {3, 4}


def test_a_setting_the_claim_is_not_about_is_refused() -> None:
    with pytest.raises(SettingError, match="last = 'mean'"):
        varied_settings(Setting(samples=6), CLAIMS["last_mean.m"])


@pytest.mark.parametrize(
    ("cause", "differs", "calls"),
    [
        (lambda _: True, {}, 1),
        (lambda s: s.gamma != 1, {"gamma": 1.25}, 11),
        (lambda s: s.gamma != 1 and s.depth >= 3, {"gamma": 1.25, "depth": 3, "ratios": 1.0}, 12),
        (lambda s: s.samples >= 5 and s.classes >= 3, {"samples": 8, "classes": 3}, 15),
        (lambda s: len(set(s.ratios)) > 1, {"ratios": (0.5, 1.0)}, 11),
        (lambda s: s.activation == "gelu", {"activation": "gelu"}, 11),
        (lambda s: s.sigma_b2 > 0 and s.sigma_w2 != 1, {"sigma_b2": 0.3, "sigma_w2": 2.0}, 12),
    ],
)
def test_shrinking_reaches_the_known_simplest_setting(cause, differs: dict, calls: int) -> None:
    asked = []

    def fails(setting: Setting) -> bool:
        asked.append(setting)
        return cause(setting)

    assert shrink(RICH, fails) == replace(SIMPLEST, **({"ratios": (1.0,)} | differs))
    assert len(asked) == calls
    assert len(set(asked)) == calls, "no setting is tested twice"


def test_shrinking_ends_after_a_bounded_number_of_calls() -> None:
    asked = []
    assert shrink(RICH, lambda s: bool(asked.append(s))) == RICH
    assert len(asked) <= MOST_CALLS


def test_a_refused_setting_is_never_returned() -> None:
    def fails(setting: Setting) -> bool:
        if setting.depth < 4:
            raise SettingError("about layer 4")
        return True

    assert shrink(RICH, fails).depth == 4


@dataclass(frozen=True)
class OffForGamma(Claim):
    """The mean eigenvalue, with a prediction that is right for gamma = 1 only."""

    def prediction(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction:
        right = super().prediction(setting, wide)
        return replace(right, formula=right.formula * setting.gamma**2)


def test_a_wrong_claim_shrinks_by_its_verdicts() -> None:
    claim = OffForGamma("off", "", "m", "m", hidden="layer")
    start = Setting("relu", depth=3, classes=2, samples=4, hidden="layer", gamma=1.5)

    def fails(setting: Setting) -> bool:
        return check(claim, setting, Effort(looks=1, budget=1e7)).status in FAILURES

    simplest = Setting("linear", depth=2, sigma_w2=1, sigma_b2=0, samples=2, hidden="layer", gamma=1.5)
    assert shrink(start, fails) == simplest
    assert not fails(replace(simplest, gamma=1.0))


def test_the_replay_command_names_the_same_setting() -> None:
    words = shlex.split(replay("plain.q1[2]", RICH))
    assert words[:4] == ["fimcheck", "verify", "plain.q1[2]", "--setting"]
    assert Setting.parse(words[4]) == RICH
    assert len(words) == 5
