"""Exponents: covered at the stated rate on data whose exponent is known, and right on networks."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from fimcheck.verify import Setting
from fimcheck.verify.cli import scaling
from fimcheck.verify.rule.regression import regress
from fimcheck.verify.sweep.exponent import STEPS, WANTED, Variable, exponent, judge, name_of
from fimcheck.verify.sweep.laws import Cells, _fit_p, interval

Law = Callable[[np.ndarray, np.ndarray], np.ndarray]
WIDTHS = tuple(32 << k for k in range(6))
RUNS = 100
PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


def synthetic(seed: int, law: Law, error: float, fixed_width: bool, draws: int = 60) -> Cells:
    """Means that follow a law of (value, width), with errors estimated from normal draws."""
    rng = np.random.default_rng(seed)
    width = np.array(WIDTHS[1:] if fixed_width else WIDTHS, dtype=float)
    value = width
    if fixed_width:
        value, width = (g.ravel() for g in np.meshgrid([4 * s for s in STEPS], width, indexing="ij"))
    true = law(value, width)
    mean = true * (1 + error * rng.normal(size=true.shape))
    spread = error * true * np.sqrt(rng.chisquare(draws - 1, true.shape) / (draws - 1))
    return Cells(value, width, mean, spread, np.full(true.shape, float(draws)))


IN_WIDTH: list[tuple[float, Law]] = [
    (1.0, lambda v, _: 3 * v),
    (0.0, lambda v, _: 3 * (1 - 8 / v + 40 / v**2)),
    (-1.0, lambda v, _: (1 + 12 / v) / v),
    (1.0, lambda v, _: v * (1 + 2 * v**-0.5)),
    (0.5, lambda v, _: v**0.5 * (1 + 3 * v**-0.5 + 10 / v)),
]
IN_SAMPLES: list[tuple[float, Law]] = [
    (0.0, lambda v, w: (1 - 1 / v) / w * (1 - 5 / w)),
    (-1.0, lambda v, w: (1 - 1 / v) / v * (1 + 2 * (v / w) ** 0.5)),
    (1.0, lambda v, w: v * (1 + 3 / v) * w * (1 + v / w)),
]


def misses(law: Law, p: float, error: float, fixed_width: bool, find=interval) -> int:
    missed = 0
    for seed in range(RUNS):
        low, high = find(synthetic(seed, law, error, fixed_width), fixed_width) or (np.nan, np.nan)
        missed += not low <= p <= high
    return missed


@pytest.mark.parametrize("error", [0.002, 0.01])
@pytest.mark.parametrize(
    ("p", "law", "fixed_width"), [(*each, False) for each in IN_WIDTH] + [(*each, True) for each in IN_SAMPLES]
)
def test_the_interval_covers_at_95_percent(p: float, law: Law, fixed_width: bool, error: float) -> None:
    """For every law apart; a right interval would fail one of these 16 tests once in a thousand times."""
    assert misses(law, p, error, fixed_width) <= stats.binom.isf(1e-3 / 16, RUNS, 0.05)


def test_a_slope_without_corrections_does_not_cover() -> None:
    """The mutant: the interval of a straight line in the logarithms, which the coverage test must catch."""

    def line(cells: Cells, _: bool) -> tuple[float, float]:
        design = np.stack([np.log(cells.value), np.ones_like(cells.value)], axis=1)
        fit = regress(design, np.log(cells.mean), cells.error / cells.mean, [60] * len(cells.mean))
        return fit.value - 2 * fit.error, fit.value + 2 * fit.error

    p, law = IN_WIDTH[1]
    assert misses(law, p, 0.01, False, line) > stats.binom.isf(1e-3, RUNS, 0.05)


def test_intervals_are_narrow_where_the_means_are_precise() -> None:
    for p, law in IN_WIDTH[:3]:
        low, high = interval(synthetic(1, law, 0.002, False, 1000), False) or (np.nan, np.nan)
        assert low <= p <= high
        assert high - low < 2 * WANTED


@pytest.mark.parametrize(("spare", "freedom"), [(1, 10), (3, 20), (23, 59), (40, 30)])
def test_the_p_value_of_a_fit_is_right(spare: int, freedom: int) -> None:
    """Against sums of squares of Student variables, at the two probabilities that decide, up to four standard errors
    and a fifth of the probability."""
    n = 100_000
    sums = (np.random.default_rng(spare).standard_t(freedom, size=(n, spare)) ** 2).sum(axis=1)
    for level in (0.05, 0.001):
        critical = brentq(lambda x, level=level: _fit_p(x, spare, freedom) - level, 1e-6, 1e3)
        assert abs(np.mean(sums > critical) - level) < 4 * np.sqrt(level / n) + 0.2 * level


@pytest.mark.parametrize(
    ("law", "error", "reason"),
    [
        (lambda v, _: v * np.exp(-v / 200), 0.003, "no power law"),
        (lambda v, _: v, 0.09, "too wide"),
        (lambda v, _: v, 0.3, "no positive number"),
        (lambda v, _: -v, 0.01, "no positive number"),
        (lambda v, _: v * np.nan, 0.01, "not finite"),
    ],
)
def test_what_does_not_tell_is_inconclusive(law: Law, error: float, reason: str) -> None:
    found = judge(synthetic(1, law, error, False), "m", "M", "synthetic")
    assert reason in found.reason
    assert str(found).startswith("m [synthetic] in M: INCONCLUSIVE; ")


def test_widths_too_narrow_for_any_law_are_left_out() -> None:
    """Means as hidden batch normalization over T = M/2 samples has them: linear in M from 64 on, like no law below."""
    rng, missed = np.random.default_rng(0), 0
    widths = np.array([16.0, 32.0, 64.0, 128.0, 256.0, 384.0, 512.0])
    true = 2.35 + 0.159 * widths + 20 * np.exp(-widths / 8)
    for _ in range(RUNS):
        error = 5e-4 * true
        cells = Cells(widths, widths, true + error * rng.normal(size=7), error, np.full(7, 60.0))
        low, high = interval(cells, False) or (np.nan, np.nan)
        missed += not low <= 1 <= high
    assert missed <= stats.binom.isf(1e-3, RUNS, 0.05)


def test_a_quantity_that_is_not_random_is_inconclusive() -> None:
    cells = synthetic(1, lambda v, _: v, 0.01, False)
    exact = Cells(cells.value, cells.width, cells.mean, 1e-17 * cells.mean, cells.count)
    assert "not random" in judge(exact, "m", "M", "synthetic").reason


@pytest.mark.parametrize(
    ("setting", "quantity", "variable", "expected", "budget"),
    [
        ("relu L=2 T=4", "lambda_max", "M", 1, 3e8),
        ("relu L=2 M/T=2 last=mean", "lambda_max", "M", 0, 3e8),
        ("relu L=2 C=2 T=6", "m", "M", -1, 2e8),
        ("relu L=2 C=2 T=6", "s", "M", 0, 4e8),
        pytest.param("relu L=2 T=6 last=mean", "lambda_max", "T", -1, 2e9, marks=pytest.mark.slow),
    ],
)
def test_exponents_of_networks(setting: str, quantity: str, variable: Variable, expected: int, budget: float) -> None:
    """The only fraction with a denominator up to 2 in the interval is the right one."""
    found = exponent(Setting.parse(setting), quantity, variable, budget=budget)
    assert found.reason == ""
    assert [f for f in found.fractions if f.denominator <= 2] == [expected]
    assert f"compatible with {expected}" in str(found)


@pytest.mark.parametrize(
    ("quantity", "named"),
    [("lambda", "lambda"), ("outputs", "outputs"), ("hq1", r"hq1\[1\]"), ("m[1]", "only order"), ("m[", "m")],
)
def test_a_quantity_that_is_no_number_is_refused(quantity: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        name_of(quantity)


def test_layers_of_order_parameters_are_columns() -> None:
    assert name_of("hq1[2]") == ("hq1", 2)
    assert name_of("q1[2]") == ("q1", 1)
    assert name_of("kappa1") == ("kappa1", None)


@pytest.mark.parametrize("quantity", ["q1[0]", "q1[4]", "tq1[0]", "hq1[3]", "c_I[3]"])
def test_a_layer_that_the_network_does_not_have_is_refused(quantity: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{quantity!r}: a network with L = 3 has")):
        exponent(Setting("relu", samples=4), quantity, "M")


def test_samples_in_proportion_to_the_width_leave_one_variable() -> None:
    with pytest.raises(ValueError, match="T goes with M"):
        exponent(Setting("relu", rho=2.0), "m", "T")


def test_the_page_about_scaling_says_what_runs() -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S)
    code = [text for language, text in blocks if language == "python"]
    assert len(code) == 1
    exec(compile(code[0], PAGE.name, "exec"), {"__name__": "page"})
    commands = [line for language, text in blocks if language == "sh" for line in text.splitlines()]
    assert len(commands) == 3
    for command in commands:  # read, not run: each takes a minute
        _, name, setting, quantity, *_ = shlex.split(command)
        assert name == "scaling"
        Setting.parse(setting)
        name_of(quantity)


def test_the_command_prints_the_exponent_and_its_table(fimcheck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "BUDGET", 1e8)
    code, text, _ = fimcheck("scaling", "relu L=2 C=2 T=6", "m", "--in", "M")
    text = " ".join(text.split())
    assert code == 0, text
    assert "grows like M^-" in text
    assert "local exponents" in text


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("relu T=6", "lambda"), "lambda"),
        (("relu T=6", "m", "--in", "Z"), "--in Z"),
        (("relu M/T=2", "m", "--in", "T"), "--in T"),
        (("rleu T=6", "m"), "rleu"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(fimcheck, words: tuple[str, ...], named: str) -> None:
    code, _, text = fimcheck("scaling", *words)
    assert code == 2
    assert named in text.replace("\n", "")
