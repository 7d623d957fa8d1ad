"""Formulas in the depth: against the recursion run layer by layer, and against what is known of deep networks."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sympy as sp

from fimcheck import theory
from fimcheck.theory.edge import EdgeError, edge
from fimcheck.theory.network import growth as growth_module
from fimcheck.theory.network import phase
from fimcheck.theory.network.depth import Blocks, NotSolvable, chain_blocks, depth, in_depth
from fimcheck.theory.network.grammar import parse, unrolled
from fimcheck.theory.network.growth import growth, of_quantity
from fimcheck.theory.network.where import Statement
from fimcheck.theory.writing import python, unicode

VALUES = {"sigma_w2": 1.7, "sigma_b2": 0.3, "gamma": 1.2, "beta": 0.4, "T": 8.0, "M": 100.0, "C": 2.0}
PRE_NORM = "dense {}*(skip(layer relu dense)) relu dense"


def blocks_of(text: str) -> Blocks:
    """The blocks of a text with {} in the place of their number, one dense step before them."""

    def nodes(n: int) -> Any:
        return unrolled(parse(text.format(n)))

    size = len(nodes(2)) - len(nodes(1))
    return Blocks(lambda n: theory.compose(nodes(n)), lambda n: [str(1 + size * i) for i in range(n + 1)], depth)


def value(found: Statement, numbers: Mapping[str, float]) -> float:
    """Of a statement, by its own Python source."""
    space: dict[str, Any] = {}
    exec(python.written(found), space)
    function = space[found.quantity]
    return function(**{name: numbers[name] for name in inspect.signature(function).parameters})


def right(net: Any, quantity: str, samples: str, numbers: Mapping[str, float]) -> float:
    found = theory.predict(net, quantity, samples)
    return found.evaluate(**{name: numbers[name] for name in found.symbols})


@pytest.mark.parametrize(
    ("act", "hidden", "quantity", "samples"),
    [
        ("relu", "none", "kappa1", "fixed"),
        ("abs", "none", "m", "fixed"),
        ("leaky_relu", "rms", "m", "fixed"),
        ("linear", "none", "lambda_max", "fixed"),
        ("relu", "layer", "m", "fixed"),
        ("gelu", "layer", "kappa1", "fixed"),
        ("erf", "batch", "lambda_max", "infinite"),
        pytest.param("relu", "batch", "kappa2", "fixed", marks=pytest.mark.slow),
        ("relu", "batch", "m", "infinite"),
    ],
)
def test_chains_equal_the_recursion(act: str, hidden: str, quantity: str, samples: str) -> None:
    blocks = chain_blocks(act, hidden, "none")
    (_, found), *_ = in_depth(theory.predict(blocks.make(1), quantity, samples), blocks)
    for layers in (4, 7, 11):
        want = right(blocks.make(layers - 2), quantity, samples, VALUES)
        got = value(found, VALUES | {"L": layers})
        assert got == pytest.approx(want, rel=1e-11)
        wrong = replace(found, lines=tuple(replace(line, value=1.01 * line.value) for line in found.lines[-1:]))
        assert value(replace(found, lines=found.lines[:-1] + wrong.lines), VALUES | {"L": layers}) != pytest.approx(
            want, rel=1e-4
        )


@pytest.mark.parametrize(
    "text", ["dense {}*(skip(relu dense)) relu dense", "dense {}*(relu dense skip(abs dense)) abs dense"]
)
def test_residual_networks_equal_the_recursion(text: str) -> None:
    blocks = blocks_of(text)
    (_, found), *_ = in_depth(theory.predict(blocks.make(1), "m"), blocks)
    for n in (1, 2, 5):
        want = right(blocks.make(n), "m", "fixed", VALUES)
        assert value(found, VALUES | {"L": n}) == pytest.approx(want, rel=1e-11)


def test_where_two_rates_meet_the_solution_is_the_limit() -> None:
    blocks = chain_blocks("relu", "none", "none")
    (_, generic), (case, special) = in_depth(theory.predict(blocks.make(1), "kappa1"), blocks)
    assert case == (theory.symbols.sigma_w2, 2)
    numbers = VALUES | {"sigma_w2": 2.0}
    with pytest.raises(ZeroDivisionError):
        value(generic, numbers | {"L": 5})
    for layers in (3, 9):
        want = right(blocks.make(layers - 2), "kappa1", "fixed", numbers)
        assert value(special, numbers | {"L": layers}) == pytest.approx(want, rel=1e-12)
        near = value(generic, VALUES | {"sigma_w2": 2 + 1e-4, "L": layers})
        assert near == pytest.approx(want, rel=1e-2)


def test_relu_without_biases_reads_as_one_line() -> None:
    blocks = chain_blocks("relu", "none", "none")
    at = {"sigma_b2": sp.S.Zero, "sigma_w2": sp.Integer(2)}
    ((_, found),) = in_depth(theory.predict(blocks.make(1), "kappa1"), blocks, at)
    assert value(found, {"L": 9}) == pytest.approx(9 / 8)
    assert unicode.written(found).count("\n") < 6


def test_batch_normalized_relu_gains_pi_over_pi_minus_1_a_layer() -> None:
    blocks = chain_blocks("relu", "batch", "none")
    at = {"beta": sp.S.Zero, "gamma": sp.S.One}
    (_, found), *_ = in_depth(theory.predict(blocks.make(1), "m", "infinite"), blocks, at)
    assert "(π/(-1 + π))^(L - 3)" in unicode.written(found)
    rates = growth(blocks, "infinite", {"sigma_w2": 1.7, "sigma_b2": 0.1, "gamma": 1.0, "beta": 0.0})
    assert rates[2].factor == pytest.approx(np.pi / (np.pi - 1), rel=1e-12)


def test_what_is_not_linear_is_refused() -> None:
    for quantity, act in (("kappa2", "relu"), ("kappa1", "tanh"), ("lambda_max", "relu")):
        blocks = chain_blocks(act, "none", "none")
        with pytest.raises(NotSolvable, match="no closed form in the depth"):
            in_depth(theory.predict(blocks.make(1), quantity), blocks)


@pytest.mark.parametrize(("name", "weight"), [("tanh", 1.5), ("tanh", 3.0), ("erf", 2.5)])
def test_growth_is_that_of_the_fixed_point(name: str, weight: float) -> None:
    want = phase.fixed_point(name, weight, 0.1)
    variance, correlation, one, two = growth(
        chain_blocks(name, "none", "none"), "fixed", {"sigma_w2": weight, "sigma_b2": 0.1}
    )
    assert variance.limit == pytest.approx(want.variance, rel=1e-9)
    assert correlation.factor == pytest.approx(want.slope, rel=1e-4)
    assert one.factor == pytest.approx(want.chi1, rel=1e-7)
    assert two.factor == pytest.approx(want.slope, rel=1e-4)
    assert abs(want.chi1 - 1) > 1e-2, "a fixed point that is told from a critical one"


def test_critical_and_pre_norm_networks_follow_power_laws() -> None:
    """1 - c ~ L^-2 for critical ReLU; with layer normalization inside, q ~ L.

    There Th1' = (1 + 0.895/L) Th1 + b goes like L, which L^0.895 hides at any depth that is followed: no law is stated.
    """
    critical = growth(chain_blocks("relu", "none", "none"), "fixed", {"sigma_w2": 2.0, "sigma_b2": 0.0})
    assert critical[0].limit == pytest.approx(2)
    assert critical[1].exponent == pytest.approx(-2, abs=0.05)
    residual = growth(blocks_of(PRE_NORM), "fixed", {"sigma_w2": 1.7, "sigma_b2": 0.1, "gamma": 1.0, "beta": 0.0})
    assert residual[0].exponent == pytest.approx(1, abs=0.01)
    assert not residual[2].confirmed
    assert residual[2].exponent is not None
    assert 1 < residual[2].exponent < 1.2
    stretched = growth(blocks_of("dense {}*(skip(erf dense)) erf dense"), "fixed", {"sigma_w2": 1.7, "sigma_b2": 0.1})
    assert stretched[2].stretched == pytest.approx(0.5, abs=0.05), "E phi'^2 ~ q^-1/2 and q ~ n"


COUPLED = {"sigma_w2": 2.0, "sigma_b2": 0.0, "gamma": 1.0, "beta": 0.0, "T": 8.0}


def test_coupled_overlaps_have_the_eigenvalue_of_their_map() -> None:
    """Th1 and Th2 of batch normalization over 8 samples: 1.78819, and not the diagonal 1.60029 and 0.187902."""
    blocks = blocks_of("dense {}*(batch relu dense)")
    _, _, one, two = growth(blocks, "fixed", COUPLED)
    assert one.factor == two.factor == pytest.approx(1.78819, abs=5e-6)
    assert max(one.error, two.error) < 1e-9
    kappas = [right(blocks.make(n), "m", "fixed", COUPLED | {"M": 1.0, "C": 1.0}) * (n + 1) for n in (40, 60)]
    assert (kappas[1] / kappas[0]) ** (1 / 20) == pytest.approx(one.factor, rel=1e-3), "the recursion itself"


@pytest.mark.parametrize(
    ("text", "numbers", "words"),
    [
        (
            "dense {}*(linear dense)",
            {"sigma_w2": 1.2, "sigma_b2": 0.0},
            "multiplied by 1.2 from block to block, times L",
        ),
        ("dense {}*(linear dense)", {"sigma_w2": 0.5, "sigma_b2": 0.3}, "tends to 1.2, the distance goes like L 0.5^L"),
        ("dense {}*(linear dense)", {"sigma_w2": 1.0, "sigma_b2": 0.0}, "goes like L^1.00"),
        ("dense(param=ntk) {}*(linear dense(param=ntk))", {"sigma_w2": 1.0, "sigma_b2": 0.5}, "goes like L^2.00"),
    ],
)
def test_what_is_said_of_gradients(text: str, numbers: dict[str, float], words: str) -> None:
    variance, correlation, one, two = growth(blocks_of(text), "fixed", numbers)
    assert words in str(one)
    said = " ".join(map(str, (variance, correlation, one, two)))
    assert "e-1" not in said.replace("differs by", "differs by\n").split("\n")[0], "rounding is no law"
    assert "n^" not in said


@pytest.mark.parametrize("mutant", ["diagonal", "injection", "5%"])
def test_a_law_that_the_recursion_does_not_confirm_is_not_stated(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = growth_module._seen
    if mutant == "diagonal":
        monkeypatch.setattr(growth_module, "_seen", lambda *_: (1.60029,))
    if mutant == "5%":
        monkeypatch.setattr(growth_module, "_seen", lambda solved, i: tuple(1.05 * e for e in real(solved, i)))
    if mutant == "injection":
        follow = growth_module._follow
        monkeypatch.setattr(growth_module, "_follow", lambda found: replace(follow(found), matrix=np.diag([0.5, 0.5])))
    *_, one, two = growth(blocks_of("dense {}*(batch relu dense)"), "fixed", COUPLED)
    assert not one.confirmed
    assert not two.confirmed
    assert "no law is confirmed" in str(one)


def test_the_quantity_that_was_asked_for_has_its_own_growth() -> None:
    blocks = blocks_of("dense {}*(batch relu dense)")
    found = theory.predict(blocks.make(1), "lambda_max")
    assert of_quantity(found, blocks, COUPLED | {"M": 100.0}).startswith("lambda_max is multiplied by 1.7")


def test_an_edge_asks_for_outputs_without_their_mean() -> None:
    net = theory.WideNetwork(3, "tanh", sigma_w2=2, sigma_b2=0.3, ratios=1)
    with pytest.raises(EdgeError, match="last = 'none'"):
        edge(net, 2.0)
    with pytest.raises(TypeError, match="positional"):
        edge(net, 2.0, 1000.0)  # type: ignore[misc]
