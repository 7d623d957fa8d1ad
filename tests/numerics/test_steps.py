"""Composed networks: hand-written derivatives against torch's, the matrix-free route against the matrix."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fimcheck import numerics
from fimcheck.numerics import draw, dual, gram, overlaps
from fimcheck.numerics.autograd import slow_gram, slow_jacobian
from fimcheck.numerics.matrixfree import dual_operator
from fimcheck.numerics.normalizations import Derivative
from fimcheck.numerics.passes import backward, forward
from fimcheck.numerics.steps import weights
from fimcheck.numerics.steps.step import Meeting, Rows

Nodes = tuple[Any, ...]


def node(name: str, *branches: Nodes, **parameters: float | str) -> tuple[str, dict, Nodes]:
    return name, parameters, branches


BLOCKS: list[Nodes] = [
    (node("dense"), node("softplus")),  # no unit is dead: a batch normalization of a constant one is nan
    (node("layer"), node("tanh"), node("dense", weights="orthogonal")),
    (node("skip", (node("rms"), node("tanh"), node("dense"))),),
    (node("skip", (node("batch"), node("dense"), node("tanh"), node("dense", weights="uniform")), a=0.5, b=2),),
    (node("gate", (node("dense"), node("sigmoid")), (node("dense", weights="sparse"),)),),
    (node("group"), node("scale", by=1.5), node("shift", by=0.3), node("dense", sw2=0.7, sb2=0.1)),
    (node("dropout", keep=0.7), node("dense")),
    (node("batch", gamma=0.8), node("tanh"), node("dense", rate=2)),
]
PLACED: list[Nodes] = [
    (node("conv"), node("tanh")),
    (node("skip", (node("layer"), node("attention"))),),
    (node("skip", (node("batch"), node("silu"), node("conv", taps=2))),),
]


@st.composite
def networks(pick: st.DrawFn) -> numerics.Composition:
    positions = pick(st.sampled_from([1, 1, 4]))
    blocks = pick(st.lists(st.sampled_from(BLOCKS + (PLACED if positions > 1 else [])), min_size=1, max_size=3))
    body = (node("dense"), *(step for block in blocks for step in block))
    end = (node("pool"), node("dense")) if positions > 1 else (node("dense"),)
    last = pick(st.sampled_from(["none", "mean", "batch"]))
    biases = pick(st.booleans())
    return numerics.Composition((*body, *end), 6, 5, 2, positions, last, 1.7, 0.3, 1.2, 0.4, 1.3, biases)


@pytest.mark.parametrize("block", [*BLOCKS, *PLACED], ids=lambda block: "-".join(name for name, *_ in block))
@pytest.mark.parametrize("last", ["none", "batch"])
def test_every_step_agrees_with_torch(block: Nodes, last: str) -> None:
    """The generated networks below need not meet every one."""
    body = (node("dense"), *block, node("pool"), node("dense"))
    network = numerics.Composition(body, 6, 5, 2, 4, last, 1.7, 0.3, 1.2, 0.4, 1.3)
    drawn = draw(network, 5, [1, 2])
    slow = slow_gram(network, drawn)
    assert gram(network, drawn) == pytest.approx(slow, abs=1e-10 * float(slow.abs().max()))


def test_the_softmax_metric_is_that_of_the_outputs() -> None:
    """The Fisher matrix of a softmax p is J^T B J/T, B = diag p - p p^T: its traces are those of (G B)^k."""
    body = (node("dense"), node("tanh"), node("dense"))
    plain, metric = (numerics.Composition(body, 8, 5, 3, 1, last, 1.7, 0.3) for last in ("none", "softmax"))
    drawn = draw(plain, 4, [7])
    g, found = gram(plain, drawn)[0], gram(metric, drawn)[0]
    p = forward(plain, drawn).outputs[0].softmax(-1)  # (T, C)
    at = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    b = torch.einsum("tkj,ts->ktjs", at, torch.eye(4).double()).reshape(12, 12)
    for power in (1, 2, 3):
        want = torch.trace(torch.linalg.matrix_power(g @ b, power))
        assert torch.trace(torch.linalg.matrix_power(found, power)) == pytest.approx(float(want), rel=1e-10)


@settings(derandomize=True, deadline=None, database=None, max_examples=40)
@given(networks())
def test_random_compositions_agree_with_both_other_routes(network: numerics.Composition) -> None:
    drawn = draw(network, 5, [1, 2])
    slow = slow_gram(network, drawn)
    size = float(slow.abs().max())
    assert gram(network, drawn) == pytest.approx(slow, abs=1e-10 * size)
    operator = dual_operator(network, drawn)
    identity = torch.eye(slow.shape[1], dtype=torch.float64).expand(2, -1, -1)
    assert operator(identity) == pytest.approx(slow, abs=1e-10 * size)


@pytest.mark.parametrize("param", ["standard", "ntk"])
def test_parametrizations_and_rates(param: str) -> None:
    steps = (
        node("dense", param=param),
        node("relu"),
        node("dense", param=param, rate=3),
        node("tanh"),
        node("dense", param=param),
    )
    network = numerics.Composition(steps, 6, 5, 2, sigma_b2=0.3)
    drawn = draw(network, 5, [1, 2])
    slow = slow_gram(network, drawn)
    assert gram(network, drawn) == pytest.approx(slow, abs=1e-12 * float(slow.abs().max()))


MUTANTS: dict[str, tuple[Any, str, Callable]] = {
    "no projection on z": (
        Derivative, "__call__", lambda self, v: (v - v.mean(self.axes, keepdim=True)) * self.gain,
    ),
    "no mean": (
        Derivative, "__call__", lambda self, v: self.gain * (v - self.z * (v * self.z).mean(self.axes, keepdim=True)),
    ),
    "taps back where they came": (
        weights.Convolution, "unpatched", lambda self, rows, units: sum(rows.split(units, -1)),
    ),
    "no cross positions": (
        dual, "kernel", lambda met: torch.diag_embed(torch.diagonal(_kernel(met), dim1=1, dim2=2)),
    ),
 }  # fmt: skip
_kernel = dual.kernel


@pytest.mark.parametrize("mutant", MUTANTS)
def test_broken_derivatives_are_seen(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = (
        node("conv"),
        node("batch"),
        node("tanh"),
        node("conv", width=0.5),
        node("layer"),
        node("relu"),
        node("pool"),
        node("dense"),
    )
    network = numerics.Composition(steps, 8, 5, 2, 4, sigma_b2=0.3)
    drawn = draw(network, 5, [1])
    right = slow_gram(network, drawn)
    where, name, broken = MUTANTS[mutant]
    monkeypatch.setattr(where, name, broken)
    assert not torch.allclose(gram(network, drawn), right, rtol=1e-3)


def test_overlaps_are_those_of_their_definition() -> None:
    """Loops over pairs of places, and derivatives of every output by torch."""
    steps = (
        node("conv"),
        node("relu"),
        node("skip", (node("batch"), node("tanh"), node("conv"))),
        node("pool"),
        node("dense"),
    )
    network = numerics.Composition(steps, 6, 4, 2, 4, sigma_b2=0.3, biases=False)
    found = numerics.measure(network, 3, [5], ["K", "mean", "tq", "Th"]).draws
    drawn = draw(network, 3, [5])
    run = forward(network, drawn)
    assert overlaps.step_paths(network) == tuple(run.trace.inside)
    for i, x in enumerate(v[0] for v in run.trace.inside.values()):
        T, N, n = x.shape
        flat = x.reshape(T * N, n)
        sums: dict[str, list[float]] = {"same": [], "mate": [], "other": []}
        for a in range(T * N):
            for b in range(T * N):
                relation = "same" if a == b else "mate" if a // N == b // N else "other"
                sums[relation].append(float(flat[a] @ flat[b]) / n)
        for r, relation in enumerate(sums):
            pairs = sums[relation] or sums["same"]
            assert found["K"][0, i, r] == pytest.approx(np.mean(pairs), rel=1e-10)
        assert found["mean"][0, i] == pytest.approx(float(x.mean()), rel=1e-10)
    jacobian = slow_jacobian(network, drawn)[0]
    gram = (jacobian @ jacobian.T).view(2, 3, 2, 3)
    same = np.mean([float(gram[k, t, k, t]) for k in range(2) for t in range(3)]) / 6
    assert found["Th"][0, 0] == pytest.approx(same, rel=1e-10)
    # What the first step adds is its coefficients times the overlaps of what its weights meet.
    seen: dict[str, Meeting] = {}
    backward(run, lambda met: seen.update({met.path: met}))
    met = seen["1"]
    x = met.inputs[0].flatten(0, 1)
    overlap = x @ x.T
    total = 0.0
    for row in met.rows.values[0].flatten(1, 2):
        total += float((overlap * (row @ row.T)).sum())
    eye, block = torch.eye(12, dtype=torch.float64), torch.block_diag(*3 * [torch.ones(4, 4, dtype=torch.float64)])
    relation = {"same": eye, "mate": block - eye, "other": 1 - block}
    stated = 0.0
    for row in met.rows.values[0].flatten(1, 2):
        for mask in relation.values():
            stated += float((overlap * mask * (row @ row.T)).sum())
    assert stated == pytest.approx(total, rel=1e-10)
    for r, mask in enumerate(relation.values()):
        pairs = sum(float(((row @ row.T) * mask).sum()) for row in met.rows.values[0].flatten(1, 2)) / 6
        assert found["tq"][0, 0, 0, r] == pytest.approx(pairs, rel=1e-10)


@pytest.mark.parametrize("law", weights.WEIGHTS)
def test_weights_have_their_variance(law: str) -> None:
    network = numerics.Composition((node("dense", weights=law), node("dense")), 64, 64, 1, sigma_w2=3.0)
    drawn = draw(network, 2, list(range(30)))
    weight = drawn.weights[0]
    error = float(weight.square().std()) / weight.numel() ** 0.5
    assert float(weight.square().mean() * 64) == pytest.approx(3.0, abs=5 * 64 * error)
    if law == "orthogonal":
        assert (weight @ weight.mT)[0] == pytest.approx(3.0 * torch.eye(64, dtype=torch.float64), abs=1e-12)
    zeros = float((weight == 0).double().mean())
    assert zeros == pytest.approx(1 - weights.KEPT, abs=0.01) if law == "sparse" else zeros == 0


def test_rows_spread_only_where_samples_couple() -> None:
    rows = Rows(torch.randn(1, 2, 3, 1, 4, dtype=torch.float64))
    spread = rows.over_samples(3).values
    assert spread.shape == (1, 6, 3, 1, 4)
    assert float(spread.square().sum()) == pytest.approx(float(rows.values.square().sum()))
    assert torch.equal(spread[0, 4, 1], rows.values[0, 1, 1])


def test_many_seeds_at_once_are_each_alone() -> None:
    network = numerics.Composition(
        (node("dense"), node("skip", (node("layer"), node("relu"), node("dense"))), node("dense")), 8, 8, 2
    )
    together = numerics.measure(network, 4, [3, 4, 5], ["m", "lambda_max", "K"]).draws
    for i, seed in enumerate((3, 4, 5)):
        alone = numerics.measure(network, 4, [seed], ["m", "lambda_max", "K"]).draws
        for quantity, values in alone.items():
            assert together[quantity][i] == pytest.approx(values[0], rel=1e-12)


def test_given_inputs_take_the_place_of_drawn_ones() -> None:
    network = numerics.Composition((node("dense"), node("relu"), node("dense")), 8, 5, 1)
    inputs = torch.randn(4, 5, dtype=torch.float64)
    drawn = draw(network, 4, [1, 2], inputs=inputs)
    assert torch.equal(drawn.inputs[1, :, 0], inputs)
    with pytest.raises(ValueError, match="inputs of shape"):
        draw(network, 4, [1], inputs=inputs[:, :3])


def test_records_round_trip() -> None:
    network = numerics.Composition(
        (node("dense"), node("skip", (node("relu"), node("dense")), a=0.5), node("dense")), 8, 8, 1
    )
    measured = numerics.measure(network, 3, [1, 2], ["m", "K"])
    back = numerics.Measurement.from_record(measured.to_record())
    assert back.network.parameters == network.parameters
    again = numerics.measure(back.network, 3, [1, 2], ["m"])
    assert again.draws["m"] == pytest.approx(measured.draws["m"], rel=1e-15)


@pytest.mark.parametrize(
    ("steps", "positions", "named"),
    [
        ((node("dense"), node("skip", (node("dense", width=2),)), node("dense")), 1, "do not meet"),
        (
            (node("dense"), node("gate", (node("dense", width=2),), (node("dense"),)), node("dense")),
            1,
            "make them equal",
        ),
        ((node("dense"), node("pool"), node("dense")), 1, "pool over one position"),
        ((node("conv"), node("pool"), node("dense")), 2, "3 taps over 2 positions"),
        ((node("dense"), node("attention"), node("dense")), 1, "attention over one position"),
        ((node("dense"), node("relu")), 1, "ends in a dense step"),
        ((node("dense"), node("relu"), node("dense")), 4, "still have positions"),
        ((node("dense"), node("nothing"), node("dense")), 1, "'nothing' is not a step"),
        ((node("dense", size=3), node("dense")), 1, "no parameter 'size'"),
        ((node("dense", width=0.3), node("dense")), 1, "not a whole number"),
        ((node("dense", weights="cauchy"), node("dense")), 1, "cauchy"),
        ((node("dense"), node("group", groups=5), node("dense")), 1, "groups"),
        ((node("dense"), node("dropout", keep=2), node("dense")), 1, "keep"),
        ((node("dense"), node("skip"), node("dense")), 1, "takes 1 branches"),
    ],
)
def test_bad_compositions_are_refused(steps: Nodes, positions: int, named: str) -> None:
    with pytest.raises(numerics.NetworkError, match=named):
        numerics.Composition(steps, 8, 8, 2, positions)
