"""Command lines and settings that nobody thought of: an answer or a refusal, never a traceback, never a hang.

The cases here are some hundred; `pytest tests/verify/test_fuzz.py --hypothesis-profile=fuzz` tries 2,000 of each kind.
"""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimcheck.verify import Setting
from fimcheck.verify.cli.main import main

LIMIT = 60
"""Seconds that a case may take; the work of valid ones is made small below."""

NUMBERS = st.sampled_from(
    ["0", "1", "2", "3", "5", "12", "-1", "0.3", "1e3", "1e9", "1e155", "1e400", "nan", "inf", "-inf", "", "x", "1/3"]
) | st.floats(width=32).map(str)
ANYTHING = st.text(max_size=12).filter(lambda text: "\x00" not in text)  # no shell passes a null
ACTIVATIONS = st.sampled_from(
    ["relu", "tanh", "RELU", "erf", "abs", "linear", "x", "x**2", "x**100", "exp(x)", "exp(exp(exp(x)))", "1/x",
     "log(x)", "Heaviside(x)", "Max(x, 0)", "x*Phi(x)", "tanh(x", "y", "nan", "__import__('os')",
     "x.__class__", "sin(x)/0"]
)  # fmt: skip
STEPS = st.sampled_from(
    ["dense", "relu", "layer", "batch", "rms", "skip(relu dense)", "2*(relu dense)", "attention", "pool", "conv", "",
     "skip(", ")", "0*(relu dense)", "dense(width=2)", "dense(width=0)", "1000000*(relu dense)", "L*(relu dense)"]
)  # fmt: skip
NETWORKS = st.lists(STEPS, max_size=4).map(" ".join) | st.lists(STEPS, max_size=3).map(
    lambda steps: " ".join(["dense", *steps, "relu", "dense"])
)
FIELDS = st.sampled_from(
    ["L", "T", "C", "M/T", "sw2", "sb2", "gamma", "beta", "hidden", "last", "a", "N", "X", "last_gamma", "phi"]
)
FIELD = st.tuples(FIELDS, NUMBERS | st.sampled_from(["layer", "batch", "none", "mean", "softmax"])).map("=".join)
SETTINGS = st.tuples(
    ACTIVATIONS | NETWORKS | st.just("relu"), st.lists(FIELD, max_size=3).map(" ".join), st.sampled_from(["", "T=6"])
).map(lambda parts: " ".join(part for part in parts if part))
CLAIMS = st.sampled_from(
    ["plain.m", "last_mean.m", "hidden_layer.m", "plain.q1[1]", "growth.plain", "last_batch.m", "plain", ""]
)
QUANTITIES = st.sampled_from(
    ["m", "s", "lambda_max", "kappa1", "lambda_perp", "tq1[2]", "hq2[9]", "M", "Z", "", "m[1]"]
)
NORMALIZATIONS = st.sampled_from(["none", "mean", "batch", "layer", "softmax", "rms", "Batch", ""])


