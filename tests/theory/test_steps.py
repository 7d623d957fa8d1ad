"""Composed networks against formulas written out by hand, the other route to the same numbers."""

from dataclasses import replace
from itertools import pairwise
from math import pi

import numpy as np
import pytest
import sympy as sp

from fimcheck import theory
from fimcheck.theory import symbols
from fimcheck.theory.network.combine import Chain, Gate, Pool, Skip
from fimcheck.theory.network.dense import Attention, Convolution, Dense
from fimcheck.theory.network.elementwise import Dropout, Phi, Scale, Shift
from fimcheck.theory.network.normalize import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from fimcheck.theory.network.step import STEPS

W2, B2 = 1.7, 0.3


def net(*nodes, **values) -> theory.Network:
    """A network from names and (name, parameters, branches)."""
    full = [(n, {}, ()) if isinstance(n, str) else n for n in nodes]
    return theory.compose(full, **{"sigma_w2": W2, "sigma_b2": B2, "gamma": 1.2, "beta": 0.4, **values})


def skip(*nodes, **parameters):
    return "skip", parameters, (tuple((n, {}, ()) if isinstance(n, str) else n for n in nodes),)


def relu(p: float, c: float) -> tuple[float, float]:
    """E relu(u) relu(v) and E relu' relu' of a centered pair (Cho and Saul 2009)."""
    angle = np.arccos(np.clip(c / p, -1, 1))
    return p / (2 * pi) * (np.sin(angle) + (pi - angle) * np.cos(angle)), (pi - angle) / (2 * pi)


def totals(found: theory.OrderParameters, network: theory.Network) -> tuple[float, float]:
    return float(found.kappa1) * float(network.alpha), float(found.kappa2) * float(network.alpha)


def test_a_chain_equals_the_backward_recursion_of_the_paper() -> None:
    """tq from above to below, kappa as a sum over layers, in the paper's own order (theory here runs forward only)."""
    alpha = [0.5, 1.5, 1.0]
    hq: list[tuple[float, ...]] = [(1.0, 0.0)]
    q, slopes = [], []
    for _ in range(2):
        q.append(tuple(W2 * h + B2 for h in hq[-1]))
        values = [relu(q[-1][0], c) for c in q[-1]]
        hq.append(tuple(v[0] for v in values))
        slopes.append(tuple(v[1] for v in values))
    tq = [(1.0, 1.0)]
    for slope in reversed(slopes):
        tq.insert(0, tuple(W2 * t * s for t, s in zip(tq[0], slope, strict=True)))
    total = sum(a * b for a, b in pairwise(alpha))
    wide = theory.WideNetwork(3, "relu", sigma_w2=W2, sigma_b2=B2, ratios=alpha)
    found = theory.numeric_order_parameters(wide)
    for a, kappa in enumerate((found.kappa1, found.kappa2)):
        assert float(kappa) == pytest.approx(sum(alpha[n] * tq[n][a] * hq[n][a] for n in range(3)) / total, rel=1e-13)
    assert found.tq2 == pytest.approx({n + 1: t[1] for n, t in enumerate(tq)}, rel=1e-13)


def test_a_pre_norm_residual_network() -> None:
    """The stream adds, forward and backward; each branch sees it normalized."""
    K, T = (W2 + B2, B2), (1.0, 0.0)
    for _ in range(2):
        v = K[0]
        normal = [1.2**2 * k / v for k in K]  # beta = 0
        values = [relu(normal[0], c) for c in normal]
        inner = [t * 1.2**2 / v * values[a][1] for a, t in enumerate(T)]
        K = tuple(k + W2 * values[a][0] + B2 for a, k in enumerate(K))
        T = tuple(t + W2 * inner[a] + values[a][0] for a, t in enumerate(T))
    out = [W2 * t + k for t, k in zip(T, K, strict=True)]
    network = net("dense", skip("layer", "relu", "dense"), skip("layer", "relu", "dense"), "dense", beta=0)
    found = theory.numeric_order_parameters(network)
    assert totals(found, network) == pytest.approx(out, rel=1e-13)
    assert float(network.alpha) == 3


def test_convolution_and_pooling_count_taps_and_mates() -> None:
    N = 5
    K, T = (W2 + B2, B2, B2), (3.0, 0.0, 0.0)  # same, mate, other; three taps
    values = [relu(K[0], c) for c in K]
    h = [v[0] for v in values]
    t = [x * v[1] for x, v in zip(T, values, strict=True)]
    h_same, t_same = (h[0] + (N - 1) * h[1]) / N, (t[0] + (N - 1) * t[1]) / N
    network = net("conv", "relu", "pool", "dense", positions=N)
    found = theory.numeric_order_parameters(network)
    assert totals(found, network) == pytest.approx((W2 * t_same + h_same, W2 * t[2] + h[2]), rel=1e-13)
    assert float(network.alpha) == 3


