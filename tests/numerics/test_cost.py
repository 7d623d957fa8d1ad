"""The operation counts equal what torch counts, and the choices made from them are the right ones."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fimcheck.numerics import Composition, RandomNetwork, draw, gram
from fimcheck.numerics.cost import (
    SMALLEST_FOR_LANCZOS,
    exact_operations,
    forward_operations,
    jacobian_rows,
    lanczos_products,
    prefers_matrix_free,
    product_operations,
)
from fimcheck.numerics.matrixfree import dual_operator
from fimcheck.numerics.passes import forward

NETWORKS = [
    RandomNetwork((50, 60, 70, 80, 3), hidden="layer", last="mean"),
    RandomNetwork((50, 60, 3), last="batch"),
    RandomNetwork((5, 6, 7, 2)),
    RandomNetwork((50, 60, 70, 80, 3), "tanh", hidden="batch"),
    RandomNetwork((4, 60, 5, 80, 1), "tanh", hidden="batch"),
]


def counted(function) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize("network", NETWORKS)
def test_counts_are_what_torch_counts(network: RandomNetwork) -> None:
    samples, drawn = 11, draw(network, 11, [1])
    assert counted(lambda: forward(network, drawn)) == forward_operations(network, samples)
    operator = dual_operator(network, drawn)
    v = torch.ones(1, samples * network.outputs, 1, dtype=torch.float64)
    operator(v)  # the first product also makes the kernels of the inputs
    assert counted(lambda: operator(v)) == product_operations(network, samples)
    assert counted(lambda: gram(network, drawn)) == exact_operations(network, samples)


COMPOSED = [
    ((("dense", {}, ()), ("tanh", {}, ()), ("dense", {}, ()), ("relu", {}, ()), ("dense", {}, ())), 1),
    ((("dense", {}, ()), ("skip", {}, ((("layer", {}, ()), ("relu", {}, ()), ("dense", {}, ())),)),
      ("dense", {}, ())), 1),
    ((("dense", {}, ()), ("batch", {}, ()), ("relu", {}, ()), ("dense", {"width": 0.5}, ()), ("relu", {}, ()),
      ("dense", {}, ())), 1),
    ((("conv", {}, ()), ("relu", {}, ()), ("conv", {"taps": 2}, ()), ("pool", {}, ()), ("dense", {}, ())), 4),
    ((("dense", {}, ()), ("skip", {}, ((("attention", {}, ()),),)), ("pool", {}, ()), ("dense", {}, ())), 4),
]  # fmt: skip


@pytest.mark.parametrize(("description", "positions"), COMPOSED)
@pytest.mark.parametrize("last", ["none", "batch"])
def test_counts_of_composed_networks_are_what_torch_counts(description, positions: int, last: str) -> None:
    network = Composition(description, 40, 7, 3, positions, last=last, sigma_b2=0.1)
    drawn = draw(network, 11, [1])
    assert counted(lambda: forward(network, drawn)) == forward_operations(network, 11)
    assert counted(lambda: gram(network, drawn)) == exact_operations(network, 11)
    operator = dual_operator(network, drawn)
    v = torch.ones(1, 11 * network.outputs, 1, dtype=torch.float64)
    operator(v)
    assert counted(lambda: operator(v)) == product_operations(network, 11)


def test_matrix_free_is_chosen_where_it_is_cheaper() -> None:
    # 0.5 s of products against a minute of matrix at the first, the other way round at the others.
    assert prefers_matrix_free(RandomNetwork((1000, 1000, 1000, 10), hidden="batch"), 200, 1)
    assert not prefers_matrix_free(RandomNetwork((1000, 1000, 1000, 10)), 200, 1)
    assert not prefers_matrix_free(RandomNetwork((2000, 2000, 2000, 1)), 1000, 1)
    assert not prefers_matrix_free(RandomNetwork((64, 64, 64, 2), hidden="batch"), 10, 2)


def test_lanczos_is_for_large_matrices_within_a_budget() -> None:
    assert lanczos_products(SMALLEST_FOR_LANCZOS - 1, 1) == 0
    assert 50 <= lanczos_products(800, 1) <= 100
    assert 100 <= lanczos_products(1000, 10) <= 200
    assert lanczos_products(2000, 10) <= 300


def test_jacobian_rows_fit_in_memory() -> None:
    assert jacobian_rows(100, 1000, 8, 2**31) == 100
    for memory in (10**4, 10**5, 10**6):
        block = jacobian_rows(100, 1000, 8, memory)
        assert block == 1 or 4 * block * 8000 <= memory
