"""Matrix-free products and estimates against the explicit dual matrix and known spectra."""

import itertools

import pytest
import torch

from fimcheck.numerics.chain import RandomNetwork
from fimcheck.numerics.dual import gram
from fimcheck.numerics.estimators import second_moment, spectral_density, trace
from fimcheck.numerics.krylov import top_eigenvalues
from fimcheck.numerics.matrixfree import dual_operator
from fimcheck.numerics.normalizations import HIDDEN_NORMALIZATIONS, LAST_NORMALIZATIONS
from fimcheck.numerics.sampling import draw

CASES = list(itertools.product(HIDDEN_NORMALIZATIONS, LAST_NORMALIZATIONS))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def matrix_with(eigenvalues: torch.Tensor, seed: int = 0) -> torch.Tensor:
    n = len(eigenvalues)
    q = torch.linalg.qr(normal(n, n, seed=seed))[0]
    return (q * eigenvalues @ q.T).unsqueeze(0)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("widths", [(5, 9, 4, 7, 3), (2, 3, 3, 3)])
@pytest.mark.parametrize(("hidden", "last"), list(itertools.product(HIDDEN_NORMALIZATIONS, LAST_NORMALIZATIONS)))
def test_products_equal_the_matrix(hidden: str, last: str, widths: tuple[int, ...], affine: bool) -> None:
    network = RandomNetwork(widths, "sin", hidden, last, 1.7, 0.3, 1.3, 0.2, 0.7, affine=affine)
    drawn = draw(network, 7, seeds=(3, 4))
    g, v = gram(network, drawn), normal(2, 21, 4)

    product = dual_operator(network, drawn)(v)
    torch.testing.assert_close(product, g @ v, rtol=0, atol=1e-12 * float(g.abs().max()))


@pytest.mark.parametrize("count", [1, 3])
def test_top_eigenvalues_and_their_bounds(count: int) -> None:
    exact = torch.linspace(0, 1, 200, dtype=torch.float64) ** 2
    g = matrix_with(exact)
    for tolerance in (1e-2, 1e-4, 1e-10):
        found = top_eigenvalues(lambda v: g @ v, normal(1, 200, count), count, tolerance)
        assert found.converged
        distance = (found.values[0].unsqueeze(1) - exact).abs().amin(1)
        assert (distance <= found.bounds[0] + 1e-14).all()
        assert (found.bounds <= tolerance * found.values[:, :1]).all()
    torch.testing.assert_close(found.values[0], exact.flip(0)[:count], rtol=1e-12, atol=0)


def test_too_few_products_are_reported_with_a_true_bound() -> None:
    exact = torch.linspace(0, 1, 200, dtype=torch.float64)
    g = matrix_with(exact)
    found = top_eigenvalues(lambda v: g @ v, normal(1, 200, 2), 2, 1e-10, max_products=20)
    assert not found.converged
    assert found.products == 20
    assert float(found.bounds.max()) > 1e-6
    assert ((found.values[0].unsqueeze(1) - exact).abs().amin(1) <= found.bounds[0]).all()


def test_top_eigenvalues_of_low_rank_multiple_and_zero_matrices() -> None:
    for exact in ([0.0] * 10, [0.0] * 8 + [2.0, 2.0], [1.0] * 10, [0.0] * 9 + [3.0]):
        eigenvalues = torch.tensor(exact, dtype=torch.float64)
        g = matrix_with(eigenvalues)
        found = top_eigenvalues(lambda v, g=g: g @ v, normal(1, 10, 2), 2, 1e-10)
        torch.testing.assert_close(found.values[0], eigenvalues.flip(0)[:2], rtol=1e-12, atol=1e-12)


def test_trace_and_second_moment_have_honest_errors() -> None:
    exact = torch.linspace(0.1, 1, 60, dtype=torch.float64) ** -1
    g = matrix_with(exact)
    for estimate, truth in ((trace, exact.sum()), (second_moment, exact.square().sum())):
        # The mean of 300 within 4 standard errors; the promised error near the true one.
        found = [estimate(lambda v: g @ v, normal(1, 60, 10, seed=seed)) for seed in range(300)]
        values = torch.cat([f.value for f in found])
        errors = torch.cat([f.error for f in found])
        assert abs(values.mean() - truth) < 4 * values.std() / 300**0.5
        assert 0.85 < errors.square().mean().sqrt() / values.std() < 1.15


def test_trace_of_low_rank_is_exact() -> None:
    g = matrix_with(torch.tensor([0.0] * 20 + [1.0, 2.0, 3.0], dtype=torch.float64))
    found = trace(lambda v: g @ v, normal(1, 23, 8))
    torch.testing.assert_close(found.value, torch.tensor([6.0], dtype=torch.float64), rtol=1e-12, atol=0)
    assert float(found.error) < 1e-12


def test_spectral_density() -> None:
    exact = torch.linspace(0, 2, 101, dtype=torch.float64)
    g = matrix_with(exact)
    density = spectral_density(lambda v: g @ v, normal(1, 101, 200), 30)
    torch.testing.assert_close(density.weights.sum(2), torch.ones(1, 200, dtype=torch.float64))
    for power in (1, 2, 3):
        found = density.moment(power)
        assert abs(found.value - (exact**power).mean()) < 4 * found.error
    found = density.below(1.01)
    assert abs(found.value - 51 / 101) < 4 * found.error + 1 / 30
    low_rank = matrix_with(torch.tensor([0.0] * 20 + [1.0, 2.0], dtype=torch.float64))
    assert spectral_density(lambda v: low_rank @ v, normal(1, 22, 5), 12).moment(1).value.isfinite().all()
