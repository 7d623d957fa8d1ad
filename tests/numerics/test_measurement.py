"""measure(): every quantity against an obvious computation, records, non-finite draws, memory, refusals."""

import itertools
import json

import numpy as np
import pytest
import torch
from torch import Tensor

from fimcheck.numerics import Composition, Measurement, RandomNetwork, draw, gram, measure, measurement
from fimcheck.numerics.autograd import slow_gram
from fimcheck.numerics.normalizations import HIDDEN_NORMALIZATIONS, LAST_NORMALIZATIONS

MATRIX = ["m", "s", "lambda_max", "lambda_top", "gap", "lambda_1", "lambda_perp"]
SEEDS = (5, 2**61)


def close(values: np.ndarray, expected: Tensor, rtol: float = 1e-11) -> None:
    np.testing.assert_allclose(values, expected.numpy(), rtol=rtol, atol=1e-13)


@pytest.mark.parametrize(("hidden", "last"), list(itertools.product(HIDDEN_NORMALIZATIONS, ["none", "mean", "batch"])))
def test_spectral_quantities_equal_those_of_the_slow_matrix(hidden: str, last: str) -> None:
    network = RandomNetwork((6, 8, 7, 3), "tanh", hidden, last, sigma_b2=0.2)
    found = measure(network, 5, SEEDS, MATRIX).draws
    g = slow_gram(network, draw(network, 5, SEEDS))
    eigenvalues = torch.linalg.eigvalsh(g)
    close(found["m"], eigenvalues.sum(1) / network.parameters)
    close(found["s"], eigenvalues.square().sum(1) / network.parameters)
    close(found["lambda_max"], eigenvalues[:, -1])
    close(found["lambda_top"], eigenvalues[:, -3:].mean(1))
    close(found["gap"], eigenvalues[:, -1] - eigenvalues[:, -2])
    blocks = torch.stack([g[:, 5 * k : 5 * k + 5, 5 * k : 5 * k + 5] for k in range(3)], 1)
    ones = blocks.sum((2, 3)) / 5
    close(found["lambda_1"], ones.mean(1))
    if last != "none":
        assert np.abs(found["lambda_1"]).max() < 1e-12
    # Trace of each class block on what is orthogonal to the ones, per direction that is left.
    left = (torch.diagonal(blocks, dim1=2, dim2=3).sum(2) - ones).mean(1) / (3 if last == "batch" else 4)
    close(found["lambda_perp"], left)


def signals(network: RandomNetwork, inputs: Tensor, weights: list[Tensor], biases: list[Tensor]) -> list[Tensor]:
    """d f_k(t) / d u^l_i(s) before the last normalization, (T,C,T,M_l) for l = 1..L, by torch alone."""

    def outputs(*shifts: Tensor) -> Tensor:
        h = inputs
        for number, (weight, bias, shift) in enumerate(zip(weights, biases, shifts, strict=True), 1):
            u = h @ weight.T + bias + shift
            if number < network.depth and network.hidden != "none":
                axis = 1 if network.hidden == "layer" else 0
                variance, mean = torch.var_mean(u, axis, correction=0, keepdim=True)
                u = network.gamma * (u - mean) / variance.sqrt() + network.beta
            h = network.phi.value(u) if number < network.depth else u
        return h

    shifts = tuple(torch.zeros(len(inputs), width, dtype=torch.float64) for width in network.widths[1:])
    return list(torch.autograd.functional.jacobian(outputs, shifts))


