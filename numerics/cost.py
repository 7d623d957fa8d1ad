"""Which of two right ways is cheaper: operation counts, and the choices of this package made from them."""

from fimcheck.numerics import coupled
from fimcheck.numerics.network import Network
from fimcheck.numerics.steps.step import Signals

# Below this size eigvalsh takes a few milliseconds and block Lanczos as long in the interpreter.
SMALLEST_FOR_LANCZOS = 500
# Products that block Lanczos typically needs per wanted eigenvalue at the edge of a bulk (10 if one
# stands out).
PRODUCTS_PER_EIGENVALUE = 60


def forward_operations(network: Network, samples: int) -> int:
    """Multiplications and additions of the matrix products of one forward pass."""
    return network.steps.forward_operations(network.start(samples))


def exact_operations(network: Network, samples: int) -> int:
    """The same for the exact dual matrix, its forward pass included.

    Of a chain under hidden batch normalization with all rows in one block.
    """
    start, classes = network.start(samples), network.outputs
    count = forward_operations(network, samples)
    if coupled.applies(network):
        count += _coupled_operations([network.inputs, *(dense.units for dense in network.dense.values())], samples)
    else:
        count += network.steps.gram_operations(start, Signals(classes, alike=True), back=False)[0]
    return count + network.output.operations(samples, classes)


def _coupled_operations(widths: list[int], samples: int) -> int:
    rows, classes = widths[-1] * samples, widths[-1]
    count = 2 * samples**2 * (widths[-3] + 2 * widths[-2]) + 4 * rows**2 * widths[-2] + classes**2 * (classes + 1)
    half = rows // 2
    products = half**2 + (rows - half) * rows  # one half of the matrix mirrors the other
    for before, width, after in zip(widths[:-3], widths[1:-2], widths[2:-1], strict=True):
        root = min(samples, before)
        count += 2 * rows * samples * width * (after + root) + 2 * products * root * width
        count += 2 * samples * root * width + (2 * samples**2 * before if before > samples else 0)
    return count


def product_operations(network: Network, samples: int) -> int:
    """The same for one matrix-free product with one vector."""
    return network.steps.product_operations(network.start(samples), back=False)


def prefers_matrix_free(network: Network, samples: int, count: int) -> bool:
    """Whether the ``count`` largest eigenvalues are cheaper from products than from the exact matrix."""
    products = PRODUCTS_PER_EIGENVALUE * count * product_operations(network, samples)
    return products + forward_operations(network, samples) < exact_operations(network, samples)


def lanczos_products(n: int, count: int) -> int:
    """How many products of an explicit n x n matrix block Lanczos may spend on its ``count`` largest
    eigenvalues.

    0 for none: LAPACK at once. When they are spent eigvalsh takes over. How many are needed is not known
    beforehand: some 10 steps where the wanted eigenvalues stand out, 50 where the top is the edge of a
    bulk, hundreds for a cluster of C eigenvalues at such an edge. n/8 products take about half the time
    of eigvalsh (on a CPU in float64, n from 500 to 2000), so whatever the spectrum the sum stays near the
    cheaper of the two: ``python -m benchmarks.choices`` prints how near.
    """
    return max(n // 8, 12 * count) if n >= SMALLEST_FOR_LANCZOS else 0


def jacobian_rows(rows: int, parameters: int, element: int, memory: int) -> int:
    """How many Jacobian rows to hold at once so that two blocks of them fit in ``memory`` bytes.

    All rows if they fit. Otherwise blocks are computed again for each pair, which costs rows/block times
    more.
    """
    row = parameters * element
    return rows if 2 * rows * row <= memory else max(1, memory // (4 * row))