def test_attention_is_a_mean_between_two_dense_steps() -> None:
    N = 4
    one = net("dense", "attention", "pool", "dense", positions=N)
    found = theory.numeric_order_parameters(one)
    K = (W2 + B2, B2)
    value = [W2 * k for k in K]
    mixed = ((value[0] + (N - 1) * value[1]) / N, value[1])
    T = [W2 * 1.0 + K[0], W2 * 0.0 + K[1]]  # at the values: through W_v, and its own weights
    mate = W2 * 0.0 + B2
    T = [(T[0] + (N - 1) * mate) / N, T[1]]
    T = [W2 * t + m for t, m in zip(T, mixed, strict=True)]
    out = [W2 * t + W2 * m for t, m in zip(T, mixed, strict=True)]
    assert totals(found, one) == pytest.approx(out, rel=1e-13)
    assert float(one.alpha) == 1 + 4


def test_the_ntk_is_the_recursion_of_jacot_and_others() -> None:
    ntk = {"param": "ntk"}
    network = net(("dense", ntk, ()), "relu", ("dense", ntk, ()), "relu", ("dense", ntk, ()))
    K, T = (W2 + B2, B2), (W2 + B2, B2)
    for _ in range(2):
        values = [relu(K[0], c) for c in K]
        K = tuple(W2 * v[0] + B2 for v in values)
        T = tuple(W2 * t * v[1] + k for t, v, k in zip(T, values, K, strict=True))
    found = theory.numeric_order_parameters(network)
    assert totals(found, network) == pytest.approx(T, rel=1e-13)
    assert theory.predict(network, "lambda_max").scaling("M") == 0
    assert theory.predict(network, "m").scaling("M") == -2


def test_a_gate_multiplies_and_dropout_divides() -> None:
    network = net("dense", ("gate", {}, ((("dense", {}, ()), ("tanh", {}, ())), (("dense", {}, ()),))), "dense")
    plain = theory.numeric_order_parameters(net("dense", "dense", "tanh", "dense"))
    found = theory.numeric_order_parameters(network)
    assert float(found.K["2"].same) == pytest.approx(float(plain.K["3"].same) * float(plain.K["2"].same), rel=1e-13)
    dropped = theory.numeric_order_parameters(net("dense", "relu", ("dropout", {"keep": 0.8}, ()), "dense"))
    kept = theory.numeric_order_parameters(net("dense", "relu", "dense"))
    assert float(dropped.K["3"].same) == pytest.approx(float(kept.K["2"].same) / 0.8, rel=1e-13)
    assert float(dropped.K["3"].other) == pytest.approx(float(kept.K["2"].other), rel=1e-13)


def test_means_enter_sums() -> None:
    """A branch that ends in relu has a mean, which meets that of a shifted stream."""
    network = net("dense", ("shift", {"by": 0.7}, ()), skip("dense", "relu", a=0.5), "dense")
    p = W2 * (W2 + B2 + 0.49) + B2
    stream, mean = W2 + B2 + 0.49, np.sqrt(p / (2 * pi))
    found = theory.numeric_order_parameters(network)
    assert float(found.K["3"].same) == pytest.approx(stream + 0.25 * p / 2 + 2 * 0.5 * 0.7 * mean, rel=1e-12)
    assert float(found.mean["3"]) == pytest.approx(0.7 + 0.5 * mean, rel=1e-12)


def test_batch_over_many_samples_tends_to_the_limit() -> None:
    network = net("dense", skip("batch", "relu", "dense"), "batch", "tanh", "dense")
    limit = theory.numeric_order_parameters(network, "infinite")
    far = [
        abs(float(theory.numeric_order_parameters(network, T=T).kappa2) / float(limit.kappa2) - 1)
        for T in (200, 400, 800)
    ]
    assert far[1] == pytest.approx(far[0] / 2, rel=0.05)
    assert far[2] == pytest.approx(far[1] / 2, rel=0.05)


