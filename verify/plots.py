"""Pictures. Measured points carry error bars of two standard errors; lines are predictions, never fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from verify.claim import Claim
from verify.claims import CLAIMS, prefix
from verify.draws import Draws
from verify.setting import Setting

MakeDraws = Callable[[Setting, set[str]], Draws]

# Okabe and Ito's colours, told apart by colour-blind readers too; markers differ as well.
CASES = (
    ("none", "no normalization", "#D55E00", "o"),
    ("mean", "mean subtraction, last layer", "#0072B2", "s"),
    ("batch", "batch normalization, last layer", "#009E73", "^"),
)
WIDTHS = (64, 128, 256, 512, 1024)


def sharpness(path: Path, setting: Setting, draws: int = 20, make_draws: MakeDraws = Draws) -> None:
    """lambda_max against the width M: left with T fixed, right with T = M / rho.

    setting: a fixed-T setting; its `last` is varied, and rho = M/T is 2 on the right. Written as SVG or PNG by
    the suffix of `path`.
    """
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "0"}):
        figure = Figure(figsize=(9.5, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for last, label, colour, marker in CASES:
            style = {"label": label, "color": colour, "marker": marker}
            fixed = replace(setting, last=last)
            _points(left, fixed, draws, style, make_draws, f"{prefix('none', last)}.lambda_max")
            grown = replace(fixed, samples=None, rho=2.0)
            _points(right, grown, draws, style, make_draws, *_growth(last))
        for axes, title in ((left, f"$T = {setting.samples}$ fixed"), (right, "$T = M/2$")):
            axes.set(xscale="log", yscale="log", xlabel="width $M$", title=title)
            axes.set_xticks(WIDTHS, [str(w) for w in WIDTHS])
            axes.minorticks_off()
            axes.grid(alpha=0.25)
        left.set_ylabel(r"largest FIM eigenvalue $\lambda_{\max}$")
        left.legend(frameon=False)
        right.annotate(
            "solid: predicted\ndashed: lower and upper bound", (0.03, 0.97), xycoords="axes fraction", va="top"
        )
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _growth(last: str) -> tuple[str, ...]:
    return ("growth.plain",) if last == "none" else (f"growth.last_{last}_lower", f"growth.last_{last}_upper")


def _points(axes: Any, setting: Setting, n: int, style: dict[str, str], make_draws: MakeDraws, *ids: str) -> None:
    """Measured means with error bars, and one line for each of the named claims."""
    claims: list[Claim] = [CLAIMS[i] for i in ids]
    measured = make_draws(setting, {q for c in claims for q in c.quantities}).take("main", dict.fromkeys(WIDTHS, n))
    means = [measured[w]["lambda_max"].mean() for w in WIDTHS]
    errors = [2 * measured[w]["lambda_max"].std(ddof=1) / np.sqrt(n) for w in WIDTHS]
    axes.errorbar(WIDTHS, means, errors, linestyle="none", capsize=3, **style)
    for claim in claims:
        predicted = claim.predictor(setting)
        line = [np.mean(predicted(w, measured[w])) for w in WIDTHS]
        bound = claim.prediction(setting).relation != "equals"
        axes.plot(WIDTHS, line, color=style["color"], linestyle="--" if bound else "-", linewidth=1.2)
