"""Time one contender at one work in this process; prints one line of JSON.

python -m benchmarks.one WORK CONTENDER REPEATS THREADS
"""

import ctypes
import json
import sys
import time
from pathlib import Path

import torch

from benchmarks.contenders import CONTENDERS
from benchmarks.works import WORKS


def memory(field: str) -> float:
    """VmRSS (now) or VmHWM (the most since it was last reset) of this process, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}: peak memory is read there, on Linux only")


def reset_peak() -> None:
    """Give unused memory back to the system and set VmHWM back to what is used now."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def rate() -> float:
    """This machine's float32 matrix-product rate now, operations per second: the best of five at size
    2048.
    """
    x, best = torch.randn(2048, 2048), float("inf")
    for _ in range(6):
        start = time.perf_counter()
        torch.mm(x, x)
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


def main() -> None:
    """Run and report."""
    work, name, repeats, threads = WORKS[sys.argv[1]], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    drawn = work.draw("float64" if name == "reference" else "float32")
    machine = rate()
    run = CONTENDERS["ours" if name == "reference" else name](work, drawn)
    reset_peak()
    before, seconds = memory("VmRSS"), []
    values = torch.empty(0)
    for number in range(repeats + 1):  # the first run compiles, caches and is not counted, unless it is slow
        start = time.perf_counter()
        values = run()
        seconds.append(time.perf_counter() - start)
        if number == 0 and seconds[0] > 20:
            break
    seconds = seconds[1:] or seconds
    result = {
        "seconds": seconds,
        "peak": memory("VmHWM") - before,
        "rate": machine,
        "values": values.double().tolist(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
