"""What is found about a model, in words, tables and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from fimcheck.verify.models.coordinates import Check, Coordinate
from fimcheck.verify.models.sharpness import QUANTITIES, Growth
from fimcheck.verify.show.plots import BLUE, RED, picture, widths_axis
from fimcheck.verify.sweep.exponent import Exponent

WORDS = {"sharp": "pathologically sharp", "bounded": "bounded", "open": "open"}
COLOURS = {"sharp": "red", "bounded": "green", "open": "yellow"}


def power(found: Exponent | Coordinate) -> str:
    """M^1.00(2) for an exponent of 1 within 0.02, or that there is none."""
    if not np.isfinite(found.low):
        return "no power law"
    middle, half = (found.low + found.high) / 2, (found.high - found.low) / 2
    decimals = 2 if half < 0.095 else 1
    return f"M^{middle:.{decimals}f}({max(1, round(half * 10**decimals))})"


def sentences(found: Growth) -> Iterator[str]:
    """The verdict, what carries it, and what it means for the learning rate."""
    exponent, M = found.exponents["lambda_max"], found.case.widths[-1]
    if found.verdict == "open":
        yield f"{found.case}: open; {exponent.reason or f'lambda_max goes like {power(exponent)}'}"
    else:
        yield f"{found.case}: lambda_max goes like {power(exponent)}: {WORDS[found.verdict]}"
    if found.shares:
        largest = sorted(found.shares.items(), key=lambda item: -item[1])
        carried = ", ".join(f"{name} {share:.0%}" for name, share in islice(largest, 3))
        yield f"  the leading eigenvector at M = {M} lies in {carried}"
    law = "" if exponent.reason else f", and goes like {power(_inverse(exponent))}"
    yield f"  gradient descent is stable up to a learning rate of {found.rate:.3g} at M = {M}{law}"


def _inverse(found: Exponent) -> Exponent:
    return replace(found, low=-found.high, high=-found.low)


def table(found: Sequence[Growth]) -> Table:
    """Exponents of every quantity and numbers of outliers, one row a case."""
    out = Table(box=box.SIMPLE_HEAD)
    for heading in ("samples", *QUANTITIES, "outliers", "networks", "verdict"):
        out.add_column(heading, justify="left" if heading in ("samples", "verdict") else "right")
    for growth in found:
        first, last = growth.outliers[0], growth.outliers[-1]
        outliers = "-" if np.isnan(first) else f"{first:.1f} .. {last:.1f}"
        out.add_row(
            str(growth.case), *(power(growth.exponents[name]) for name in QUANTITIES), outliers, str(growth.networks),
            f"[{COLOURS[growth.verdict]}]{WORDS[growth.verdict]}[/]",
        )  # fmt: skip
    return out


def draw(file: Path, found: Sequence[Growth]) -> None:
    """lambda_max against the width, with the power that was found through the last point."""
    with picture(file, 6.5, 4.6) as figure:
        axes = figure.subplots()
        for growth, colour, marker in zip(found, (RED, BLUE), ("o", "s"), strict=False):
            widths, means = np.array(growth.case.widths, dtype=float), growth.means["lambda_max"]
            exponent = growth.exponents["lambda_max"]
            style = {"color": colour, "marker": marker, "linestyle": "none", "capsize": 2}
            axes.errorbar(widths, means, 2 * growth.errors["lambda_max"], label=str(growth.case), **style)
            if np.isfinite(exponent.low):
                p = (exponent.low + exponent.high) / 2
                label = f"{power(exponent)} as M grows: {WORDS[growth.verdict]}"
                axes.plot(widths, means[-1] * (widths / widths[-1]) ** p, color=colour, label=label)
        every = sorted({width for growth in found for width in growth.case.widths})
        widths_axis(axes, every)
        axes.set(yscale="log", ylabel=r"largest FIM eigenvalue $\lambda_{\max}$")
        axes.legend()


STATUS = {"AGREE": "green", "INCONCLUSIVE": "yellow", "DISAGREE": "red"}


def coordinates(found: Check) -> Table:
    """One row a module in the order in which they run: exponents of its size at the start and of its changes."""
    steps = sorted({c.step for c in found.coordinates})
    shown = [step for step in steps if step in (0, 1, steps[-1])]
    out = Table(box=box.SIMPLE_HEAD)
    out.add_column("module", overflow="fold")
    for step in shown:
        out.add_column(f"change, step {step}" if step else "at the start", justify="right")
    out.add_column("verdict")
    for name in found.names:
        by_step = {c.step: c for c in found.of(name)}
        powers = [power(by_step[step]) if step in by_step else "-" for step in shown]
        status = found.status(name)
        out.add_row(escape(name), *powers, f"[{STATUS[status]}]{status}[/]")
    return out


def broken(found: Check) -> str:
    """The first module that breaks its exponent, or that none does."""
    first = found.first
    if first is None:
        unsure = [name for name in found.names if found.status(name) == "INCONCLUSIVE"]
        if not unsure:
            return f"every module keeps its exponent ({len(found.names)} modules)"
        return f"not told: {', '.join(unsure)}; take more --networks or wider --widths"
    what = f"its change after step {first.step}" if first.step else "its size at the start"
    wanted = f"{'at most ' if first.bound else ''}M^{first.expected:g}"
    return f"{first.name} is the first to break: {what} goes like {power(first)}, not {wanted}"
