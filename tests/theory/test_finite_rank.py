"""Terms of finite rank: the eigenvalue they take out of the bulk, and the law of the largest before and after."""

import numpy as np
import pytest
from scipy import linalg

from fimcheck import numerics, theory
from fimcheck.theory.edge import chain_rank, edge, finite_rank, given_edge, tracy_widom
from fimcheck.theory.edge.curve import Curve
from fimcheck.theory.edge.dyson import Dyson
from fimcheck.theory.edge.largest import Leaving, _largest
from fimcheck.theory.edge.law import EdgeError
from fimcheck.theory.edge.own_units import ORDERS
from fimcheck.theory.edge.slips import RANK_SLIPS
from fimcheck.theory.edge.units import units

SILU = theory.WideNetwork(5, "silu", last="mean", sigma_w2=2, sigma_b2=0, ratios=1)


def chain(depth: int, act: str, b: float = 0.1, ratios: float | tuple[float, ...] = 1.0) -> theory.WideNetwork:
    return theory.WideNetwork(depth, act, last="mean", sigma_w2=2, sigma_b2=b, ratios=ratios)


def determinant_at(curve: Curve[Dyson], g: float) -> float:
    return finite_rank.determinant(chain_rank.sums(curve, g))


@pytest.mark.parametrize("act", ["cos", "relu", "gelu"])
def test_with_two_layers_it_is_the_lengths_of_the_inputs(act: str) -> None:
    """1 - g (alpha_1/alpha_0) (sigma_w2^2/2) E[f2^2 p], p the response of a unit, which feels nothing else."""
    net, rho = chain(2, act, 0.1, (0.5, 1.0)), 0.5
    found = units(net, rho, 1, 500.0)
    curve, layer = Curve(Dyson(found)), found.layers[0]
    for g in np.array([0.3, 0.95]) * curve.end():
        at = curve.solved(float(g))
        assert at is not None
        a, _, c, _, _ = at.energies
        forward = layer.forward + c
        response = forward / (1 - (g * layer.n_pp + a * layer.f1**2) * forward)
        expected = 1 - g * 2 * (4 / 2) * float(np.real(layer.mean(layer.f2**2 * response)))
        assert determinant_at(curve, float(g)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("net", "rho", "g", "expected"),
    [
        (chain(5, "silu"), 1.0, 0.08204245233631845, 0.6236726808893757),
        (chain(6, "gelu"), 0.25, 0.021266682767115925, 0.8326391246043886),
        (chain(4, "gelu", ratios=(1, 0.5, 2, 0.7)), 0.5, 0.01810699316971658, 0.9330574311050331),
        (chain(3, "relu"), 1.0, 0.051091990332296715, 0.9592444726278054),
    ],
)
def test_the_determinant_is_that_of_a_program_of_its_own(
    net: theory.WideNetwork, rho: float, g: float, expected: float
) -> None:
    """That program wrote the sums by hand, even and odd in eta apart, with moments of its own."""
    assert determinant_at(Curve(Dyson(units(net, rho))), g) == pytest.approx(expected, rel=1e-9)


def test_the_determinant_is_zero_at_the_eigenvalue() -> None:
    curve = Curve(Dyson(units(SILU, 0.5, 1, 512.0)))
    end = curve.minimum()[0]
    assert determinant_at(curve, 0.0) == pytest.approx(1, abs=1e-12)
    assert determinant_at(curve, end) < 0
    place = finite_rank.leaving(curve, end, chain_rank.sums).place
    assert place is not None
    left, right = 0.0, end
    for _ in range(60):
        middle = (left + right) / 2
        left, right = (middle, right) if curve(middle) > place else (left, middle)
    assert determinant_at(curve, left) == pytest.approx(0, abs=1e-6)


def test_of_linear_networks_the_known_weights_change_nothing() -> None:
    """Known weights and independent ones are one law: what is taken back and what is coupled have to cancel."""
    net = theory.WideNetwork(5, "linear", last="mean", sigma_w2=2, sigma_b2=0.2, ratios=(1, 0.5, 2, 0.7, 1.3))
    curve = Curve(Dyson(units(net, 0.5)))
    assert determinant_at(curve, curve.minimum()[0]) == pytest.approx(1, abs=1e-11)


def test_noise_of_what_the_limit_has_not_is_no_term() -> None:
    """tanh without biases: activations have no mean, but their means over the samples of one network are not 0."""
    net = theory.WideNetwork(4, "tanh", last="mean", sigma_w2=2, sigma_b2=0, ratios=1)
    network = numerics.RandomNetwork((64,) * 4 + (1,), "tanh", sigma_w2=2, sigma_b2=0, last="mean")
    names = ("shared", *ORDERS)
    draws = numerics.measure(network, 128, range(8), names).draws
    for i in range(8):
        found = given_edge(net, 0.5, {name: draws[name][i] for name in names})
        assert found.leaving.place is None
        assert found.mean(128) == pytest.approx(found.place, rel=0.1)