def test_given_inputs_that_are_independent_are_the_drawn_ones() -> None:
    kernel = np.eye(6)
    given = net("dense", "relu", "dense", "tanh", "dense", inputs=theory.GivenInputs(kernel))
    drawn = net("dense", "relu", "dense", "tanh", "dense")
    for quantity in ("m", "s", "lambda_max", "lambda_perp", "lambda_1"):
        one, two = (theory.predict(n, quantity) for n in (given, drawn))
        values = {"M": 100.0, "C": 2.0, "T": 6.0}
        found = [p.evaluate(**{k: values[k] for k in p.symbols}) for p in (one, two)]
        assert found[0] == pytest.approx(found[1], rel=1e-12), quantity


def test_given_inputs_entry_by_entry() -> None:
    """Every entry of the T x T kernel is the arc-cosine recursion of that pair."""
    points = np.random.default_rng(0).normal(size=(5, 8))
    points /= np.sqrt((points**2).mean(1, keepdims=True))
    kernel = points @ points.T / 8
    network = net("dense", "relu", "dense", inputs=theory.GivenInputs(kernel))
    found = np.array(theory.numeric_order_parameters(network).K["2"].other, float)
    for s in range(5):
        for t in range(5):
            assert found[s, t] == pytest.approx(relu(W2 + B2, W2 * kernel[s, t] + B2)[0], rel=1e-12)


COMPOSITIONS = [
    (("dense", skip("layer", "relu", "dense"), "layer", "tanh", "dense"), {}),
    (("dense", "group", "relu", "dense", "rms", "erf", "dense"), {}),
    (("dense", skip("batch", "relu", "dense", a=0.5), "batch", "relu", "dense"), {"beta": 0}),
    (("conv", "batch", "relu", "conv", "pool", "dense"), {"positions": 4, "beta": 0}),
    (
        (
            "dense",
            ("gate", {}, ((("dense", {}, ()), ("relu", {}, ())), (("dense", {}, ()),))),
            "dense",
            "relu",
            "dense",
        ),
        {},
    ),
    (("dense", skip("layer", "attention"), "layer", "relu", "pool", "dense"), {"positions": 3}),
    (("dense", "relu", ("dropout", {"keep": 0.5}, ()), "dense", ("scale", {"by": 2}, ()), "relu", "dense"), {}),
]


@pytest.mark.parametrize(("nodes", "values"), COMPOSITIONS)
def test_expressions_and_numbers_agree(nodes, values) -> None:
    network = net(*nodes, **values)
    exact, numbers = theory.order_parameters(network), theory.numeric_order_parameters(network, T=7)
    for name in ("kappa1", "kappa2"):
        stated = sp.sympify(getattr(exact, name)).subs(symbols.T, 7)
        assert float(getattr(numbers, name)) == pytest.approx(float(sp.N(stated)), rel=1e-11)


@pytest.mark.parametrize(("nodes", "values"), COMPOSITIONS)
def test_every_slip_of_a_step_moves_an_overlap(nodes, values) -> None:
    network = net(*nodes, **values)
    right = theory.numeric_order_parameters(network, T=7)
    assert network.slips
    for slip in network.slips:
        other = network.altered(slip)
        if other is None:
            continue  # what it forgets is not there
        wrong = theory.numeric_order_parameters(other, T=7)
        moved = [abs(float(wrong.kappa1 / right.kappa1) - 1), abs(float(wrong.kappa2 / right.kappa2) - 1)]
        moved += [abs(float(wrong.K[path].same / right.K[path].same) - 1) for path in right.K]
        assert max(moved) > 1e-3, slip


def test_no_step_alters_a_network_that_cannot_make_the_slip() -> None:
    assert net("dense", "relu", "dense").altered("half gate") is None
    assert net("dense", "relu", "dense", sigma_b2=0).altered("no sb2") is None


def test_odd_networks_without_biases_have_no_pair_overlaps() -> None:
    centered = net("dense", skip("layer", "tanh", "dense"), "tanh", "dense", sigma_b2=0, beta=0)
    assert theory.predict(centered, "lambda_max").formula.has(symbols.kappa2) is False
    biased = net("dense", skip("layer", "tanh", "dense"), "tanh", "dense", beta=0)
    assert theory.predict(biased, "lambda_max").formula.has(symbols.kappa2)


