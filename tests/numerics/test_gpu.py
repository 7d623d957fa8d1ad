"""The same draws on a CUDA device."""

import itertools

import numpy as np
import pytest
import torch

from fimcheck.numerics import Composition, RandomNetwork, measure
from fimcheck.numerics.normalizations import HIDDEN_NORMALIZATIONS, LAST_NORMALIZATIONS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch sees none"),
]


@pytest.mark.parametrize(("hidden", "last"), list(itertools.product(HIDDEN_NORMALIZATIONS, LAST_NORMALIZATIONS)))
def test_a_device_gives_what_the_cpu_gives(hidden: str, last: str) -> None:
    network = RandomNetwork((40, 50, 45, 3), "tanh", hidden, last, sigma_b2=0.2, affine=True)
    quantities = ["m", "s", "lambda_max", "lambda_top", "hq1", "q2", "outputs"]
    cpu = measure(network, 12, (1, 2), quantities)
    gpu = measure(network, 12, (1, 2), quantities, device="cuda")
    for name in quantities:
        np.testing.assert_allclose(gpu.draws[name], cpu.draws[name], rtol=1e-9, atol=1e-11)


COMPOSED = {
    "residual": ("dense", ("layer", "relu", "dense"), "layer", "relu", "dense"),
    "batch": ("dense", "batch", "tanh", "dense", ("batch", "tanh", "dense"), "dense"),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_a_device_gives_what_the_cpu_gives_of_compositions(name: str) -> None:
    nodes = tuple(
        ("skip", {}, (tuple((step, {}, ()) for step in part),)) if isinstance(part, tuple) else (part, {}, ())
        for part in COMPOSED[name]
    )
    network = Composition(nodes, 40, 30, 3, sigma_b2=0.2)
    quantities = ["m", "s", "lambda_max", "K", "tq", "Th"]
    cpu = measure(network, 12, (1, 2), quantities)
    gpu = measure(network, 12, (1, 2), quantities, device="cuda")
    for quantity in quantities:
        np.testing.assert_allclose(gpu.draws[quantity], cpu.draws[quantity], rtol=1e-9, atol=1e-11)