@pytest.mark.parametrize("hidden", HIDDEN_NORMALIZATIONS)
def test_order_parameters_equal_their_definitions(hidden: str) -> None:
    network = RandomNetwork((6, 8, 7, 5, 2), "tanh", hidden, "mean", sigma_b2=0.2, gamma=1.2, beta=0.1)
    samples, drawn = 4, draw(network, 4, SEEDS)
    forward = ["hq1", "hq2", "q1", "q2"]
    backward = ["c_I", "c_1"] if hidden == "batch" else ["tq1", "tq2", "kappa1", "kappa2"]
    found = measure(network, samples, SEEDS, forward + backward).draws
    off = ~torch.eye(samples, dtype=torch.bool)
    for seed in range(len(SEEDS)):
        weights, biases = [w[seed] for w in drawn.weights], [b[seed] for b in drawn.biases]
        delta = signals(network, drawn.inputs[seed], weights, biases)
        h = drawn.inputs[seed]
        scale = 5 / (6 * 8 + 8 * 7 + 7 * 5)
        kappas = [0.0, 0.0]
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            overlap = h @ h.T / h.shape[1]
            hq = [overlap.diagonal().mean(), overlap[off].mean()]
            for name, value in zip(("hq1", "hq2"), hq, strict=True):
                np.testing.assert_allclose(found[name][seed, layer], float(value), rtol=1e-11, atol=1e-14)
            u = h @ weight.T + bias
            overlap = u @ u.T / u.shape[1]
            np.testing.assert_allclose(found["q1"][seed, layer], float(overlap.diagonal().mean()), rtol=1e-11)
            np.testing.assert_allclose(found["q2"][seed, layer], float(overlap[off].mean()), rtol=1e-11)
            d = delta[layer]
            if hidden != "batch":
                own = torch.stack([d[t, :, t] for t in range(samples)], 1)
                overlap = own @ own.mT
                tq = [overlap.diagonal(dim1=1, dim2=2).mean(), overlap[:, off].mean()]
                for a in (0, 1):
                    np.testing.assert_allclose(found[f"tq{a + 1}"][seed, layer], float(tq[a]), rtol=1e-11)
                    kappas[a] += scale * h.shape[1] * float(tq[a] * hq[a])
            elif layer < network.depth - 1:
                c_i = d.square().sum() / (2 * (samples - 1))
                c_1 = d.sum(0).square().sum() / (2 * (samples - 1))
                np.testing.assert_allclose(found["c_I"][seed, layer], float(c_i), rtol=1e-11)
                np.testing.assert_allclose(found["c_1"][seed, layer], float(c_1), rtol=1e-10)
            axis = 1 if hidden == "layer" else 0
            if hidden != "none":
                u = (u - u.mean(axis, keepdim=True)) / u.std(axis, keepdim=True, correction=0) * 1.2 + 0.1
            h = torch.tanh(u)
        if hidden != "batch":
            np.testing.assert_allclose([found["kappa1"][seed], found["kappa2"][seed]], kappas, rtol=1e-11, atol=1e-14)


def test_output_statistics() -> None:
    raw = measure(RandomNetwork((6, 8, 4), "tanh"), 7, SEEDS, ["outputs"]).draws["outputs"]
    network = RandomNetwork((6, 8, 4), "tanh", last="batch", last_gamma=1.5)
    found = measure(network, 7, SEEDS, ["Q1", "Q2", "Qmax", "outputs"]).draws
    q = 1.5**2 / raw.var(axis=1)
    np.testing.assert_allclose(found["Q1"], q.mean(1), rtol=1e-12)
    np.testing.assert_allclose(found["Q2"], (q**2).mean(1), rtol=1e-12)
    np.testing.assert_allclose(found["Qmax"], q.max(1), rtol=1e-12)
    np.testing.assert_allclose(found["outputs"].std(axis=1), 1.5, rtol=1e-12)
    found = measure(RandomNetwork((6, 8, 4), "tanh", last="layer", last_gamma=1.5), 7, SEEDS, ["R1"]).draws
    np.testing.assert_allclose(found["R1"], (1 / raw.var(axis=2)).mean(1), rtol=1e-12)


def test_draws_do_not_depend_on_grouping(monkeypatch: pytest.MonkeyPatch) -> None:
    network = RandomNetwork((6, 8, 7, 2), hidden="batch")
    together = measure(network, 5, range(7), MATRIX)
    monkeypatch.setattr(measurement, "GROUP", 1)
    one_by_one = measure(network, 5, range(7), MATRIX)
    for name in MATRIX:
        np.testing.assert_allclose(together.draws[name], one_by_one.draws[name], rtol=1e-12)


