"""Which of two right ways is cheaper: the choices of this package, with the measurements behind them."""

# Below this size eigvalsh takes a few milliseconds and block Lanczos as long in the interpreter.
SMALLEST_FOR_LANCZOS = 500


def lanczos_products(n: int) -> int:
    """How many products of an explicit n x n matrix block Lanczos may spend before eigvalsh takes over; 0
    for none.

    How many it needs is not known beforehand: about 10 where one eigenvalue stands out, 50 where the top
    is the edge of a bulk, hundreds for a cluster of C eigenvalues at such an edge. On two CPU cores in
    float64 eigvalsh takes 6, 30, 53, 290 ms at n = 400, 800, 1000, 2000 and n/14 products take a quarter
    to a half of that, so whatever the spectrum the sum is within 1.5 times the cheaper of the two.
    """
    return n // 14 if n >= SMALLEST_FOR_LANCZOS else 0


def jacobian_rows(rows: int, parameters: int, element: int, memory: int) -> int:
    """How many Jacobian rows to hold at once so that two blocks and the gradients they are made of fit in
    ``memory``.

    All rows if they fit. Otherwise a pair of blocks is recomputed, which costs rows/block times more
    reverse passes.
    """
    row = parameters * element
    return rows if 2 * rows * row <= memory else max(1, memory // (4 * row))
