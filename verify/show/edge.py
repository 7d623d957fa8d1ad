"""The spectrum for T = M/2 with the outputs centred: the law through the histogram, its edge, and 2 over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fimcheck import theory
from fimcheck.theory.edge import density
from fimcheck.theory.edge.prediction import EdgePrediction
from fimcheck.verify.claims.claim import evaluator
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.show.plots import BLUE, LAST, RED, MakeDraws, picture, points, widths_axis
from fimcheck.verify.show.spectrum import eigenvalues

RHO = 2.0
WIDTH = 768
WIDTHS = (48, 96, 192, 384, 768)
PLACES = 300


def edge(path: Path, activation: str = "relu", networks: int = 8, make_draws: MakeDraws = Draws) -> None:
    """Left: all eigenvalues of some networks of width 768 and the limiting density; right: 2/lambda_max against M."""
    setting = Setting(activation, last="mean", rho=RHO)
    wide = setting.wide()
    predicted = theory.predict(wide, "lambda_max", "proportional")
    assert isinstance(predicted, EdgePrediction)
    with picture(path, 10.5, 4.6) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        found = eigenvalues(setting, WIDTH, networks)
        _law(left, setting, predicted, found)
        _rates(right, setting, networks, make_draws)
        left.set_title(f"{activation}, mean subtraction, $M = {WIDTH}$, $T = M/2$, {networks} networks")


def _law(axes: Any, setting: Setting, predicted: EdgePrediction, found: np.ndarray) -> None:
    """Histogram, density and edge; the end of the spectrum once more, with the Tracy-Widom mean and spread."""
    values = setting.values(WIDTH)
    known = {name: values[name] for name in predicted.symbols}
    end, samples = predicted.edge(known), values["T"]
    wide = setting.wide()
    assert isinstance(wide, theory.WideNetwork)
    places = np.linspace(0, 1.02 * end.place, PLACES)
    law = density(wide, RHO, places[1:])
    low, high = (
        evaluator(theory.predict(wide, name, "proportional"), setting)(WIDTH, {})
        for name in ("lambda_max_lower", "lambda_max_upper")
    )
    axes.hist(found.ravel(), 80, density=True, color=BLUE, alpha=0.35, label="measured")
    axes.plot(places[1:], law, color=BLUE, label="predicted density")
    axes.axvline(end.place, color=RED, label=r"predicted edge $\lambda_+$")
    axes.axvline(float(low), color="0.4", linestyle="--", label="bounds of the paper")
    if float(high) < 1.6 * end.place:
        axes.axvline(float(high), color="0.4", linestyle="--")
    else:
        axes.annotate(f"upper bound: {float(high):.3g} →", (0.99, 0.02), xycoords="axes fraction", ha="right",
                      va="bottom", fontsize=8, color="0.4")  # fmt: skip
    axes.set(xlabel=r"eigenvalue $\lambda$ of the Fisher information", ylabel="density", xlim=(0, 1.25 * end.place))
    axes.legend(loc="upper right", fontsize=8)
    _inset(axes.inset_axes((0.5, 0.16, 0.46, 0.3)), found[:, -1], end.place, end.mean(samples), end.sd(samples))


def _inset(axes: Any, largest: np.ndarray, place: float, mean: float, sd: float) -> None:
    """The largest eigenvalue of each network, and where it is predicted."""
    axes.axvspan(mean - sd, mean + sd, color=RED, alpha=0.2, linewidth=0)
    axes.axvline(mean, color=RED, linestyle=":")
    axes.axvline(place, color=RED)
    axes.plot(largest, np.full(len(largest), 0.5), "|", color=BLUE, markersize=16)
    axes.set(yticks=[], ylim=(0, 1))
    axes.set_title("largest of each network;\nTracy-Widom mean and spread", fontsize=8)
    axes.tick_params(labelsize=8)


def _rates(axes: Any, setting: Setting, networks: int, make_draws: MakeDraws) -> None:
    """2/lambda_max against the width, without and with mean subtraction."""
    for last in ("none", "mean"):
        at = Setting(setting.activation, last=last, rho=RHO)
        style = LAST[last]
        measured = make_draws(at, {"lambda_max"}).take("main", dict.fromkeys(WIDTHS, networks))
        points(axes, WIDTHS, [2 / measured[w]["lambda_max"] for w in WIDTHS], **style)
        predicted = evaluator(theory.predict(at.wide(), "stable_rate", "proportional"), at)
        axes.plot(WIDTHS, [float(np.mean(predicted(w, {}))) for w in WIDTHS], color=style["color"])
    widths_axis(axes, WIDTHS)
    axes.set(yscale="log", ylabel=r"largest stable learning rate $2/\lambda_{\max}$")
    axes.set_title("$T = M/2$; lines: predicted")
    axes.legend(fontsize=8)
