"""The edge of a residual network: against the chain, against quadrature in two dimensions, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from fimcheck import numerics, theory, verify
from fimcheck.theory.edge import EdgeError, chain_rank, edge, finite_rank, given_edge, residual_rank
from fimcheck.theory.edge.curve import Curve
from fimcheck.theory.edge.dyson import Dyson, Resolvent
from fimcheck.theory.edge.largest import Leaving
from fimcheck.theory.edge.own_units import ORDERS, units_of
from fimcheck.theory.edge.prediction import EdgePrediction
from fimcheck.theory.edge.residual import Place, stream
from fimcheck.theory.edge.residual_dyson import Residual
from fimcheck.theory.edge.residual_series import enough_terms, noise_of, series_at
from fimcheck.theory.edge.residual_units import residual, residual_of
from fimcheck.theory.edge.slips import RESIDUAL_RANK_SLIPS, RESIDUAL_SLIPS
from fimcheck.theory.network.combine import Chain, Skip
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.elementwise import Phi
from fimcheck.theory.network.normalize import RMSNorm


def network(
    act: str, blocks: int = 2, w2: float = 1.0, b2: float = 0.1, a: float = 1.0, b: float = 1.0, last: str = "mean"
) -> theory.Network:
    """A residual network, of the same numbers everywhere."""
    phi = Phi(theory.activation(act))

    def dense(width: int = 1) -> Dense:
        return Dense(sp.Integer(width), sp.Float(w2), sp.Float(b2))

    skips = [Skip(Chain((phi, dense())), a=sp.Float(a), b=sp.Float(b)) for _ in range(blocks)]
    return theory.Network(Chain((dense(), *skips, phi, dense(0))), last=last)


def given(net: theory.Network, shared: np.ndarray) -> dict[str, np.ndarray]:
    """What would be measured, with the order parameters of the limit."""
    orders = theory.numeric_order_parameters(net, "proportional")
    dense = [path for path, step in net.all_steps.items() if isinstance(step, Dense)]
    tq = [np.diag([orders.tq[p, "same"].same, orders.tq[p, "other"].other]) for p in dense]
    K = [[orders.K[path].same, orders.K[path].other] for path in net.all_steps]
    return {"K": np.array(K, float), "tq": np.array(tq, float), "shared": shared}


def chain_twice(act: str, rho: float) -> tuple[Curve[Dyson], Curve[Residual]]:
    """The same units of a chain of four layers, and of a residual network whose skips let nothing through."""
    chain = theory.WideNetwork(4, act, last="mean", sigma_w2=2.0, sigma_b2=0.3, ratios=1)
    orders, rng = theory.numeric_order_parameters(chain, "proportional"), np.random.default_rng(0)
    fields = [rng.standard_normal((64, 2)) * np.sqrt([orders.q2[n], 2.0 * orders.tq2[n + 1]]) for n in range(1, 4)]
    own = {name: np.array([float(v) for _, v in sorted(getattr(orders, name).items())]) for name in ORDERS}
    shared = np.concatenate(fields)
    cut = network(act, 2, 2.0, 0.3, b=0.0)
    return (
        Curve(Dyson(units_of(chain, rho, own | {"shared": shared}))),
        Curve(residual_of(cut, rho, given(cut, shared))),
    )


@pytest.mark.parametrize("act", ["tanh", "relu", "gelu"])
def test_without_the_stream_it_is_the_chain(act: str) -> None:
    """b = 0: the equation of matrices falls apart into those of the layers, which other code solves."""
    one, two = chain_twice(act, 2.0)
    assert two.minimum() == pytest.approx(one.minimum(), rel=1e-9)
    assert two.moments() == pytest.approx(one.moments(), rel=1e-12)
    z = 3.0 + 1.0j
    resolvents = [
        Resolvent(40j, 1 / 40j, np.zeros(c.equation.size)).at(c.equation, 40j).at(c.equation, z) for c in (one, two)
    ]
    assert resolvents[1].g == pytest.approx(resolvents[0].g, rel=1e-9)


@pytest.mark.parametrize("act", ["tanh", "relu", "gelu"])
def test_without_the_stream_finite_rank_is_the_chains(act: str) -> None:
    one, two = chain_twice(act, 0.5)
    for g in np.array([0.3, 0.95]) * one.end():
        expected = finite_rank.determinant(chain_rank.sums(one, float(g)))
        assert abs(expected - 1) > 1e-4
        assert finite_rank.determinant(residual_rank.sums(two, float(g))) == pytest.approx(expected, rel=1e-7)


def determinants(text: str, places: tuple[float, ...] = (0.5, 1.0)) -> np.ndarray:
    """At shares of g at the edge, fields uncut."""
    curve = Curve(residual(verify.Setting.parse(f"{text} last=mean M/T=0.5").wide(), 0.5))
    end = curve.minimum()[0]
    return np.array([finite_rank.determinant(residual_rank.sums(curve, place * end)) for place in places])


@pytest.mark.parametrize("stream", ["a=0.7,b=0.5", "a=1.2,b=1.3"])
def test_of_linear_residual_networks_it_changes_nothing(stream: str) -> None:
    """But for the 1024 units that stand for their law."""
    text = f"dense 2*(skip(linear dense, {stream})) skip(linear dense, a=0.5) linear dense sw2=1.2 sb2=0.3 a=0.4"
    assert determinants(text) == pytest.approx(1, abs=2e-3)


def test_finite_rank_does_not_feel_the_scale_of_the_stream() -> None:
    """ReLU without biases: the first skip times 1.7."""
    one, two = (
        determinants(
            f"dense skip(relu dense, a={a}, b={b}) skip(relu dense, a=0.7, b=1.3) relu dense sw2=1.2 sb2=0 a=0.4"
        )
        for a, b in ((1.0, 0.6), (1.7, 1.02))
    )
    assert one[1] < 0.5
    assert two == pytest.approx(one, rel=1e-9)


def test_finite_rank_does_not_feel_a_branch_that_adds_nothing() -> None:
    text = "dense {} skip(relu dense, a=0.9, b=0.6) {} relu dense sw2=1.2 sb2=0"
    assert determinants(text.format("", "")) == pytest.approx(
        determinants(text.format("skip(relu dense, a=0.0001)", "skip(relu dense, a=0.0001)")), abs=0.02
    )


SILU = network("silu", 4, 1.0, 0.0)


def test_sampled_networks_have_an_eigenvalue_of_finite_rank() -> None:
    """Given their units; the edge alone is lower by a sixth."""
    width, count = 96, 40
    sampled = verify.Setting.parse("dense 4*(skip(silu dense)) silu dense sw2=1 sb2=0 last=mean M/T=0.5").network(width)
    names = ("shared", "K", "tq")
    draws = numerics.measure(sampled, 2 * width, range(count), ["lambda_max", *names]).draws
    found = [given_edge(SILU, 0.5, {name: draws[name][i] for name in names}) for i in range(count)]
    for expected, holds in (
        ([one.mean(2 * width) for one in found], True),
        ([replace(one, leaving=Leaving()).mean(2 * width) for one in found], False),
    ):
        ratios = draws["lambda_max"] / np.array(expected)
        error = float(np.std(ratios, ddof=1)) / count**0.5
        assert bool(abs(np.mean(ratios) - 1) < 4 * error) is holds


@pytest.mark.parametrize("name", RESIDUAL_RANK_SLIPS)
def test_every_term_of_finite_rank_counts(name: str) -> None:
    right, wrong = edge(SILU, 0.5, width=256.0), edge(SILU, 0.5, width=256.0, change=RESIDUAL_RANK_SLIPS[name][1])
    assert wrong.place == right.place
    assert abs(wrong.mean(512) / right.mean(512) - 1) > 0.02


def test_overlaps_that_the_limit_has_not_are_no_term() -> None:
    """Odd activations without biases."""
    net, names = network("tanh", 2, 1.5, 0.0), ("shared", "K", "tq")
    sampled = verify.Setting.parse("dense 2*(skip(tanh dense)) tanh dense sw2=1.5 sb2=0 last=mean M/T=0.5").network(64)
    draws = numerics.measure(sampled, 128, range(6), names).draws
    for i in range(6):
        found = given_edge(net, 0.5, {name: draws[name][i] for name in names})
        assert found.leaving.place is None
        assert found.mean(128) == pytest.approx(found.place, rel=0.12)


def small(act: str = "gelu", b: float = 0.8) -> Residual:
    return residual(network(act, 2, 1.2, 0.1, a=0.7, b=b), 1.5, 16, 100.0)


@pytest.mark.parametrize("turn", [1.0, np.exp(-0.3j)])
def test_derivatives_are_those_by_differences(turn: complex) -> None:
    equation = small()
    numbers = turn * np.array([0.05, *np.linspace(0.05, 0.15, equation.size)])
    by = equation.at(numbers[0], numbers[1:])[1]
    for i, step in enumerate(1e-6 * np.eye(len(numbers))):
        high, low = (equation.at(*(lambda v: (v[0], v[1:]))(numbers + s * step))[0] for s in (1, -1))
        assert by[:, i] == pytest.approx((high - low) / 2e-6, rel=1e-6, abs=1e-8)


def test_newton_finds_what_iteration_finds() -> None:
    curve = Curve(small())
    g = 0.9 * curve.minimum()[0]
    energies = np.zeros(curve.equation.size)
    for _ in range(5000):
        energies = curve.equation.at(g, energies)[0][1:]
    at = curve.solved(g)
    assert at is not None
    assert at.energies == pytest.approx(energies, rel=1e-9)


def test_noise_is_that_of_quadrature_in_two_dimensions() -> None:
    """One unit: (u, v) with v = 0.8 u + w; what the best linear approximations leave of tanh(u), tanh'(u) eta.."""
    phi, own = Phi(theory.activation("tanh")), np.array([0.7, 0.8**2 * 0.7 + 0.5])
    means, eta, gaps = np.array([[0.4, -0.9]]), np.array([[1.3, -0.6]]), np.array([0.25, 0.0])
    left = np.array([[1.0, 0.8], [0.0, 1.0]])
    places = [Place(phi, Dense(), *"1112") for _ in own]
    found = noise_of([series_at(p, means[:, c], own[c], 1.0) for c, p in enumerate(places)], own, left, eta, gaps)[0]
    x, weight = np.polynomial.hermite_e.hermegauss(80)
    weight = np.outer(weight, weight).ravel() / (2 * np.pi)
    u = np.sqrt(own[0]) * np.repeat(x, 80)
    v = 0.8 * u + np.sqrt(0.5) * np.tile(x, 80)
    values, slopes = [], []
    for c, w in enumerate((u, v)):
        value, slope = np.tanh(means[0, c] + w), 1 - np.tanh(means[0, c] + w) ** 2
        for f, into in ((value, values), (slope, slopes)):
            into.append(f - weight @ f - w * (weight @ (f * w)) / own[c])
    signals = np.array([*values, *(s * e for s, e in zip(slopes, eta[0], strict=True))])
    expected = signals * weight @ signals.T
    private = weight @ (1 - np.tanh(means[0, 0] + u) ** 2) ** 2 - (weight @ (1 - np.tanh(means[0, 0] + u) ** 2)) ** 2
    expected[2, 2] += gaps[0] * private
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("narrow", [0.5, 0.03])
def test_noise_of_a_kink_under_a_narrow_branch(narrow: float) -> None:
    """ReLU without means: E theta(u) theta(v) = 1/4 + arcsin(r)/(2 pi), r the correlation."""
    places, own = [Place(Phi(theory.activation("relu")), Dense(), *"1112")] * 2, np.array([1.0, 1 + narrow])
    left, zero, one = np.array([[1.0, 1.0], [0.0, 1.0]]), np.zeros((1, 2)), np.ones((1, 2))
    found = noise_of(enough_terms(places, zero, own, [1.0, 1.0], left), own, left, one, np.zeros(2))[0]
    r = (1 + narrow) ** -0.5
    assert found[2, 3] == pytest.approx((np.arcsin(r) - r) / (2 * np.pi), abs=1e-4)
    assert found[2, 2] == pytest.approx(1 / 4 - 1 / (2 * np.pi), rel=1e-9)


