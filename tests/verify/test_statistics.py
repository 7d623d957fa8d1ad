"""The tests of the test: on data whose answer is known, the rule keeps its promised error rates."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from fimcheck.verify.judge.calibration import (
    RULE,
    THEORIES,
    WIDTHS,
    Theory,
    bound_outcomes,
    calibration_table,
    outcomes,
    toy,
)
from fimcheck.verify.rule.limit import extrapolate
from fimcheck.verify.rule.rule import Rule
from fimcheck.verify.rule.statistics import SLACK, judge, minimum_widths, plan, settle


def test_the_right_theory_stays_open_at_most_twice_in_400() -> None:
    """Open where another power happens to fit far better and leads out of the band."""
    found = outcomes(THEORIES[0], 400)
    assert found.count("AGREE") + found.count("INCONCLUSIVE") == 400
    assert found.count("AGREE") >= 398


@pytest.mark.parametrize("scale", [1.05, 0.95])
def test_a_theory_wrong_by_eps_agrees_at_most_once_in_400(scale: float) -> None:
    assert outcomes(Theory("", scale=scale), 400).count("AGREE") <= 1


@pytest.mark.parametrize("scale", [1.1, 0.9, 2.0])
def test_a_theory_wrong_by_twice_eps_disagrees_always(scale: float) -> None:
    assert outcomes(Theory("", scale=scale), 200).count("DISAGREE") == 200


@pytest.mark.parametrize(("exponent", "match"), [(0.05, 1), (-0.05, 1), (0.5, 1024), (-0.5, 1024), (0.5, 256)])
def test_a_wrong_exponent_fails_always(exponent: float, match: int) -> None:
    """Also when its constant was tuned to be right at one width. Both names of failure are right here."""
    got = outcomes(Theory("", exponent=exponent, match=match), 200)
    assert got.count("DISAGREE") + got.count("MISFIT") == 200


@pytest.mark.parametrize("theory", [t for t in THEORIES if t.slow[0] != 0], ids=lambda t: t.words)
def test_slow_corrections_are_not_taken_for_fast_ones(theory: Theory) -> None:
    """Without the slower powers 75 to 85 of 100 of the wrong ones agree."""
    found = outcomes(theory, 30)
    if theory.scale == 1:
        assert found.count("AGREE") >= 28, "a right theory with a small slow correction still agrees"
    else:
        assert found.count("AGREE") <= 6


def test_bounds_are_told_by_their_exponent() -> None:
    assert bound_outcomes(0.0, 20).count("AGREE") == 20
    assert "AGREE" not in bound_outcomes(0.2, 20) + bound_outcomes(0.2, 20, "at least")


def test_the_calibration_table_counts_every_run() -> None:
    rows = calibration_table(20)[0].split("\n\n")[0].splitlines()[2:]
    assert len(rows) == len(THEORIES)
    assert all(sum(int(cell) for cell in row.split("|")[2:7]) == 20 for row in rows)


def test_a_fixed_tolerance_at_one_width_rejects_true_theory() -> None:
    """The mutant of the whole rule: 5% at one width, on one draw, fails a theory that is right."""
    true = [abs(toy(i)("main", (50,) * 5)[-1][0] - 1) < 0.05 for i in range(200)]
    assert not all(true)


def test_interval_covers_at_its_stated_rate() -> None:
    """Coverage of the interval at one-sided 1%, per side, over 4000 synthetic experiments."""
    tail, n, missed = 0.01, 4000, 0
    for i in range(n):
        limit = extrapolate(WIDTHS, toy(i)("main", (60, 50, 40, 30, 30)), (1.0,))
        missed += abs(limit.value - 1) > limit.half_width(tail)
    low, high = stats.binom.interval(0.999, n, 2 * tail)
    assert low <= missed <= high


def test_fit_p_is_uniform_under_the_null() -> None:
    p = [extrapolate(WIDTHS, toy(i)("main", (60, 50, 40, 30, 30)), (1, 2)).fit_p for i in range(2000)]
    assert stats.kstest(p, "uniform").pvalue > 1e-4


def test_fit_p_uniformity_test_can_fail() -> None:
    """Mutant: without the correction for estimated variances the p-values are visibly too small."""
    p = []
    for i in range(2000):
        draws = toy(i)("main", (6,) * 5)
        z = [
            (d.mean() - 1 + 2 / w - 3 / w**2) / (d.std() / np.sqrt(d.size)) for d, w in zip(draws, WIDTHS, strict=True)
        ]
        p.append(stats.chi2.sf(np.sum(np.square(z)), 5))
    assert stats.kstest(p, "uniform").pvalue < 1e-4


def test_a_detectable_error_is_detected_as_promised() -> None:
    """A theory wrong by the reported smallest discrepancy fails in at least 90% of experiments."""
    rule = Rule(eps=0.05, error_rate=0.001, looks=1, relation="equals", powers=(1, 2))
    counts = (200, 150, 100, 70, 50)
    typical = np.median([judge(WIDTHS, toy(i)("main", counts), rule).detectable for i in range(50)])
    failed = sum(
        settle(WIDTHS, counts, toy(i, Theory("", scale=1 + typical)), rule)[0].outcome == "DISAGREE" for i in range(300)
    )
    assert stats.binomtest(failed, 300, 0.9, alternative="less").pvalue > 1e-3


@pytest.mark.parametrize(
    ("relation", "scale", "expected"),
    [
        ("at least", 0.5, "AGREE"),
        ("at least", 2.0, "DISAGREE"),
        ("at most", 2.0, "AGREE"),
        ("at most", 0.5, "DISAGREE"),
        ("at least", 1.0, "AGREE"),
        ("at most", 1.0, "AGREE"),
    ],
)
def test_bounds_are_one_sided(relation, scale: float, expected: str) -> None:
    rule = Rule(eps=0.05, error_rate=0.001, looks=4, relation=relation, powers=(1, 2))
    finding, _ = settle(WIDTHS, (200, 150, 100, 70, 50), toy(3, Theory("", scale=scale)), rule)
    assert finding.outcome == expected


def test_noise_gives_inconclusive_not_a_pass() -> None:
    finding, looks = settle(WIDTHS, (4,) * 5, toy(0, noise=8.0), RULE)
    assert (finding.outcome, looks) == ("INCONCLUSIVE", RULE.looks)
    assert finding.detectable > 0.2


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda d: np.append(d, np.nan), "not finite"),
        (lambda d: np.append(d, np.inf), "not finite"),
        (lambda d: np.ones_like(d), "same up to rounding"),
        (lambda d: d[:3], "at least 4"),
        (lambda d: 1 + 1e-16 * d, "same up to rounding"),
    ],
)
def test_spoilt_draws_are_invalid(spoil, reason: str) -> None:
    draws = list(toy(1)("main", (30,) * 5))
    draws[2] = spoil(draws[2])
    finding = judge(WIDTHS, draws, RULE)
    assert finding.outcome == "INVALID"
    assert reason in finding.reason


@pytest.mark.parametrize(
    ("ratio", "relation", "outcome"),
    [
        (1.0, "equals", "AGREE"),
        (1.04, "equals", "AGREE"),
        (1.06, "equals", "DISAGREE"),
        (0.9, "equals", "DISAGREE"),
        (-1.0, "at most", "DISAGREE"),
        (0.3, "at most", "AGREE"),
        (0.3, "at least", "DISAGREE"),
        (0.0, "equals", "DISAGREE"),
    ],
)
def test_what_nothing_changes_is_judged_as_it_is(ratio: float, relation, outcome: str) -> None:
    """A deterministic quantity has no error: a right prediction of it is AGREE, and INVALID would be no answer."""
    draws = [np.asarray(ratio * (1 + 1e-15 * np.arange(30)), dtype=np.float64) for _ in WIDTHS]
    assert judge(WIDTHS, draws, replace(RULE, relation=relation)).outcome == outcome


def test_too_few_widths_are_invalid() -> None:
    draws = toy(1)("main", (30,) * 5)
    assert judge(WIDTHS[:4], draws[:4], RULE).outcome == "INVALID"
    assert minimum_widths(RULE.powers) == 5


def exact(means, errors, n: int = 400) -> list[np.ndarray]:
    """Draws whose means and standard errors are exactly these."""
    rng = np.random.default_rng(0)
    draws = []
    for mean, error in zip(means, errors, strict=True):
        z = rng.normal(size=n)
        draws.append(mean + error * np.sqrt(n) * (z - z.mean()) / z.std(ddof=1))
    return draws


def test_no_agreement_rests_on_the_smallest_width() -> None:
    """The smallest width, off the line of the others but not visibly so, pulls the whole interval into the band."""
    line = [1.02] + [1.02 + 0.01 * (1 - 4 * WIDTHS[0] / w) for w in WIDTHS[1:]]
    draws = exact(line, (0.002, 0.004, 0.004, 0.004, 0.004))
    finding = judge(WIDTHS, draws, RULE)
    assert finding.limit is not None
    low, high = RULE.band
    half = finding.limit.half_width(RULE.tail)
    assert low < finding.limit.value - half
    assert finding.limit.value + half < high, "without the guard this would be AGREE"
    assert finding.outcome == "INCONCLUSIVE"


def test_a_poor_fit_is_no_agreement() -> None:
    """Narrow, inside the band, and on no curve that the claim allows: p is small, not yet small enough for MISFIT."""
    draws = exact((1.0, 1.00093, 1.0, 1.00081, 1.0), (0.0002,) * 5)
    finding = judge(WIDTHS, draws, RULE)
    assert finding.limit is not None
    assert RULE.tail < finding.limit.fit_p < 0.001
    assert finding.outcome == "INCONCLUSIVE"


def test_invalid_fresh_draws_make_the_verdict_invalid() -> None:
    right = toy(1, Theory("", scale=1.2))

    def sample(block: str, counts):
        draws = [d.copy() for d in right(block, counts)]
        if block == "confirm":
            draws[0][0] = np.nan
        return draws

    assert settle(WIDTHS, (200, 150, 100, 70, 50), sample, RULE)[0].outcome == "INVALID"


def test_failures_on_opposite_sides_do_not_confirm_each_other() -> None:
    def sample(block: str, counts):
        return exact([1.2 if block == "main" else 0.8] * 5, [0.001] * 5, counts[0])

    assert settle(WIDTHS, (50,) * 5, sample, RULE)[0].outcome == "INCONCLUSIVE"


def test_the_slack_of_a_bound_counts_in_what_would_be_detected() -> None:
    at_least = Rule(0.05, 0.001, 4, "at least", (1, 2))
    at_most = Rule(0.05, 0.001, 4, "at most", (1, 2))
    assert judge(WIDTHS, exact([2.6] * 5, [0.01] * 5), at_least).detectable > 1.6
    assert judge(WIDTHS, exact([0.5] * 5, [0.01] * 5), at_most).detectable > 1.0
    assert judge(WIDTHS, exact([0.001] * 5, [0.01] * 5), at_most).detectable == np.inf


def test_extrapolate_equals_an_exact_solution() -> None:
    """Noise-free means on a law inside the model give back theta to rounding, weighted or not."""
    rng = np.random.default_rng(1)
    draws = []
    for w in WIDTHS:
        d = rng.normal(size=40)
        draws.append(d - d.mean() + 0.7 - 3 / w + 11 / w**2)
    assert extrapolate(WIDTHS, draws, (1, 2)).value == pytest.approx(0.7, rel=1e-10)


def test_plan_reaches_the_wanted_half_width() -> None:
    pilot = toy(5)("main", (40,) * 5)
    counts = plan(WIDTHS, pilot, [w**2 for w in WIDTHS], RULE, budget=np.inf)
    finding = judge(WIDTHS, toy(6)("main", counts), RULE)
    assert finding.guard is not None
    # The pilot's own error in a standard deviation is about 1/sqrt(2*40), 11%.
    assert finding.guard.half_width(RULE.tail) < RULE.eps / 2 * 1.4
    small = plan(WIDTHS, pilot, [w**2 for w in WIDTHS], RULE, budget=1.0)
    assert small == (40,) * 5
    bound = plan(WIDTHS, pilot, [w**2 for w in WIDTHS], replace(RULE, relation="at least"), budget=np.inf)
    assert all(abs(b - max(40, n / SLACK**2)) <= 1 for b, n in zip(bound, counts, strict=True))


@pytest.mark.parametrize(
    "bad",
    [
        {"eps": 0.0},
        {"eps": float("nan")},
        {"error_rate": 0.7},
        {"looks": 0},
        {"powers": (1,)},
        {"powers": (2, 1)},
    ],
)
def test_a_malformed_rule_is_refused(bad: dict) -> None:
    good = {"eps": 0.05, "error_rate": 0.001, "looks": 4, "relation": "equals", "powers": (1, 2)}
    with pytest.raises(ValueError, match="must"):
        Rule(**{**good, **bad})


@pytest.mark.parametrize("relation", ["at least", "at most"])
def test_a_bound_that_is_not_positive_is_invalid(relation) -> None:
    """A negative number bounds nothing from above that is positive, yet lies below every band of the ratio."""
    generator = np.random.default_rng(0)
    draws = [2 + 0.1 * generator.normal(size=50) for _ in WIDTHS]
    rule = replace(RULE, relation=relation)
    assert judge(WIDTHS, [-d for d in draws], rule).outcome == "INVALID"
    assert judge(WIDTHS, draws, rule).outcome != "INVALID"
    assert judge(WIDTHS, [d - 3 for d in draws], replace(RULE, relation="equals")).outcome != "INVALID"


def _growing(relation: str, constant: float, power: float) -> str:
    """What the rule says of a ratio constant M^power (1 - M^-1/2 / 2) that is on the right side at every width."""
    widths, counts = (64, 128, 256, 512, 1024, 2048), (200, 150, 100, 70, 50, 40)

    def sample(block: str, now: Sequence[int]) -> list[np.ndarray]:
        means = (constant * w**power * (1 - 0.5 * w**-0.5) for w in widths)
        rngs = (np.random.default_rng([w, len(block)]) for w in widths)
        return [mean * rng.gamma(w / 5, 5 / w, n) for mean, rng, w, n in zip(means, rngs, widths, now, strict=True)]

    return settle(widths, counts, sample, Rule(0.05, 0.001, 4, relation, (0.5, 1, 1.5)))[0].outcome  # type: ignore[arg-type]


@pytest.mark.parametrize("power", [0.1, 0.125, 0.25, 0.4])
@pytest.mark.parametrize(("relation", "sign", "constant"), [("at most", 1, 0.02), ("at least", -1, 20.0)])
def test_bound_of_the_wrong_exponent_never_agrees(relation: str, sign: int, constant: float, power: float) -> None:
    assert _growing(relation, constant, 0) == "AGREE"
    assert _growing(relation, constant, sign * power) != "AGREE"
    if power > 0.2:
        assert _growing(relation, constant, sign * power) in ("DISAGREE", "MISFIT")
