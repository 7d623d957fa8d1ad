"""The search for the missing factor, on ratios whose cause is known and on a network whose theory is wrong."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import pi

import numpy as np
import pytest

from fimcheck import theory
from fimcheck.theory.network.composition import Composed
from fimcheck.verify import CLAIMS, Effort, Setting, check
from fimcheck.verify.claims.kinds import OrderClaim
from fimcheck.verify.examine.factors import propose
from fimcheck.verify.examine.observation import Observation, observe
from fimcheck.verify.examine.variation import varied_settings
from fimcheck.verify.judge.suite import default_setting

TRIALS = 25
LAYER = varied_settings(
    default_setting(CLAIMS["hidden_layer.tq1[2]"], Setting("relu", samples=6)), CLAIMS["hidden_layer.tq1[2]"]
)


def q1(s: Setting) -> float:
    return s.sigma_w2 * 0.7 * s.gamma**2 + s.sigma_b2


CAUSES: dict[str, Callable[[Setting], float]] = {
    "gamma^2": lambda s: s.gamma**2,
    "1/gamma": lambda s: 1 / s.gamma,
    "sigma_w2": lambda s: s.sigma_w2,
    "T/(T-1)": lambda s: (s.samples or 0) / ((s.samples or 0) - 1),
    "q_1": q1,
    "1/q_1^2": lambda s: q1(s) ** -2,
    "C": lambda s: s.classes,
    "(C-1)/C": lambda s: 1 - 1 / s.classes,
    "alpha_1": lambda s: s.ratios[1],
    "2": lambda _: 2,
    "1/pi": lambda _: 1 / pi,
    "sqrt(sigma_w2)": lambda s: s.sigma_w2**0.5,
    "gamma^2 T/(T-1)": lambda s: s.gamma**2 * (s.samples or 0) / ((s.samples or 0) - 1),
    "2/sigma_w2": lambda s: 2 / s.sigma_w2,
}


def observations(cause: Callable[[Setting], float], seed: int, error: float = 0.01) -> list[Observation]:
    """Ratios with normal errors between a half and twice the given relative one."""
    rng = np.random.default_rng(seed)
    found = []
    for s in LAYER:
        size = error * cause(s) * float(rng.uniform(0.5, 2))
        found.append(Observation(s, cause(s) + size * float(rng.normal()), size, {"q_1": q1(s)}))
    return found


@pytest.mark.slow
def test_the_true_cause_is_first_or_second_in_95_of_100_trials() -> None:
    places = {cause: [0, 0, 0] for cause in CAUSES}
    for k, (name, cause) in enumerate(CAUSES.items()):
        for trial in range(TRIALS):
            found = [p.factor for p in propose(observations(cause, 1000 * k + trial)).proposals]
            places[name][min(found.index(name), 2) if name in found else 2] += 1
    assert all(first + second >= 0.95 * TRIALS for first, second, _ in places.values()), places


def test_no_departure_is_said_so() -> None:
    found = propose(observations(lambda _: 1.0, 3))
    assert found.proposals[0].factor == "1"
    assert str(found).startswith("there is no departure: the ratio equals 1 at all 11 settings")


@pytest.mark.parametrize("seed", range(10))
def test_a_cause_outside_of_the_list_proposes_nothing(seed: int) -> None:
    """The mutant: a sum, an exponent of 0.7, and ratios without any law. A search that fits anything fails here."""
    rng = np.random.default_rng(seed)
    lawless = {s: float(rng.uniform(0.5, 2)) for s in LAYER}
    for cause in (lambda s: 1 + 0.4 * s.gamma, lambda s: s.sigma_w2**0.7, lambda s: lawless[s]):
        found = propose(observations(cause, seed))
        assert found.proposals == ()
        assert "none of" in found.reason


def test_the_stated_number_of_chance_fits_is_kept() -> None:
    """Truths drawn from the simple candidates: the wrong ones that fit too are at most as many as stated."""
    tables = [o.symbols for o in observations(lambda _: 1.0, 0)]
    names = [name for name in tables[0] if all(t[name] > 0 for t in tables) and name != "L"]
    rng = np.random.default_rng(8)
    excess = []
    for trial in range(100):
        first, second = rng.choice(names, 2, replace=False)
        sign = float(rng.choice([-1, 1]))

        def cause(s: Setting, first=first, second=second, sign=sign) -> float:
            known = Observation(s, 1, 1, {"q_1": q1(s)}).symbols
            return known[first] * known[second] ** sign

        found = propose(observations(cause, trial, error=0.03))
        excess.append(max(0, len(found.proposals) - 1) - found.chance)
        assert found.chance <= 0.5
    wrong = np.array(excess)
    assert wrong.mean() <= 3 * wrong.std(ddof=1) / 10, wrong.mean()
    assert wrong.max() > 0, "no wrong candidate ever fitted: the test tests nothing"


def test_large_errors_end_the_search_earlier() -> None:
    fine, coarse = (propose(observations(CAUSES["gamma^2"], 5, error=e)) for e in (0.003, 0.05))
    assert coarse.searched < fine.searched
    assert max(p.complexity for p in fine.proposals) <= 4


def test_settings_that_do_not_tell_are_refused() -> None:
    same = [replace(o, setting=LAYER[0]) for o in observations(CAUSES["2"], 1)]
    assert "no symbol differs" in propose([replace(o, extra={}) for o in same]).reason
    assert "2 settings cannot tell" in propose(observations(CAUSES["2"], 1)[:2]).reason
    noisy = propose(observations(CAUSES["gamma^2"], 1, error=0.5))
    assert noisy.proposals == ()
    assert "do not tell candidate factors apart" in noisy.reason


def test_symbols_that_vary_only_together_are_named_together() -> None:
    tied = [o for o in observations(CAUSES["alpha_1"], 1) if len(set(o.setting.ratios)) == 1]
    assert propose(tied).proposals[0].factor == "(alpha_0 or alpha_1 or alpha_2)"


def test_symbols_that_did_not_vary_are_named() -> None:
    fixed = [o for o in observations(CAUSES["gamma^2"], 1) if o.setting.samples == 6 and o.setting.classes == 2]
    found = propose(fixed)
    assert found.proposals[0].factor == "gamma^2"
    assert {"T", "T-1", "C"} <= set(found.still)
    assert "not varied: " in str(found)


@pytest.mark.parametrize("bad", [{"ratio": np.nan}, {"ratio": -1.0}, {"error": 0.0}, {"error": np.inf}])
def test_a_ratio_without_a_factor_is_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="leave this setting out"):
        Observation(**{"setting": LAYER[0], "ratio": 1.0, "error": 0.1, **bad})


@dataclass(frozen=True)
class ForgottenGamma(OrderClaim):
    """The backward overlap as it would be without the scale of the normalization."""

    def prediction(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction:
        right = super().prediction(setting, wide)
        return replace(right, formula=right.formula / setting.gamma**2)

    def widths(self, setting: Setting) -> tuple[int, ...]:  # noqa: ARG002
        return (32, 64, 128, 256, 512)


def test_a_forgotten_gamma_is_found_on_networks() -> None:
    claim = ForgottenGamma(
        "forgotten", "", "tq1", "tq1", hidden="layer", layer=2, source="a theory made wrong for this test"
    )
    start = Setting("relu", classes=2, samples=6, hidden="layer", gamma=1.25, beta=1.0)
    varied = varied_settings(start, claim)
    chosen = [s for s in varied if s.ratios == start.ratios and s.sigma_b2 == start.sigma_b2] + varied[-1:]
    verdicts = [check(claim, s, Effort(looks=1, budget=1e7)) for s in chosen]
    found = propose([observe(v) for v in verdicts])
    assert found.proposals[0].factor == "gamma^2", found
    assert {"q_1", "q_1-q_2"} <= set(observe(verdicts[0]).symbols)