@pytest.mark.parametrize("act", ["relu", "tanh"])
def test_the_mean_is_the_trace(act: str) -> None:
    """rho alpha (kappa_1 - kappa_2), but for the quasirandom units that stand for their law."""
    net = network(act, 3)
    orders = theory.numeric_order_parameters(net, "proportional")
    trace = 1.5 * float(net.alpha) * float(orders.kappa1 - orders.kappa2)
    assert Curve(residual(net, 1.5)).moments()[0] == pytest.approx(trace, rel=2e-3)
    found = edge(net, 1.5, width=512.0)
    assert found.error < 2e-3 * found.place
    assert found.moment == pytest.approx(trace, rel=5e-3)


def test_every_slip_moves_the_edge() -> None:
    net = network("gelu")
    right = edge(net, 2.0, width=500.0)
    for name, (_, change) in RESIDUAL_SLIPS.items():
        try:
            assert abs(edge(net, 2.0, width=500.0, change=change).place / right.place - 1) > 0.01, name
        except EdgeError:
            continue  # no edge at all


def test_it_is_predicted_where_bounds_were_all() -> None:
    net = network("relu")
    found = theory.predict(net, "lambda_max", "proportional")
    assert isinstance(found, EdgePrediction)
    value = found.evaluate(M=512.0, rho=2.0, C=1.0)
    low = theory.predict(net, "lambda_max_lower", "proportional").evaluate(rho=2.0)
    high = theory.predict(net, "lambda_max_upper", "proportional").evaluate(M=512.0, rho=2.0, c_2=0.0, C=1.0)
    assert low < value < high
    assert "stream" in "\n".join(found.steps())
    with pytest.raises(EdgeError, match="one output"):
        edge(net, 2.0, classes=2)


