"""The choices of numerics.cost against both alternatives: how far from the better one each ends up.

python -m benchmarks.choices [THREADS]
"""

import sys

import torch

from benchmarks.seeds import best
from fimcheck.numerics import RandomNetwork, draw, gram, measure
from fimcheck.numerics.eigenvalues import largest, random_block
from fimcheck.numerics.krylov import top_eigenvalues
from fimcheck.numerics.matrixfree import dual_operator


def show(what: str, chosen: float, first: float, second: float) -> None:
    """One line."""
    print(f"{what:<44}{chosen:10.4f}{first:10.4f}{second:10.4f}{chosen / min(first, second):8.2f}", flush=True)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    print(f"{'top eigenvalues of a given matrix':<44}{'chosen':>10}{'Lanczos':>10}{'LAPACK':>10}{'ratio':>8}")
    for samples, outputs in ((100, 2), (250, 2), (400, 2), (1000, 1), (100, 10), (200, 10)):
        for last in ("none", "mean"):
            network = RandomNetwork((400, 400, 400, outputs), last=last)
            g = gram(network, draw(network, samples, [1]))
            start = random_block(g, g.shape[1], outputs)
            show(
                f"T = {samples}, C = {outputs}, last {last}: top {outputs}",
                best(lambda g=g, c=outputs: largest(g, c)),
                best(lambda g=g, s=start, c=outputs: top_eigenvalues(lambda v: g @ v, s, c, 1e-10)),
                best(lambda g=g: torch.linalg.eigvalsh(g)),
            )
    print(f"\n{'lambda_max of a network':<44}{'chosen':>10}{'products':>10}{'matrix':>10}{'ratio':>8}")
    for hidden, width, samples, outputs in (
        ("none", 400, 100, 2),
        ("none", 100, 800, 1),
        ("layer", 200, 100, 5),
        ("batch", 64, 10, 2),
        ("batch", 200, 20, 2),
        ("batch", 200, 60, 2),
    ):
        network = RandomNetwork((width, width, width, outputs), "relu", hidden)
        drawn = draw(network, samples, [1])
        drawing = best(lambda n=network, t=samples: draw(n, t, [1]))
        start = random_block(drawn.inputs, samples * outputs, 1)
        show(
            f"hidden {hidden}, M = {width}, T = {samples}, C = {outputs}",
            best(lambda n=network, t=samples: measure(n, t, [1], ["lambda_max"])) - drawing,
            best(lambda n=network, d=drawn, s=start: top_eigenvalues(dual_operator(n, d), s, 1, 1e-10)),
            best(lambda n=network, d=drawn: largest(gram(n, d), 1)),
        )


if __name__ == "__main__":
    main()
