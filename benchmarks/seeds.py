"""Many seeds together against one by one, and the cost of drawing them: measure() at M = 128, T = 50.

python -m benchmarks.seeds [THREADS]
"""

import sys
import time
from collections.abc import Callable

import torch

from fimcheck.numerics import RandomNetwork, draw, measure

QUANTITIES = ["m", "s", "lambda_max", "lambda_1", "lambda_perp"]


def best(function: Callable[[], object]) -> float:
    """Seconds, the best of seven."""
    times = []
    for _ in range(7):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    print("hidden  last    64 together   one by one   ratio   drawing alone")
    for hidden, last in (("none", "none"), ("layer", "none"), ("none", "batch"), ("batch", "none")):
        network = RandomNetwork((128, 128, 128, 1), "relu", hidden, last)
        together = best(lambda n=network: measure(n, 50, range(64), QUANTITIES, "float32"))
        single = best(lambda n=network: [measure(n, 50, [i], QUANTITIES, "float32") for i in range(64)])
        drawing = best(lambda n=network: draw(n, 50, range(64), "float32"))
        print(f"{hidden:<8}{last:<8}{together:11.4f}{single:13.4f}{single / together:8.1f}{drawing:16.4f}")


if __name__ == "__main__":
    main()
