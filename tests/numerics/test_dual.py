"""The hand-written dual matrix equals torch's Jacobian, for every case, activation and option."""

import itertools

import pytest
import torch

from fimcheck.numerics.activations import ACTIVATIONS
from fimcheck.numerics.autograd import slow_gram, slow_outputs
from fimcheck.numerics.chain import RandomNetwork
from fimcheck.numerics.dual import gram
from fimcheck.numerics.normalizations import HIDDEN_NORMALIZATIONS, LAST_NORMALIZATIONS
from fimcheck.numerics.passes import forward
from fimcheck.numerics.sampling import draw

CASES = list(itertools.product(HIDDEN_NORMALIZATIONS, LAST_NORMALIZATIONS))


def relative_difference(network: RandomNetwork, samples: int = 6, memory: int = 2**31) -> float:
    drawn = draw(network, samples, seeds=(3, 2**62 + 1))
    fast, slow = gram(network, drawn, memory), slow_gram(network, drawn)
    return float((fast - slow).abs().max() / slow.abs().max())


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize(("hidden", "last"), CASES)
def test_dual_matrix_equals_the_full_jacobian(hidden: str, last: str, biases: bool, affine: bool) -> None:
    network = RandomNetwork(
        (5, 9, 4, 7, 3),
        "tanh",
        hidden,
        last,
        sigma_w2=1.7,
        sigma_b2=0.3,
        gamma=1.3,
        beta=0.2,
        last_gamma=0.7,
        biases=biases,
        affine=affine,
    )
    assert relative_difference(network) < 1e-12


@pytest.mark.parametrize("activation", [*ACTIVATIONS, torch.tanh])
@pytest.mark.parametrize("hidden", HIDDEN_NORMALIZATIONS)
def test_every_activation(activation: str, hidden: str) -> None:
    assert (
        relative_difference(RandomNetwork((6, 8, 9, 3), activation, hidden, "batch", sigma_w2=0.8, sigma_b2=0.1))
        < 1e-11
    )


@pytest.mark.parametrize(("hidden", "last"), CASES)
def test_outputs_equal_torch_layers(hidden: str, last: str) -> None:
    network = RandomNetwork((5, 9, 4, 3), "gelu", hidden, last, sigma_b2=0.3, gamma=1.3, beta=0.2, last_gamma=0.7)
    drawn = draw(network, 6, seeds=(1, 2))
    torch.testing.assert_close(forward(network, drawn).outputs, slow_outputs(network, drawn), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("widths", [(5, 12, 11, 2), (5, 4, 6, 2), (3, 7, 2), (1, 1, 1, 1), (4, 5, 6, 7, 8, 2)])
def test_batch_normalization_in_small_blocks_of_rows(widths: tuple[int, ...]) -> None:
    network = RandomNetwork(widths, "erf", "batch", affine=True)
    assert relative_difference(network, memory=1) < 1e-12