def test_other_networks_of_steps_have_bounds_alone() -> None:
    phi, dense, out = Phi(theory.activation("relu")), Dense(sp.Integer(1)), Dense(sp.Integer(0))
    block = Skip(Chain((phi, dense)))
    assert stream(theory.Network(Chain((dense, block, phi, out)))) is not None
    for steps in (
        (dense, phi, dense, phi, out),
        (dense, Skip(Chain((phi, dense, phi, dense))), phi, out),
        (dense, block, dense, phi, out),
        (dense, block, dense, out),
        (dense, block, phi, dense, phi, out),
        (dense, Skip(Chain((phi, replace(dense, rate=sp.Integer(2))))), phi, out),
        (replace(dense, weights="orthogonal"), block, phi, out),
    ):
        net = theory.Network(Chain(steps), last="mean")
        assert stream(net) is None
        with pytest.raises(EdgeError, match="residual network"):
            theory.predict(net, "lambda_max", "proportional")


def test_a_normalization_that_changes_nothing_leaves_the_edge() -> None:
    """gamma u/sqrt(q_1) with gamma^2 = q_1 at every place; another gamma moves the edge."""
    net = network("tanh", 2, 1.3, 0.2)
    K = theory.numeric_order_parameters(net, "proportional").K

    def normalized(factor: float) -> theory.Network:
        def before(place: int) -> RMSNorm:
            return RMSNorm(gamma=sp.Float(factor * float(K[str(place)].same) ** 0.5))

        first, *skips, phi, out = net.steps.steps
        steps = [
            replace(s, branch=Chain((before(n), *s.branch.steps)))
            for n, s in enumerate(skips, 1)
            if isinstance(s, Skip)
        ]
        return theory.Network(Chain((first, *steps, before(3), phi, out)), last="mean")

    plain = edge(net, 2.0, width=400.0).place
    assert edge(normalized(1.0), 2.0, width=400.0).place == pytest.approx(plain, rel=1e-9)
    assert abs(edge(normalized(1.3), 2.0, width=400.0).place / plain - 1) > 0.05


def test_a_unit_that_splits_off_is_refused() -> None:
    """One unit with a huge output weight."""
    net = network("abs", 1)
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((2, 400, 2))
    shared[1, 0] = 0.0, 12.0
    with pytest.raises(EdgeError, match="splits off"):
        given_edge(net, 1.0, given(net, shared.reshape(-1, 2)))
