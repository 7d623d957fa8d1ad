"""Settings: what they refuse, and what they hand to either side."""

from dataclasses import replace

import pytest

from fimcheck import numerics, theory
from fimcheck.verify.claims.setting import Setting

GOOD = Setting(samples=6)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"depth": 1}, "depth = 1"),
        ({"depth": 2.5}, "depth = 2.5"),
        ({"classes": 0}, "0"),
        ({"sigma_w2": 0.0}, "sigma_w2 = 0.0"),
        ({"sigma_w2": -1.0}, "sigma_w2 = -1.0"),
        ({"sigma_w2": float("nan")}, "sigma_w2 = nan"),
        ({"sigma_b2": -0.1}, "sigma_b2 = -0.1"),
        ({"sigma_b2": float("inf")}, "sigma_b2 = inf"),
        ({"activation": "rleu"}, "'rleu'"),
        ({"hidden": "bn"}, "hidden = 'bn'"),
        ({"last": "bn"}, "last = 'bn'"),
        ({"samples": 1}, "samples = 1"),
        ({"samples": 2, "last": "batch"}, "samples = 2"),
        ({"samples": 3, "hidden": "batch"}, "samples = 3"),
        ({"classes": 2, "last": "layer"}, "C = 2"),
        ({"ratios": (1.0, 2.0)}, "2 entries"),
        ({"ratios": (1.0, -1.0, 1.0)}, "-1"),
        ({"gamma": 0.0, "hidden": "layer"}, "gamma = 0"),
        ({"samples": None}, "samples, rho"),
        ({"rho": 2.0}, "samples, rho"),
        ({"samples": None, "rho": -1.0}, "rho = -1.0"),
    ],
)
def test_bad_values_are_named_with_rule_and_remedy(bad: dict, named: str) -> None:
    with pytest.raises(ValueError) as refusal:
        replace(GOOD, **bad)
    text = str(refusal.value)
    assert named in text
    assert any(word in text.lower() for word in ("take", "give", "choose", "use", "pass", "must be")), text


def test_both_sides_are_made_from_the_same_numbers() -> None:
    setting = Setting("tanh", 4, (1.0, 2.0, 0.5, 1.0), 1.7, 0.2, classes=3, samples=9, last="mean")
    network, wide = setting.network(64), setting.wide()
    assert isinstance(network, numerics.RandomNetwork)
    assert isinstance(wide, theory.WideNetwork)
    assert network.widths == (64, 128, 32, 64, 3)
    assert [float(a) for a in wide.ratios] == [1.0, 2.0, 0.5, 1.0]
    assert (network.sigma_w2, network.sigma_b2) == (float(wide.sigma_w2), float(wide.sigma_b2)) == (1.7, 0.2)
    assert (network.last, wide.last) == ("mean", "mean")


def test_samples_follow_the_width_only_when_asked() -> None:
    assert [GOOD.samples_at(w) for w in (64, 128)] == [6, 6]
    assert [replace(GOOD, samples=None, rho=2.0).samples_at(w) for w in (64, 128)] == [32, 64]
    with pytest.raises(ValueError, match="whole number"):
        replace(GOOD, samples=None, rho=3.0).samples_at(64)
    with pytest.raises(ValueError, match="whole number"):
        replace(GOOD, ratios=(1.0, 0.3, 1.0)).network(64)


def test_seeds_differ_in_everything_they_are_drawn_for() -> None:
    seeds = {
        GOOD.seed(64, "main", 0),
        GOOD.seed(64, "main", 1),
        GOOD.seed(64, "confirm", 0),
        GOOD.seed(128, "main", 0),
        replace(GOOD, sigma_b2=0.2).seed(64, "main", 0),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert GOOD.seed(64, "main", 0) == Setting(samples=6).seed(64, "main", 0)
