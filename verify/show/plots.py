"""What all pictures share: style, points with errors, saving. Lines are predictions, never fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.files import whole
from fimcheck.verify.rule.statistics import Array

MakeDraws = Callable[[Setting, set[str]], Draws]

# Okabe and Ito's colours, told apart by colour-blind readers too; markers differ as well.
COLOURS = BLUE, ORANGE, GREEN, RED, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
# Normalizations of the last layer.
LAST: dict[str, dict[str, Any]] = {
    "none": {"label": "last layer: none", "color": RED, "marker": "o"},
    "mean": {"label": "last layer: mean subtraction", "color": BLUE, "marker": "s"},
    "batch": {"label": "last layer: batch", "color": GREEN, "marker": "^"},
    "layer": {"label": "last layer: layer", "color": PURPLE, "marker": "D"},
}
HIDDEN = {"none": "hidden layers: none", "layer": "hidden layers: layer norm.", "batch": "hidden layers: batch norm."}
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 5,
    "svg.hashsalt": "0",  # the same picture gives the same file
}


def check_suffix(what: str, file: Path) -> None:
    """Refuse a picture of another kind, before it is drawn."""
    if file.suffix not in (".svg", ".png"):
        raise ValueError(f"{what} {file}: only .svg and .png are written; choose one of the two")


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """An empty figure of this size in inches, written on leaving as SVG or PNG by the suffix of `path`."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        with whole(path) as partial:
            figure.savefig(partial, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def points(axes: Any, x: Sequence[float], values: Sequence[Array], **style: Any) -> None:
    """Means over networks with two standard errors."""
    means = [v.mean() for v in values]
    errors = [2 * v.std(ddof=1) / np.sqrt(v.size) for v in values]
    axes.errorbar(x, means, errors, linestyle="none", capsize=2, **style)


def widths_axis(axes: Any, widths: Sequence[int], label: str = "width $M$") -> None:
    """A logarithmic axis with a tick at every width."""
    axes.set(xscale="log", xlabel=label)
    axes.set_xticks(widths, [str(w) for w in widths])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