def test_float32_is_near_float64() -> None:
    network = RandomNetwork((60, 80, 70, 2), hidden="layer", last="mean", sigma_b2=0.1)
    wide, narrow = (measure(network, 8, range(3), ["m", "lambda_max"], dtype) for dtype in ("float64", "float32"))
    for name in wide.draws:
        np.testing.assert_allclose(narrow.draws[name], wide.draws[name], rtol=1e-4)
        assert not np.array_equal(narrow.draws[name], wide.draws[name])


def test_given_inputs_replace_the_drawn_ones() -> None:
    network, inputs = RandomNetwork((4, 8, 2)), torch.arange(12.0).view(3, 4).double()
    found = measure(network, 3, [1, 2], ["hq1", "hq2"], inputs=inputs).draws
    np.testing.assert_allclose(found["hq1"][:, 0], float(inputs.square().mean()), rtol=1e-13)
    assert found["hq1"][0, 1] != found["hq1"][1, 1]


def test_matrix_free_route_of_measure_equals_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    network = RandomNetwork((30, 40, 35, 3), "tanh", "batch", "mean")
    exact = measure(network, 20, SEEDS, ["lambda_max", "lambda_top", "gap", "m"]).draws
    monkeypatch.setattr(measurement, "prefers_matrix_free", lambda *_: True)
    monkeypatch.setattr(measurement, "gram_of", None)  # it does go the other way
    free = measure(network, 20, SEEDS, ["lambda_max", "lambda_top", "gap"]).draws
    for name in free:
        np.testing.assert_allclose(free[name], exact[name], rtol=1e-10)


def test_one_output_has_a_gap() -> None:
    network = RandomNetwork((6, 8, 7, 1), "tanh", sigma_b2=0.2)
    eigenvalues = torch.linalg.eigvalsh(slow_gram(network, draw(network, 5, SEEDS)))
    close(measure(network, 5, SEEDS, ["gap"]).draws["gap"], eigenvalues[:, -1] - eigenvalues[:, -2])


def test_lanczos_on_the_matrix_equals_lapack() -> None:
    for last in ("none", "mean"):
        network = RandomNetwork((40, 50, 45, 3), last=last)
        drawn = draw(network, 200, [1])
        found = measure(network, 200, [1], ["lambda_max", "lambda_top"]).draws
        exact = torch.linalg.eigvalsh(gram(network, drawn))
        np.testing.assert_allclose(found["lambda_max"], exact[:, -1], rtol=1e-10)
        np.testing.assert_allclose(found["lambda_top"], exact[:, -3:].mean(1), rtol=1e-10)


@pytest.mark.parametrize("hidden", HIDDEN_NORMALIZATIONS)
@pytest.mark.parametrize("last", LAST_NORMALIZATIONS)
def test_draws_that_are_not_finite_are_nan_and_said_so(hidden: str, last: str) -> None:
    quantities = ["m", "s", "lambda_max", "lambda_top", "hq1", "outputs"]
    network = RandomNetwork((3, 2, 2, 3), lambda x: x / (x > 0), hidden, last)
    found = measure(network, 4, range(30), quantities)
    assert found.finite.shape == (30,)
    assert not found.finite.all()
    assert np.isnan(found.draws["lambda_max"][~np.isfinite(found.draws["s"])]).all()


def test_a_constant_signal_is_not_normalized_into_noise() -> None:
    # A unit whose inputs are all dead has the same pre-activation, its bias, for every sample.
    network = RandomNetwork((3, 1, 1, 1), hidden="batch", beta=-9.0, sigma_b2=0.3)
    found = measure(network, 5, range(10), ["m", "lambda_max"])
    assert not found.finite.any()
    network = RandomNetwork((3, 1, 2), last="batch", sigma_b2=0.3)
    found = measure(network, 3, range(200), ["m", "outputs"])
    dead = np.isnan(found.draws["outputs"]).any((1, 2))
    assert dead.any()
    assert not dead.all()
    assert np.array_equal(~dead, found.finite)