def option(name: str, values: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[list[str]]:
    """The option with a value, which in one of several cases is text of any kind."""
    if values is None:
        return st.just([name])
    return st.one_of(values, values, values, values, ANYTHING).map(lambda value: [name, value])


def command(
    name: str, first: list[st.SearchStrategy[str]], options: list[st.SearchStrategy[list[str]]]
) -> st.SearchStrategy[list[str]]:
    """The command with its arguments and up to three options."""
    words = st.tuples(*(st.one_of(s, s, s, ANYTHING) for s in first)).map(list)
    return st.tuples(words, st.lists(st.one_of(options), max_size=3)).map(
        lambda made: [name, *made[0], *(word for words in made[1] for word in words)]
    )


AT = st.lists(
    st.tuples(st.sampled_from(["sigma_w2", "sigma_b2", "M", "T", "C", "alpha_0", "L", "q"]), NUMBERS).map("=".join),
    max_size=4,
).map(",".join)
FLAGS = [option(f"--{name}") for name in ("latex", "python", "full", "steps", "given")]
LINES = st.one_of(
    command("derive", [QUANTITIES], [option("--hidden", NORMALIZATIONS), option("--last", NORMALIZATIONS),
            option("--depth", st.sampled_from(["2", "3", "0", "-1", "1000000000", "symbolic", "2.5"])),
            option("--samples", st.sampled_from(["fixed", "infinite", "proportional", "T"])), option("--at", AT),
            *FLAGS]),
    command("derive", [QUANTITIES], [option("--activation", ACTIVATIONS), option("--at", AT),
            option("--depth", st.just("2"))]),
    command("derive", [QUANTITIES, NETWORKS], [option("--last", NORMALIZATIONS), option("--at", AT), *FLAGS]),
    command("verify", [CLAIMS], [option("--setting", SETTINGS), option("--eps", NUMBERS), option("--quick"),
            option("--budget", st.sampled_from(["1s", "0", "-1s", "1y", "1e9h"])), option("--activation", ACTIVATIONS),
            option("--store", st.sampled_from(["/dev/null", "no/such/folder"])), option("--seed-block", NUMBERS)]),
    command("explain", [CLAIMS], [option("--setting", SETTINGS), option("--activation", ACTIVATIONS)]),
    command("controls", [CLAIMS], [option("--setting", SETTINGS), option("--json", st.just("no/such/folder/x"))]),
    command("calibrate", [CLAIMS], [option("--setting", SETTINGS), option("--eps", NUMBERS)]).map(
        lambda words: [*words, "--runs=2"]
    ),
    command("calibrate", [CLAIMS], [option("--eps", NUMBERS)]).map(lambda words: [*words, "--runs=10000000"]),
    command("scaling", [SETTINGS, QUANTITIES], [option("--in", st.sampled_from(["M", "T", "C", "L"]))]),
    command("check", [st.sampled_from(["no.py", "/dev/null", "."])], [option("--claim", CLAIMS)]),
    command("measure", [], [option("--module", st.sampled_from(["a.py:make", "a.py", ":"])),
            option("--inputs", st.just("x"))]),
    command("table", [st.sampled_from(["no/such/folder", "."])], [option("--csv", st.just("no/such/folder/x"))]),
    command("plot", [st.sampled_from(["sharpness", "depth", "pie"]), st.sampled_from(["a.gif", "no/such/x.svg"])],
            [option("--setting", SETTINGS), option("--networks", NUMBERS)]),
    command("book", [st.sampled_from(["a.txt", "no/such/x.html"])], [option("--activation", ACTIVATIONS)]),
    command("sharpness", [st.sampled_from(["no.py", ".", "/dev/null"])], [option("--widths", st.just("1,2")),
            option("--rho", NUMBERS), option("--only", st.sampled_from(["fixed", "both"])), option("--loss", CLAIMS)]),
    command("coordinates", [st.sampled_from(["no.py", ".", "/dev/null"])], [option("--lr", NUMBERS),
            option("--steps", NUMBERS), option("--optimizer", st.sampled_from(["adam", "lion"]))]),
    command("frobnicate", [], [option("--help")]),
)  # fmt: skip


class TooLong(BaseException):
    """A case that ran over its limit; no handler of errors catches it."""


def within_limit(work: Callable[[], Any], what: object) -> Any:
    """The result, or TooLong."""

    def stop(*_: object) -> None:
        raise TooLong(f"{what!r} takes more than {LIMIT} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        return work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def little_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Narrow networks, few of them, and no other processes: valid command lines are run, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fimcheck.verify.claims.claim.WIDTHS", (4, 8, 16, 32, 64))
    monkeypatch.setattr("fimcheck.verify.draws.source.make", lambda *_: None)
    for name in ("fimcheck.verify.cli.scaling.BUDGET", "fimcheck.verify.sweep.exponent.BUDGET"):
        monkeypatch.setattr(name, 1e6)
    for name in ("run", "trust", "check"):
        module = sys.modules.get(f"fimcheck.verify.cli.{name}") or __import__(
            f"fimcheck.verify.cli.{name}", fromlist=["QUICK"]
        )
        for effort in ("QUICK", "FULL"):
            if hasattr(module, effort):
                monkeypatch.setattr(module, effort, type(module.QUICK)(error_rate=0.01, looks=2, budget=1e6))


@pytest.mark.usefixtures("little_work")
def test_every_command_line_has_an_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @given(LINES)
    def run(words: list[str]) -> None:
        monkeypatch.setattr(sys, "argv", ["fimcheck", *words])
        with pytest.raises(SystemExit) as ended:
            within_limit(main, words)
        said = capsys.readouterr()
        assert ended.value.code in (0, 1, 2, None), said.err
        assert "Traceback" not in said.err + said.out
        assert ended.value.code != 2 or said.err.strip()  # a refusal says why

    run()


def refused(work: Callable[[], Any], what: object) -> Any:
    """The result, None where it is refused in words."""
    try:
        return within_limit(work, what)
    except (ValueError, OverflowError) as refusal:
        words = str(refusal)
    assert words
    return None


@given(SETTINGS | ANYTHING)
def test_every_text_is_a_setting_or_is_refused(text: str) -> None:
    found = refused(lambda: Setting.parse(text), text)
    assert found is None or Setting.parse(str(found)) == found


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 12), st.floats(), st.just(10**30), st.sampled_from(["", "relu", "batch"]),
    st.lists(st.floats(width=16), max_size=4).map(tuple),
)  # fmt: skip
NAMES = [
    "activation", "depth", "ratios", "sigma_w2", "sigma_b2", "classes", "samples", "rho", "hidden", "last", "gamma",
    "beta", "last_gamma", "steps", "positions", "inputs",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3))
def test_every_set_of_fields_is_a_setting_or_is_refused(fields: dict[str, Any]) -> None:
    refused(lambda: Setting(**{"samples": 5, **fields}), fields)