def test_the_larger_of_a_unit_and_what_has_left_leads() -> None:
    net = theory.WideNetwork(3, "cos", last="mean", sigma_w2=2, sigma_b2=0, ratios=1)
    found = edge(net, 0.25, width=512.0)
    assert found.split > 3
    assert found.leaving.place is not None
    assert found.place < found.leaving.place < found.mean(2048)
    assert found.mean(2048) - found.leaving.place > 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("act", "rho", "classes"), [("relu", 1.0, 2), ("tanh", 2.0, 3)])
def test_networks_of_several_outputs_are_not_refused(act: str, rho: float, classes: int) -> None:
    assert edge(chain(3, act), rho, classes=classes, width=64.0).overlaps > 0


@pytest.mark.parametrize("name", RANK_SLIPS)
def test_every_part_of_it_counts(name: str) -> None:
    right, wrong = edge(SILU, 0.5, width=512.0), edge(SILU, 0.5, width=512.0, change=RANK_SLIPS[name][1])
    assert wrong.place == right.place
    assert abs(wrong.mean(1024) / right.mean(1024) - 1) > 0.05


def test_sampled_networks_have_it() -> None:
    """Given their units; the edge alone is lower by a third."""
    width, samples, count = 96, 192, 24
    network = numerics.RandomNetwork((width,) * 5 + (1,), "silu", sigma_w2=2, sigma_b2=0, last="mean")
    names = ("shared", *ORDERS)
    draws = numerics.measure(network, samples, range(count), ["lambda_max", *names]).draws
    found = [given_edge(SILU, 0.5, {name: draws[name][i] for name in names}) for i in range(count)]
    ratios = draws["lambda_max"] / np.array([edge.mean(samples) for edge in found])
    alone = draws["lambda_max"] / np.array([edge.place for edge in found])
    errors = [float(np.std(r, ddof=1)) / count**0.5 for r in (ratios, alone)]
    assert abs(np.mean(ratios) - 1) < 4 * errors[0]
    assert np.mean(alone) - 1 > 4 * errors[1]


def test_the_mean_is_continuous_where_an_eigenvalue_leaves() -> None:
    before = _largest(5.0, 2.0, Leaving(distance=1e-9), 1000.0)
    after = _largest(5.0, 2.0, Leaving(place=5.0 + 1e-12), 1000.0)
    unit = 2.0 * 1000.0 ** (-2 / 3)
    assert before[0] + tracy_widom.MEAN * unit + before[2] == pytest.approx(after[0] + after[2], abs=1e-3 * unit)
    far = _largest(5.0, 2.0, Leaving(), 1000.0)
    assert far == (5.0, 2.0, 0.0)


@pytest.mark.parametrize("w", [-2.0, -1.0, 0.0, 1.0, 3.0, np.inf])
def test_the_law_near_a_leaving_eigenvalue_is_that_of_matrices(w: float) -> None:
    """Dumitriu and Edelman's tridiagonal form of a Gaussian orthogonal matrix with 1 - w n^(-1/3) added in a corner."""
    n, kept, draws = 10**6, 1000, 600
    rng = np.random.default_rng(5)
    largest = np.empty((draws, 2))
    for i in range(draws):
        diagonal = rng.normal(0, np.sqrt(2 / n), kept)
        diagonal[0] += 0.0 if np.isinf(w) else 1 - w * n ** (-1 / 3)
        beside = np.sqrt(rng.chisquare(n - np.arange(1, kept)) / n)
        largest[i] = linalg.eigvalsh_tridiagonal(diagonal, beside, select="i", select_range=(kept - 2, kept - 1))
    scaled = (largest[:, 1] - 2) * n ** (2 / 3)
    assert abs(scaled.mean() - tracy_widom.mean_near(w)) < 4 * scaled.std() / draws**0.5
    if np.isinf(w):
        gaps = (largest[:, 1] - largest[:, 0]) * n ** (2 / 3)
        assert abs(gaps.mean() - tracy_widom.GAP) < 4 * gaps.std() / draws**0.5
        assert abs(scaled.std() / tracy_widom.SD - 1) < 4 / (2 * draws) ** 0.5


def test_far_from_leaving_it_is_tracy_and_widoms() -> None:
    for beta, mean in ((1, tracy_widom.MEAN), (2, -1.7710868074)):
        w, means = tracy_widom.means(beta)
        assert np.interp(9.0, w, means) == pytest.approx(mean + 1 / 9 - 0.5 / 9**3, abs=2e-3)
    for joint in (9.0, -4.0):  # the table goes over into what is known far out
        left, right = tracy_widom.mean_near(joint - 1e-9), tracy_widom.mean_near(joint + 1e-9)
        assert left == pytest.approx(right, abs=5e-3)


def test_where_it_is_not_derived() -> None:
    normalized = theory.WideNetwork(5, "silu", "layer", "mean", sigma_w2=2, sigma_b2=0, ratios=1, gamma=1.0, beta=0.0)
    assert edge(normalized, 0.5, width=256.0).leaving == Leaving()
    with pytest.raises(EdgeError, match="not derived for several"):
        edge(SILU, 0.5, classes=2, width=64.0)
