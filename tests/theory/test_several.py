"""The edge of several outputs: against one output, classes that are alike, and a simulated linear model."""

from dataclasses import replace

import numpy as np
import pytest

from fimcheck import theory
from fimcheck.theory.edge import EdgeError, edge, given_edge, tracy_widom
from fimcheck.theory.edge.curve import Curve, SplitOff
from fimcheck.theory.edge.dyson import Dyson
from fimcheck.theory.edge.own_units import ORDERS, drawn_units
from fimcheck.theory.edge.several import lowest, raised
from fimcheck.theory.edge.several_dyson import overlaps
from fimcheck.theory.edge.units import Units

NETS = [
    theory.WideNetwork(3, "tanh", last="mean", sigma_w2=2.0, sigma_b2=0.3, ratios=1),
    theory.WideNetwork(4, "gelu", last="mean", sigma_w2=1.9, sigma_b2=0.05, ratios=(1, 0.5, 1.5, 1)),
    theory.WideNetwork(2, "relu", last="mean", sigma_w2=2.0, sigma_b2=0.1, ratios=1),
]


def drawn(net: theory.WideNetwork, classes: int, width: int = 96, rho: float = 2.0) -> Units:
    return drawn_units(net, rho, classes, width, np.random.default_rng(1))


@pytest.mark.parametrize("net", NETS)
def test_of_one_class_it_is_the_equation_of_numbers(net: theory.WideNetwork) -> None:
    """Other code: a unit is a 2 x 2 matrix in closed form there, and Newton's method solves it."""
    found = drawn(net, 1)
    g, place, scale = Curve(Dyson(found)).minimum()
    assert lowest(Curve(Dyson(found))) == pytest.approx((g, place, scale), rel=1e-2)
    assert lowest(Curve(Dyson(found)))[1] == pytest.approx(place, rel=1e-5)


@pytest.mark.parametrize("net", NETS)
def test_classes_that_are_alike_have_the_edge_of_numbers(net: theory.WideNetwork) -> None:
    """Every unit twice, its eta along either class: the overlaps are alike exactly."""
    one = drawn(net, 1)
    e = np.eye(2)

    def twice(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, values])

    layers = tuple(
        replace(layer, **{n: twice(v) for n, v in vars(layer).items() if isinstance(v, np.ndarray)})
        for layer in one.layers
    )
    layers = tuple(replace(layer, weights=layer.weights / 2) for layer in layers)
    directions = tuple(np.repeat(e, len(layer.e) // 2, axis=0) for layer in layers)
    found = replace(one, layers=layers, classes=2, directions=directions)
    assert lowest(Curve(Dyson(found)))[1] == pytest.approx(Curve(Dyson(found)).minimum()[1], rel=1e-5)


def test_the_edge_does_not_know_which_class_is_which() -> None:
    """Turning all backward fields over the classes changes nothing."""
    found = drawn(NETS[0], 3)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    turned = replace(found, directions=tuple(own @ turn for own in found.directions))
    assert lowest(Curve(Dyson(turned))) == pytest.approx(lowest(Curve(Dyson(found))), rel=1e-6)


def test_overlaps_are_in_units_of_their_mean() -> None:
    found = drawn(NETS[0], 3)
    for matrix in (*overlaps(found)[0], *overlaps(found)[1]):
        assert matrix.trace() == pytest.approx(3.0)
        assert np.allclose(matrix, matrix.T)
    assert np.array_equal(overlaps(found)[0][-1], np.eye(3))


def simulated(found: Units, samples: int, rng: np.random.Generator) -> float:
    """The largest eigenvalue of the linear model at these units: signals forward and back through the same weights."""
    C = found.classes
    sizes = [round(found.rho * alpha * samples) for alpha in found.alphas]
    normal = rng.standard_normal
    two, gap = overlaps(found)
    total = np.kron(found.first * two[0], (x := normal((samples, sizes[0]))) @ x.T)
    weights, before, noises, signal = [], [], [], x
    for i, layer in enumerate(found.layers):
        times = sizes[i + 1] // len(layer.e)
        f1, npp, k_x, k_d, slopes = (
            np.tile(v, times) for v in (layer.f1, layer.n_pp, layer.k_x, layer.k_d, layer.slope_variance)
        )
        eta = np.tile(found.fields[i], (times, 1))
        w = normal((sizes[i + 1], sizes[i])) * np.sqrt(layer.weight / sizes[i])
        came = signal @ w.T
        first, second = normal((2, samples, sizes[i + 1]))
        spread = np.sqrt(np.maximum(npp, 1e-300))
        signal = came * f1 + spread * first
        apart = (k_x / spread) * first + np.sqrt(np.maximum(k_d - (k_x / spread) ** 2, 0)) * second
        root = np.linalg.cholesky(layer.gamma * gap[i + 1] + 1e-12 * np.eye(C))
        own = np.einsum("kj,jtu->ktu", root, normal((C, samples, sizes[i + 1]))) * np.sqrt(slopes)
        weights.append(w)
        before.append((came, f1, np.tile(layer.f2, times), eta))
        noises.append(np.einsum("tu,uk->ktu", apart, eta) + own)
        total += np.kron(layer.forward * two[i + 1], signal @ signal.T)
    back = None
    for i in reversed(range(len(found.layers))):
        came, f1, f2, eta = before[i]
        through = 0.0 if back is None else np.sqrt(sizes[i + 1] / sizes[i + 2]) * back @ weights[i + 1]
        back = np.einsum("tu,uk->ktu", came * f2, eta) + through * f1 + noises[i]
        flat = back.reshape(C * samples, -1)
        total += found.layers[i].backward * flat @ flat.T
    shift = found.rho * sum(size * matrix for size, matrix in zip(found.gaps, gap, strict=True))
    return float(np.linalg.eigvalsh(total / samples + np.kron(shift, np.eye(samples)))[-1])


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3])
def test_the_linear_model_has_this_edge(classes: int) -> None:
    """Its mean is within its statistical error of the edge, and far from that of classes that are alike."""
    found, samples, draws = drawn(NETS[0], classes, 50, 1.0), 300, 10
    _, place, scale = lowest(Curve(Dyson(found)))
    rng = np.random.default_rng(0)
    mean = np.mean([simulated(found, samples, rng) for _ in range(draws)])
    shift, chance = scale * samples ** (-2 / 3), tracy_widom.SD * scale * samples ** (-2 / 3) / np.sqrt(draws)
    assert abs(mean - (place + tracy_widom.MEAN * shift)) < 4 * chance
    _, alike, scale = Curve(Dyson(found)).minimum()
    assert mean - (alike + tracy_widom.MEAN * scale * (classes * samples) ** (-2 / 3)) > 8 * chance


