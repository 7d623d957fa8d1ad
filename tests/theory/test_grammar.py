"""Networks as text: what is written is read back, and what is malformed is refused at its place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fimcheck import theory
from fimcheck.theory.network.grammar import (
    DEEPEST,
    LONGEST,
    DescriptionError,
    Item,
    parse,
    unrolled,
    written,
)
from fimcheck.verify import Setting

VALUES = st.one_of(
    st.integers(-3, 9), st.floats(0.01, 3).map(lambda v: round(v, 3)), st.sampled_from(["ntk", "uniform"])
)
PARAMETERS = st.dictionaries(st.sampled_from(["sw2", "width", "a", "param"]), VALUES, max_size=2)
PLAIN = st.builds(Item, st.sampled_from(["dense", "relu", "layer"]), PARAMETERS, times=st.integers(1, 3))


def nested(inner: st.SearchStrategy) -> st.SearchStrategy:
    chains = st.lists(inner, min_size=1, max_size=3).map(tuple)
    skip = st.builds(lambda chain, given: Item("skip", given, (chain,)), chains, PARAMETERS)
    gate = st.builds(lambda one, two: Item("gate", {}, (one, two)), chains, chains)
    group = st.builds(lambda chain, times: Item("", {}, (chain,), times), chains, st.integers(1, 3))
    return st.one_of(skip, gate, group)


@settings(derandomize=True, deadline=None, database=None, max_examples=200)
@given(st.lists(st.recursive(PLAIN, nested, max_leaves=6), min_size=1, max_size=4).map(tuple))
def test_what_is_written_is_read_back(items: tuple[Item, ...]) -> None:
    again = parse(written(items))
    assert unrolled(again) == unrolled(items)
    assert written(again) == written(items)


def test_repeats_are_unrolled() -> None:
    nodes = unrolled(parse("dense 2*(skip(relu dense, a=0.5)) 2*rms dense(sw2=1.5)"))
    skip = ("skip", {"a": 0.5}, ((("relu", {}, ()), ("dense", {}, ())),))
    rms = ("rms", {}, ())
    assert nodes == (("dense", {}, ()), skip, skip, rms, rms, ("dense", {"sw2": 1.5}, ()))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("dense relu (dense", "the text ends where ')'"),
        ("dense relu) dense", "')' is not expected"),
        ("dense 3*() dense", "a repeat of nothing"),
        ("3 dense", "where '*' is due"),
        ("0*dense", "at least once"),
        ("1.5*dense", "at least once"),
        ("dense(sw2=) relu", "without a value"),
        ("dense(sw2=1, sw2=2)", "given sw2 twice"),
        ("1000000000*dense", "repeats; take 2000"),
        ("100*(100*dense)", "10000 steps"),
        ("skip(, dense)", "an empty branch"),
        ("dense $", "'$' is not allowed"),
        ("", "no steps"),
        ("dense " * LONGEST, "characters"),
        ("skip(" * (DEEPEST + 5) + "dense" + ")" * (DEEPEST + 5), "flatter"),
        ("__import__('os')", "not allowed"),
    ],
)
def test_malformed_texts_are_refused_at_their_place(text: str, named: str) -> None:
    with pytest.raises(DescriptionError) as refusal:
        parse(text)
    assert named in str(refusal.value)


def test_steps_over_positions_are_seen() -> None:
    """A network of a text has positions where a step in any of its branches needs them, one that a user added too."""
    assert theory.compose("dense skip(layer attention) pool dense").positions == theory.symbols.N
    assert theory.compose("dense relu dense").positions == 1


@pytest.mark.parametrize(
    "text",
    [
        "dense 3*(skip(layer relu dense)) layer relu dense sb2=0.3 C=2 T=5",
        "dense(sw2=1.5, width=2) relu dense a=0.5 T=4",
        "conv relu pool dense T=4 N=4",
        "2*(dense relu) dense T=4 last=mean",
        "relu T=4 inputs=sphere:16",
        "tanh L=4 C=2 T=6 last=mean",
    ],
)
def test_settings_of_composed_networks_round_trip(text: str) -> None:
    setting = Setting.parse(text)
    assert Setting.parse(str(setting)) == setting
    assert Setting(**setting.record()) == setting
    assert str(setting) == text


def test_old_settings_keep_their_records_and_seeds() -> None:
    """Records made before networks could be composed name no such field, and their draws stay valid."""
    setting = Setting(samples=4)
    assert set(setting.record()).isdisjoint({"steps", "positions", "inputs"})
    assert setting.seed(64, "0/main", 0) == 7097929605842909826


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("dense relu dense L=4 T=4", "says it itself"),
        ("dense relu dense hidden=layer T=4", "says it itself"),
        ("dense relu dense a=1,2 T=4", "inputs alone"),
        ("dense relu dense C=2 C=3 T=4", "given twice"),
        ("dense relu", "Add dense at the end"),
        ("dense relu foo dense T=4", "'foo'"),
        ("dense batch relu dense T=3", "T >= 4"),
        ("relu T=4 inputs=sphere", "sphere:D"),
        ("relu M/T=2 inputs=sphere:4", "fixed number of samples"),
        ("relu T=4 inputs=nothing.npy", "nothing.npy"),
        ("relu hidden=batch T=8 inputs=sphere:4", "mixes the samples"),
    ],
)
def test_bad_settings_are_refused(text: str, named: str) -> None:
    with pytest.raises(ValueError) as refusal:
        Setting.parse(text)
    assert named in str(refusal.value)