@pytest.mark.parametrize(
    ("nodes", "values", "named"),
    [
        (("dense", "relu", "relu", "dense"), {}, "step 3: an activation on the output of relu"),
        (("dense", "relu", "batch", "dense"), {}, "not Gaussian"),
        (("dense", skip("relu"), "dense"), {}, "without dense weights"),
        (("dense", skip(("dense", {"width": 2}, ())), "dense"), {}, "do not meet"),
        (("dense", ("gate", {}, ((("dense", {"width": 2}, ()),), (("dense", {}, ()),))), "dense"), {}, "do not meet"),
        (("dense", ("gate", {}, ((("relu", {}, ()),), (("dense", {}, ()),))), "dense"), {}, "not independent"),
        (("dense", "pool", "dense"), {}, "pool over the positions"),
        (("conv", "relu", "dense"), {}, "conv over the positions"),
        (("conv", "relu", "dense"), {"positions": 4}, "Put pool before"),
        (("conv", "relu", "conv", "batch", "relu", "pool", "dense"), {"positions": 4}, None),
        (("dense", "attention", "batch", "relu", "pool", "dense"), {"positions": 4}, "not exchangeable"),
        (("dense", "relu"), {}, "Add dense at the end"),
        (("dense", "reul", "dense"), {}, "did you mean relu"),
        (("dense", ("layer", {"gama": 1}, ()), "dense"), {}, "no parameter 'gama'"),
        (("dense", ("layer", {"held": 1}, ()), "dense"), {}, "no parameter 'held'"),
        ((("dense", {"sw2": -1}, ()), "dense"), {}, "must be positive"),
        ((("dense", {"param": "mup"}, ()), "dense"), {}, "standard, ntk"),
        ((("dense", {"param": "ntk"}, ()), "relu", "dense"), {}, "Use one for all"),
        (("dense", "relu", ("dense", {"width": 2}, ())), {}, "leave its width out"),
        (("dense", "batch", "relu", "dense"), {"inputs": theory.GivenInputs(np.eye(4))}, "mixes the samples of given"),
        (("dense", "relu", "dense"), {"last": "softmac"}, "softmac"),
    ],
)
def test_bad_compositions_get_one_clear_error(nodes, values, named: str | None) -> None:
    if named is None:
        net(*nodes, **values)
        return
    with pytest.raises(ValueError, match=named):
        net(*nodes, **values)


def test_given_inputs_are_checked() -> None:
    for kernel, named in (
        (np.eye(3) * 2, "norms differ"),
        (np.ones((2, 3)), "T x T"),
        (np.full((2, 2), np.nan), "finite"),
    ):
        with pytest.raises(ValueError, match=named):
            theory.GivenInputs(kernel)


def test_every_kind_of_step_is_known_by_its_name() -> None:
    kinds = (
        Dense,
        Convolution,
        Attention,
        Dropout,
        Scale,
        Shift,
        LayerNorm,
        GroupNorm,
        RMSNorm,
        BatchNorm,
        Skip,
        Gate,
        Pool,
    )
    assert {kind.name: kind for kind in kinds} == STEPS
    assert all(kind.rule and kind.__doc__ for kind in kinds)


def test_paths_follow_the_order_of_computation() -> None:
    network = net("dense", skip("layer", "relu", "dense"), "dense")
    assert list(network.all_steps) == ["1", "2.branch.1", "2.branch.2", "2.branch.3", "2", "3"]
    assert network.all_steps["2.branch.1"].words == "layer normalization"
    assert Chain((Phi(theory.activation("relu")),)) != Chain((Phi(theory.activation("tanh")),))
    assert replace(network, text="x") == network


def test_softmax_metric_equals_its_product_with_the_dual_matrix() -> None:
    """R G R with R^2 = Lambda has the eigenvalues of Lambda G, which needs no root."""
    outputs = np.random.default_rng(1).normal(size=(3, 4))
    full = np.zeros((3, 4, 3, 4))
    for t in range(4):
        p = np.exp(outputs[:, t]) / np.exp(outputs[:, t]).sum()
        full[:, t, :, t] = np.diag(p) - np.outer(p, p)
    block = 2.0 * 100 / 4 * ((1.6 - 0.4) * np.eye(4) + 0.4)
    stated = np.sort(np.linalg.eigvals(full.reshape(12, 12) @ np.kron(np.eye(3), block)).real)[::-1]
    found = theory.output_spectrum("softmax", 1.6, 0.4, 2.0, 100, outputs)
    assert found == pytest.approx(stated, abs=1e-10 * stated[0])


def test_a_transformer_of_24_blocks_in_numbers() -> None:
    block = (skip("layer", "attention"), skip("layer", "dense", "relu", "dense"))
    found = theory.predict(net("dense", *(24 * block), "layer", "pool", "dense", positions=16), "lambda_max")
    assert found.evaluate(M=1000, T=10) > 0