def test_smallest_networks_have_defined_answers() -> None:
    for hidden, last in itertools.product(["none", "batch"], ["none", "mean"]):
        network = RandomNetwork((1, 1, 1), "tanh", hidden, last)
        found = measure(network, 2, range(5), MATRIX)
        assert found.finite.all()
        g = gram(network, draw(network, 2, range(5)))
        close(found.draws["lambda_max"], torch.linalg.eigvalsh(g)[:, -1])
    # Two samples normalized over the batch are +1 and -1: only the last layer can move the output.
    network = RandomNetwork((4, 5, 5, 1), "tanh", "batch")
    drawn = draw(network, 2, [1])
    g = gram(network, drawn)
    torch.testing.assert_close(g, slow_gram(network, drawn), rtol=1e-12, atol=1e-12)


def test_running_out_of_memory_halves_the_work_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    network, real, sizes = RandomNetwork((6, 8, 7, 2)), measurement._measure_group, []
    whole = measure(network, 5, range(9), MATRIX)

    def failing(network, drawn, quantities, memory):
        sizes.append(len(drawn.inputs))
        if sizes[-1] > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return real(network, drawn, quantities, memory)

    monkeypatch.setattr(measurement, "_measure_group", failing)
    parts = measure(network, 5, range(9), MATRIX)
    assert max(sizes) > 2
    assert parts.notes
    assert "out of memory" in parts.notes[0]
    assert not whole.notes
    for name in MATRIX:
        np.testing.assert_allclose(parts.draws[name], whole.draws[name], rtol=1e-12)

    def broken(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(measurement, "_measure_group", broken)
    with pytest.raises(RuntimeError, match="something else"):
        measure(network, 5, range(9), MATRIX)


def test_records_are_plain_json_and_come_back_equal() -> None:
    network = RandomNetwork((3, 1, 2), last="batch", sigma_b2=0.3)
    found = measure(network, 3, range(200), ["m", "outputs", "hq1"])
    assert not found.finite.all()
    record = json.loads(json.dumps(found.to_record(), allow_nan=False))
    again = Measurement.from_record(record)
    assert (again.network, again.samples, again.seeds) == (network, 3, tuple(range(200)))
    assert (again.dtype, again.device, again.versions) == (found.dtype, found.device, found.versions)
    for name, values in found.draws.items():
        assert np.array_equal(again.draws[name], values, equal_nan=True)
    assert {"python", "numpy", "torch", "generator", "threads"} <= set(found.versions)
    with pytest.raises(ValueError, match="cannot be written to a record"):
        measure(RandomNetwork((3, 3, 1), torch.sin), 3, [1], ["m"]).to_record()


@pytest.mark.parametrize(
    ("hidden", "last", "quantity", "says"),
    [
        ("none", "none", "sharpness", "'sharpness' is unknown"),
        ("none", "layer", "lambda_1", "no common direction"),
        ("none", "layer", "lambda_perp", "no common direction"),
        ("none", "mean", "Q1", "belongs to last = 'batch'"),
        ("none", "batch", "R1", "belongs to last = 'layer'"),
        ("batch", "none", "tq1", "ask for c_I and c_1"),
        ("batch", "none", "kappa2", "ask for c_I and c_1"),
        ("layer", "none", "c_1", "belongs to hidden = 'batch'"),
    ],
)
def test_quantities_a_network_does_not_have_are_refused(hidden: str, last: str, quantity: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        measure(RandomNetwork((5, 5, 3), hidden=hidden, last=last), 4, [1], [quantity])


def test_no_quantities_are_refused() -> None:
    with pytest.raises(ValueError, match="quantities is empty"):
        measure(RandomNetwork((5, 5, 3)), 4, [1], [])


def test_quantiles_are_those_of_numpy_without_what_is_removed() -> None:
    network = RandomNetwork((6, 8, 7, 1), "tanh", last="mean", sigma_b2=0.2)
    found = measure(network, 13, SEEDS, ["quantiles"]).draws["quantiles"]
    eigenvalues = torch.linalg.eigvalsh(slow_gram(network, draw(network, 13, SEEDS)))[:, 1:].numpy()
    for own, values in zip(found, eigenvalues, strict=True):
        np.testing.assert_allclose(own, np.quantile(values, np.arange(2, 10) / 10, method="hazen"), rtol=1e-9)


def test_shared_fields_are_the_means_of_signals_and_derivatives() -> None:
    """By torch's own derivative of an output with respect to what an activation gives."""
    network = RandomNetwork((5, 6, 4, 2), "tanh", sigma_b2=0.2)
    drawn = draw(network, 7, [3])
    found = measure(network, 7, [3], ["shared"]).draws["shared"][0]
    weights = [drawn.numbers[f"{path}.W"][0] for path in network.dense]
    biases = [drawn.numbers[f"{path}.b"][0] for path in network.dense]
    h, rows = drawn.inputs[0], []
    signals: list[Tensor] = []
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        u = h @ weight.T + bias
        rows.append(u.mean(0))
        h = u.tanh().requires_grad_()
        signals.append(h)
    outputs = h @ weights[-1].T + biases[-1]
    start = 0
    for u, signal in zip(rows, signals, strict=True):
        units = len(u)
        part = found[start : start + units]
        np.testing.assert_allclose(part[:, 0], u.detach().numpy(), rtol=1e-12)
        if signal is signals[-1]:
            for k in range(2):
                (g,) = torch.autograd.grad(outputs[:, k].sum(), signal, retain_graph=True)
                np.testing.assert_allclose(part[:, 1 + k], units**0.5 * g.mean(0).numpy(), rtol=1e-12)
        start += units
    below = signals[0].detach().requires_grad_()
    outputs = (below @ weights[1].T + biases[1]).tanh() @ weights[2].T + biases[2]
    (g,) = torch.autograd.grad(outputs[:, 1].sum(), below)
    np.testing.assert_allclose(found[:6, 2], 6**0.5 * g.mean(0).numpy(), rtol=1e-12)


def test_shared_fields_of_a_residual_network() -> None:
    """By torch's own derivative: u^1 = 0.5 u^0 + 0.8 (W tanh(u^0) + b), f = w tanh(u^1)."""
    nodes = (("dense", {}, ()), ("skip", {"a": 0.8, "b": 0.5}, (BRANCH,)), ("tanh", {}, ()), ("dense", {}, ()))
    network = Composition(nodes, 6, 4, 1, sigma_b2=0.2)
    drawn = draw(network, 7, [3])
    found = measure(network, 7, [3], ["shared"]).draws["shared"][0]
    W, b = ({path: drawn.numbers[f"{path}.{kind}"][0] for path in network.dense} for kind in "Wb")
    first, inner, last = network.dense
    u = drawn.inputs[0].view(7, 4) @ W[first].T + b[first]
    below = u.tanh().requires_grad_()
    stream = 0.5 * u + 0.8 * (below @ W[inner].T + b[inner])
    above = stream.tanh()
    above.retain_grad()
    (above @ W[last].T).sum().backward()
    assert below.grad is not None
    assert above.grad is not None
    for part, seen, slope in ((found[:6], u, below.grad), (found[6:], stream, above.grad)):
        np.testing.assert_allclose(part[:, 0], seen.detach().mean(0).numpy(), rtol=1e-12)
        np.testing.assert_allclose(part[:, 1], 6**0.5 * slope.mean(0).numpy(), rtol=1e-12)


def test_shared_fields_where_a_dense_step_sees_no_activation() -> None:
    dense, tanh, batch = ("dense", {}, ()), ("tanh", {}, ()), ("batch", {}, ())
    for nodes in ((dense, dense, tanh, dense), (dense, batch, tanh, dense)):
        with pytest.raises(ValueError, match="see an activation"):
            measure(Composition(nodes, 6, 4, 1), 5, SEEDS, ["shared"])


BRANCH = (("tanh", {}, ()), ("dense", {}, ()))


def test_shared_fields_of_coupled_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="every sample"):
        measure(RandomNetwork((6, 8, 7, 1), "tanh", "batch"), 5, SEEDS, ["shared"])
