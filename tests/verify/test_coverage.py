"""Exponents of models: covered where corrections are large, "bounded" only of what is, and wrong rules are caught."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from fimcheck.verify.models import coverage
from fimcheck.verify.models.coverage import FAMILY, GROWS, NOISES, Law, corrected, experiment, repeated
from fimcheck.verify.models.sharpness import TOLD, WIDTHS, verdict
from fimcheck.verify.sweep import laws
from fimcheck.verify.sweep.exponent import Exponent, judge
from fimcheck.verify.sweep.laws import WidthLaw

RUNS, NETWORKS = 30, 100
HARD = [(16.0, 0.5), (24.0, 0.5), (25.0, 0.5), (-5.0, 0.5), (25.0, 1.0), (-25.0, 1.0), (-25.0, 1.5)]


def law(amplitude: float, power: float) -> Law:
    return Law("hard", partial(corrected, amplitude, power))


def allowed(rate: float, of: int = 1) -> float:
    """Misses that a rule with this rate exceeds once in a thousand times in one of so many tests."""
    return float(stats.binom.isf(1e-3 / of, RUNS, rate))


def misses(amplitude: float, power: float, noise: coverage.Noise = NOISES[0]) -> float:
    return RUNS * (1 - repeated(law(amplitude, power), noise, RUNS, networks=NETWORKS).covered())


@pytest.mark.parametrize(("amplitude", "power"), HARD)
def test_the_interval_covers_where_the_correction_is_large(amplitude: float, power: float) -> None:
    found = repeated(law(amplitude, power), NOISES[0], RUNS, networks=NETWORKS)
    assert RUNS * (1 - found.covered()) <= allowed(0.05, len(HARD))
    assert RUNS * found.said("bounded", GROWS) <= allowed(0.02, len(HARD))


@pytest.mark.parametrize("noise", NOISES[1:], ids=lambda noise: noise.words)
def test_the_interval_covers_with_heavier_and_with_shared_noise(noise: coverage.Noise) -> None:
    assert misses(16, 0.5, noise) <= allowed(0.05, 2)


@pytest.mark.parametrize(("exponent", "amplitude"), [(0.15, 16.0), (0.2, 24.0)])
def test_slow_growth_under_a_large_correction_is_not_bounded(exponent: float, amplitude: float) -> None:
    """The cases that were called bounded in four and three of four runs."""

    def mean(width: np.ndarray) -> np.ndarray:
        return width**exponent * (1 + amplitude * width**-0.5)

    for seed in range(4):
        found, _ = experiment(Law("slow", mean), NOISES[0], WIDTHS, seed)
        assert verdict(found) != "bounded"
        assert found.low <= exponent <= found.high


def test_ordinary_growth_and_none_are_told() -> None:
    found = repeated(FAMILY[0], NOISES[0], 10)
    assert found.said("bounded") >= 0.8
    assert found.said("sharp", 1.0) == 1
    assert np.median(found.networks) <= 140


def test_a_power_of_the_width_moves_the_interval_and_changes_nothing_else() -> None:
    plain, _ = experiment(law(8, 0.5), NOISES[0], WIDTHS, 3, 50)
    moved, _ = experiment(Law("moved", lambda w: w**0.7 * (1 + 8 * w**-0.5)), NOISES[0], WIDTHS, 3, 50)
    assert (moved.low, moved.high) == pytest.approx((plain.low + 0.7, plain.high + 0.7), abs=1e-9)


def test_a_fixed_power_does_not_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutant: corrections go like 1/M alone."""
    monkeypatch.setattr(laws, "WIDTH_LAWS", (WidthLaw((1.0,), 1),))
    monkeypatch.setattr(laws, "POOR_FIT_BELOW", 0.0)
    assert misses(16, 0.5) > allowed(0.05)


def test_the_law_that_fits_best_alone_does_not_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutant: of the powers of the correction the one that fits best is taken for known."""

    def best(cells: laws.Cells) -> list[tuple[float, float]]:
        tried = [WidthLaw((r,), 1).profile(cells) for r in laws.WIDTH_LAWS[0].powers]
        return [max(tried, key=lambda each: each[2])[:2]]

    monkeypatch.setattr(laws, "_ends_in_widths", best)
    assert misses(16, 0.5) > allowed(0.05)


def test_a_verdict_by_the_middle_of_the_interval_believes_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutant: the threshold is compared with the estimate."""

    def middle(found: Exponent) -> str:
        return "sharp" if (found.low + found.high) / 2 > TOLD else "bounded"

    found = repeated(law(24, 0.5), NOISES[0], RUNS, networks=NETWORKS)
    monkeypatch.setattr(coverage, "verdict", middle)
    assert RUNS * found.said("bounded", GROWS) > allowed(0.02)


def test_an_amplitude_that_is_no_leading_term_is_refused() -> None:
    """M^1 is no M^1.5 whose amplitude is nothing, nor a difference of two terms that all but cancel."""
    width = np.array(WIDTHS, dtype=float)
    cells = laws.Cells(width, width, width, 0.005 * width, np.full(len(width), 60.0))
    found = judge(cells, "lambda_max", "M", "")
    assert 0.9 < found.low < 1 < found.high < 1.12


def test_the_fit_with_bounds_is_the_least_of_a_search() -> None:
    """Against amplitudes tried one by one, at exponents where the bounds hold the fit and where they do not."""
    width = np.array(WIDTHS, dtype=float)
    mean = 2 * (1 + 10 / width)
    cells = laws.Cells(width, width, mean, 0.01 * mean, np.full(len(width), 60.0))
    value, target = width / width[-1], cells.mean / cells.error
    for p in (-1.0, -0.2, 0.0, 0.1, 0.5):

        def missed(share: float, p: float = p) -> float:
            curve = value**p * (1 + share / value) / cells.error
            return float(((target - (curve @ target) / (curve @ curve) * curve) ** 2).sum())

        searched: Any = minimize_scalar(missed, bounds=(laws.LEADS - 1, 1 / laws.LEADS - 1), options={"xatol": 1e-10})
        tried = min(searched.fun, missed(laws.LEADS - 1), missed(1 / laws.LEADS - 1))
        assert WidthLaw((1.0,), 1).chi2(cells, np.array([p]))[0] == pytest.approx(tried, rel=1e-6, abs=1e-6)


def test_the_command_prints_the_table(fimcheck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "FAMILY", FAMILY[:1])
    monkeypatch.setattr(coverage, "OUTSIDE", coverage.OUTSIDE[:1])
    done = fimcheck("calibrate", "sharpness", "--runs", "1")
    assert "| ln M |" in done.out, done.err
    page = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()
    head = next(line for line in done.out.splitlines() if line.startswith("| mean over"))
    assert head in page
    assert re.search(r"\| ln M \|", page)
