"""Claims over generated settings, and identities that need no statistics."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, note, settings

from fimcheck import numerics
from fimcheck.verify import CLAIMS, Effort, Setting, check
from fimcheck.verify.examine.strategies import settings_for
from fimcheck.verify.examine.variation import replay

EXAMPLES = 4
# Error rates are split over the claims and their examples.
CHEAP = ("plain.m", "plain.lambda_perp", "last_mean.m", "last_batch.m", "hidden_layer.m")
EFFORT = Effort(eps=0.1, error_rate=1e-3 / (EXAMPLES * len(CHEAP)), looks=2, budget=1e8)
GENERATED = settings(derandomize=True, deadline=None, database=None, max_examples=EXAMPLES)


@pytest.mark.parametrize("name", CHEAP)
def test_claims_hold_at_generated_settings(name: str) -> None:
    """No generated setting may DISAGREE, MISFIT or be INVALID, and most of them must be resolved."""
    statuses = []

    @GENERATED
    @given(settings_for(CLAIMS[name], max_depth=4))
    def run(setting: Setting) -> None:
        verdict = check(CLAIMS[name], setting, EFFORT)
        note(f"replay: {replay(name, setting)}")
        statuses.append(verdict.status)
        assert verdict.status in ("AGREE", "INCONCLUSIVE"), str(verdict)

    run()
    assert statuses.count("AGREE") > len(statuses) / 2, statuses


@GENERATED
@given(settings_for(CLAIMS["last_batch.m"]))
def test_a_setting_is_read_back_from_its_text(setting: Setting) -> None:
    assert Setting.parse(str(setting)) == setting


def _measured(setting: Setting, *quantities: str, width: int = 32) -> dict[str, np.ndarray]:
    return numerics.measure(setting.network(width), setting.samples_at(width), [1, 2, 3], quantities).draws


@GENERATED
@given(settings_for(CLAIMS["last_mean.m"]))
def test_mean_subtraction_removes_exactly_the_mean_gradients(setting: Setting) -> None:
    """tr G loses C lambda_1, and nothing else, when the mean over samples is subtracted (same networks, same seeds)."""
    plain = _measured(replace(setting, last="none"), "m", "lambda_1")
    mean = _measured(setting, "m", "lambda_1")
    parameters = setting.network(32).parameters
    assert mean["m"] * parameters == pytest.approx(
        plain["m"] * parameters - setting.classes * plain["lambda_1"], rel=1e-9
    )
    assert mean["lambda_1"] == pytest.approx(0, abs=1e-9 * plain["lambda_1"].max())


@GENERATED
@given(settings_for(CLAIMS["plain.s"]))
def test_moments_bound_the_largest_eigenvalue(setting: Setting) -> None:
    """tr F^2 / tr F <= lambda_max <= sqrt(tr F^2), for every network."""
    draws, parameters = _measured(setting, "m", "s", "lambda_max"), setting.network(32).parameters
    assert np.all(draws["s"] / draws["m"] <= draws["lambda_max"] * (1 + 1e-12))
    assert np.all(draws["lambda_max"] ** 2 <= draws["s"] * parameters * (1 + 1e-12))


@GENERATED
@given(settings_for(CLAIMS["last_batch.m"]))
def test_last_gamma_multiplies_the_spectrum_by_its_square(setting: Setting) -> None:
    one = _measured(replace(setting, last_gamma=1.0), "m", "lambda_max", "Q1")
    two = _measured(replace(setting, last_gamma=2.0), "m", "lambda_max", "Q1")
    for quantity, values in one.items():
        assert two[quantity] == pytest.approx(4 * values, rel=1e-9)


def test_relu_is_homogeneous_in_sigma_w() -> None:
    """Without biases f scales like sigma_w^L and its weight gradients like sigma_w^(L-1)."""
    small = replace(Setting("relu", samples=5, sigma_b2=0.0), sigma_w2=1.0)
    large = replace(small, sigma_w2=4.0)
    networks = [replace(s.network(32), biases=False) for s in (small, large)]
    a, b = (numerics.measure(n, 5, [1, 2], ["m", "lambda_max"]).draws for n in networks)
    for quantity, values in a.items():
        assert b[quantity] == pytest.approx(4.0 ** (small.depth - 1) * values, rel=1e-9)
    # Mutant: the identity must not hold with a power that is wrong by one layer.
    assert b["m"] != pytest.approx(4.0**small.depth * a["m"], rel=1e-9)


@pytest.mark.parametrize(
    ("text", "named"),
    [("relu T=six", "six"), ("relu T", "'T'"), ("relu width=3", "width=3"), ("rleu T=6", "rleu"), ("", "")],
)
def test_a_malformed_setting_is_refused(text: str, named: str) -> None:
    with pytest.raises(ValueError) as refusal:
        Setting.parse(text)
    assert named in str(refusal.value)