def test_overlaps_raise_the_edge_less_at_larger_width() -> None:
    """On average over networks, far beyond the error that is stated."""
    small, large = (raised(NETS[2], 2.0, 2, width) for width in (64, 256))
    assert small[0] - large[0] > 4 * np.hypot(small[1], large[1])
    assert large[0] > 4 * large[1]


def test_the_prediction_has_the_overlaps() -> None:
    net = NETS[2]
    one, two = (theory.predict(net, "lambda_max", "proportional").evaluate(M=64, rho=2.0, C=c) for c in (1, 2))
    found = edge(net, 2.0, classes=2, width=64.0)
    assert found.overlaps == raised(net, 2.0, 2, 64)[0]
    assert found.error >= raised(net, 2.0, 2, 64)[1]
    assert two == pytest.approx(found.mean(32.0))
    assert two > 1.05 * one
    assert edge(net, 2.0, classes=2).overlaps == 0.0  # in the limit they are gone


def test_given_units_of_several_outputs_have_directions() -> None:
    """The same |eta| along one class or along all of them make two edges."""
    net, rng = NETS[0], np.random.default_rng(0)
    orders = theory.numeric_order_parameters(net, "proportional")
    found = {name: np.array([float(v) for _, v in sorted(getattr(orders, name).items())]) for name in ORDERS}
    shared = rng.standard_normal((128, 3))
    lengths = np.linalg.norm(shared[:, 1:], axis=1)
    along = np.stack([shared[:, 0], lengths, 0 * lengths], 1)
    mixed = given_edge(net, 2.0, found | {"shared": shared})
    aligned = given_edge(net, 2.0, found | {"shared": along})
    assert aligned.place > 1.1 * mixed.place
    assert mixed.outlier is None


def test_a_unit_that_splits_off_is_refused() -> None:
    net = theory.WideNetwork(3, "abs", last="mean", sigma_w2=1.0, sigma_b2=0.3, ratios=1)
    with pytest.raises(EdgeError, match="not derived for several outputs"):
        edge(net, 1.0, classes=2, width=400.0)


def test_an_extreme_unit_is_refused_however_extreme() -> None:
    """The lowest point would be its own, at a place that depends on how the search went."""
    deep = drawn(theory.WideNetwork(3, "relu", last="mean", sigma_w2=2.0, sigma_b2=0.1, ratios=1), 2, 128, 1.0)
    assert lowest(Curve(Dyson(deep)))[1] > 0
    for factor in (5.0, 8.0, 12.0):
        last = deep.layers[-1]
        e = last.e.copy()
        e[int(np.argmax(e * (last.f1 > 0.4)))] *= factor
        with pytest.raises(SplitOff):
            lowest(Curve(Dyson(replace(deep, layers=(*deep.layers[:-1], replace(last, e=e))))))


def test_what_several_outputs_have_not_is_refused() -> None:
    lengths = theory.WideNetwork(2, "cos", last="mean", sigma_w2=2.0, sigma_b2=0, ratios=(0.5, 1))
    with pytest.raises(EdgeError, match="not derived for several"):
        edge(lengths, 0.25, classes=2, width=64.0)
    found = theory.predict(NETS[2], "lambda_max", "proportional")
    with pytest.raises(ValueError, match="whole number"):
        found.evaluate(M=64, rho=2.0, C=2.5)
    with pytest.raises(EdgeError, match="at least 4"):
        found.evaluate(M=1, rho=2.0, C=2)
