"""How time and memory of the exact dual matrix grow with M, T, C and L, against the counted operations.

    python -m benchmarks.scaling [THREADS]

Each line changes one of them; the last column is counted operations over time over the measured rate.
"""

import sys
import time

import torch

from benchmarks.one import memory, rate, reset_peak
from fimcheck.numerics import RandomNetwork, draw, gram
from fimcheck.numerics.cost import exact_operations

# (M, T, C, L): one setting, then each of the four doubled on its own.
SETTINGS = {
    "none": (1000, 200, 2, 3),
    "batch": (500, 50, 2, 3),
}
GROWTH = [
    (1, 1, 1, 1),
    (0.5, 1, 1, 1),
    (2, 1, 1, 1),
    (1, 2, 1, 1),
    (1, 4, 1, 1),
    (1, 1, 2, 1),
    (1, 1, 4, 1),
    (1, 1, 1, 2),
]


def main() -> None:
    """Print the table."""
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    print("hidden      M     T   C   L   seconds   peak MB   G operations   of the rate")
    for hidden, setting in SETTINGS.items():
        for factors in GROWTH:
            width, samples, outputs, depth = (round(a * b) for a, b in zip(setting, factors, strict=True))
            network = RandomNetwork((width,) * depth + (outputs,), "relu", hidden, biases=False)
            drawn = draw(network, samples, [1], "float32")
            gram(network, drawn)
            reset_peak()
            before, best = memory("VmRSS"), float("inf")
            for _ in range(5):
                start = time.perf_counter()
                gram(network, drawn)
                best = min(best, time.perf_counter() - start)
            count = exact_operations(network, samples)
            share = count / best / rate()
            line = f"{hidden:<8}{width:5}{samples:6}{outputs:4}{depth:4}{best:10.4f}"
            print(f"{line}{memory('VmHWM') - before:10.0f}{count / 1e9:15.1f}{share:14.0%}", flush=True)


if __name__ == "__main__":
    main()
