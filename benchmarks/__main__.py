"""One command, one table: every contender at every work, each in a process of its own.

python -m benchmarks                        # all works, peers as far as they are installed
python -m benchmarks plain --repeats 5
python -m benchmarks --python OTHER/bin/python   # where the peers are installed
"""

import argparse
import json
import os
import subprocess
import sys

from benchmarks.contenders import CONTENDERS, TOP_ONLY
from benchmarks.works import WORKS
from fimcheck.numerics.cost import exact_operations


def run(python: str, work: str, contender: str, repeats: int, threads: int, limit: float) -> dict | str:
    """One contender's result, or why there is none."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [python, "-W", "ignore", "-m", "benchmarks.one", work, contender, str(repeats), str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return f"more than {limit:.0f} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
        return lines[-1][:90]
    return json.loads(done.stdout.splitlines()[-1])


def correct(values: list[float], reference: list[float]) -> bool:
    """Whether float32 eigenvalues equal those of float64 to 1e-3 of the largest."""
    count = min(len(values), len(reference))
    worst = max(abs(a - b) for a, b in zip(values[:count], reference[:count], strict=True))
    return worst <= 1e-3 * abs(reference[0])


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time fimcheck beside its peers.")
    parser.add_argument("works", nargs="*", default=list(WORKS), metavar="WORK", help=", ".join(WORKS))
    parser.add_argument("--python", default=sys.executable, help="interpreter in which the peers are installed")
    parser.add_argument("--only", nargs="+", default=list(CONTENDERS), metavar="CONTENDER", choices=CONTENDERS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=180.0, help="seconds for one contender at one work")
    options = parser.parse_args()
    for name in options.works:
        if name not in WORKS:
            parser.error(f"work {name!r} is unknown: use some of {', '.join(WORKS)}")
        work = WORKS[name]
        reference = run(options.python, name, "reference", 1, options.threads, 10 * options.limit)
        if isinstance(reference, str):
            sys.exit(f"{name}: the float64 reference failed: {reference}")
        print(f"\n{name}: {work.title()}")
        heads = f"{'best s':>10}{'median s':>10}{'to ours':>9}{'MB':>7}"
        print(f"  {'contender':<20}{heads}  float64?", flush=True)
        ours = None
        for contender in options.only:
            if contender in TOP_ONLY and work.wanted != "lambda_max":
                continue
            found = run(options.python, name, contender, options.repeats, options.threads, options.limit)
            if isinstance(found, str):
                print(f"  {contender:<20}  {found}", flush=True)
                continue
            best, median = min(found["seconds"]), sorted(found["seconds"])[len(found["seconds"]) // 2]
            ours = best if contender == "ours" else ours
            ratio = f"{best / ours:9.1f}" if ours else f"{'':>9}"
            verdict = "right" if correct(found["values"], reference["values"]) else "WRONG"
            line = f"  {contender:<20}{best:10.4f}{median:10.4f}{ratio}{found['peak']:7.0f}  {verdict}"
            if contender == "ours" and not work.model:
                floor = exact_operations(work.network, work.samples) / found["rate"]
                line += f"     matrix products: {floor:.4f} s at {found['rate'] / 1e9:.0f} GF/s"
            print(line, flush=True)


if __name__ == "__main__":
    main()
