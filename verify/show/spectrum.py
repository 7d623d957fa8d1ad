"""Pictures of the spectrum: the largest eigenvalue against width and samples, and all eigenvalues."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import torch
from matplotlib.colors import LogNorm

from fimcheck import numerics, theory
from fimcheck.theory.edge import EdgeError
from fimcheck.verify.claims.claim import Predictor, evaluator
from fimcheck.verify.claims.paper import spectrum_claims
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.show.plots import HIDDEN, LAST, RED, MakeDraws, picture, points, widths_axis

RHO = 2.0
WIDTHS = (64, 128, 256, 512, 1024)
# Samples in proportion to the width are expensive, most of all where a hidden normalization couples them.
GROWN = {"none": (32, 64, 128, 256, 512), "layer": (32, 64, 128, 256, 512), "batch": (32, 64, 128, 256)}
# Widths and numbers of samples of the map.
MAP = (16, 32, 64, 128, 256, 512), (4, 8, 16, 32, 64, 128, 256)


def sharpness(path: Path, activation: str = "relu", networks: int = 10, make_draws: MakeDraws = Draws) -> None:
    """lambda_max against the width M for every normalization: above ten samples, below T = M / 2."""
    with picture(path, 10, 6.4) as figure:
        rows = figure.subplots(2, len(HIDDEN), sharey="row")
        ways: tuple[dict[str, Any], ...] = {"samples": 10}, {"rho": RHO}
        for i, samples in enumerate(ways):
            for axes, (hidden, title) in zip(rows[i], HIDDEN.items(), strict=True):
                widths = GROWN[hidden] if i else WIDTHS
                for last, style in LAST.items():
                    # Over few outputs 1/sd^2 has no variance; many outputs and many samples make large matrices.
                    classes, shown = (8, widths[: 4 if i else 5]) if last == "layer" else (1, widths)
                    setting = Setting(activation, hidden=hidden, last=last, classes=classes, **samples)
                    _growth(axes, setting, shown, networks, style, make_draws)
                widths_axis(axes, widths)
                axes.set(yscale="log", title=title + ("\n$T = M/2$" if i else "\n$T = 10$"))
            rows[i][0].set_ylabel(r"largest FIM eigenvalue $\lambda_{\max}$")
        handles, labels = rows[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(LAST))
        rows[1][0].annotate("solid: predicted\ndashed: bounds", (0.03, 0.97), xycoords="axes fraction", va="top")


def sharpness_of(path: Path, setting: Setting, networks: int = 10, make_draws: MakeDraws = Draws) -> None:
    """lambda_max against the width M of one setting, a network of steps for instance."""
    with picture(path, 6.5, 4.6) as figure:
        axes = figure.subplots()
        widths = WIDTHS if setting.rho is None else GROWN["batch" if setting.couples_samples else "none"]
        _growth(axes, setting, widths, networks, {"color": RED, "marker": "o", "label": "measured"}, make_draws)
        widths_axis(axes, widths)
        axes.plot([], [], color=RED, label="predicted (dashed: a bound)")
        axes.set(yscale="log", ylabel=r"largest FIM eigenvalue $\lambda_{\max}$")
        axes.set_title("\n".join(wrap(str(setting), 80)), fontsize=9)
        axes.legend()


def _growth(
    axes: Any, setting: Setting, widths: tuple[int, ...], networks: int, style: dict[str, Any], make_draws: MakeDraws
) -> None:
    stated = _stated(setting)
    given = {name for _, _, names in stated for name in names}
    measured = make_draws(setting, {"lambda_max", *given}).take("main", dict.fromkeys(widths, networks))
    points(axes, widths, [measured[w]["lambda_max"] for w in widths], **style)
    for predicted, bound, _ in stated:
        try:
            line = [np.mean(predicted(w, measured[w])) for w in widths]
        except EdgeError:
            continue  # a single unit has split off: no number
        axes.plot(widths, line, color=style["color"], linestyle="--" if bound else "-")


def _stated(setting: Setting) -> list[tuple[Predictor, bool, tuple[str, ...]]]:
    """What the theory says about lambda_max: predictor, whether it is a bound, and what must be measured for it."""
    output = setting.wide().output
    if output.jacobian is not None:
        if setting.couples_samples:
            return []  # its matrix of outputs is stated for samples that do not couple
        (claim,) = spectrum_claims(setting.hidden, setting.last, "lambda_max")
        return [(claim.predictor(setting), False, claim.given)]
    found = _statements(setting)
    return [
        (evaluator(p, setting), p.relation != "equals", tuple({"Q1", "Q2", "Qmax"} & set(p.symbols))) for p in found
    ]


def _statements(setting: Setting) -> list[theory.Prediction]:
    """The limit of lambda_max, and its two bounds where samples grow with the width and no outlier is left."""
    samples = "fixed" if setting.rho is None else "proportional"
    given = bool(setting.wide().output.statistics)
    found = []
    for name in ("lambda_max", "lambda_max_lower", "lambda_max_upper"):
        try:
            found.append(theory.predict(setting.wide(), name, samples, given))
        except ValueError:
            continue  # the theory makes no such statement here
    return found


def histogram(path: Path, activation: str = "relu", networks: int = 5, width: int = 512) -> None:
    """All eigenvalues of some networks with T = M / 2 and three outputs: the bulk, and the outliers if there are any.

    width: M, an even number. Eigenvalues that a normalization makes zero are left out.
    """
    with picture(path, 7, 6.2) as figure:
        panels = figure.subplots(3, 1, sharex=True)
        for axes, last in zip(panels, ("none", "mean", "batch"), strict=True):
            setting = Setting(activation, last=last, classes=3, samples=width // 2)
            _bars(axes, eigenvalues(setting, width, networks), setting, width)
        panels[-1].set_xlabel(r"eigenvalue $\lambda$ of the Fisher information")
        panels[0].set_title(f"{activation}, $M = {width}$, $T = {width // 2}$, $C = 3$, {networks} networks")


def eigenvalues(setting: Setting, width: int, networks: int) -> np.ndarray:
    """Those that no normalization makes zero, increasing, a line for each network."""
    network, rows = setting.network(width), []
    for seed in (setting.seed(width, "0/main", i) for i in range(networks)):  # one at a time: matrices are large
        drawn = numerics.draw(network, setting.samples_at(width), [seed])
        rows.append(torch.linalg.eigvalsh(numerics.gram(network, drawn))[0].numpy())
    return np.array(rows)[:, setting.classes * setting.wide().output.removed :]


def _bars(axes: Any, found: np.ndarray, setting: Setting, width: int) -> None:
    """Counts over logarithmic bins; the C largest of each network as markers, their mean where predicted."""
    style = LAST[setting.last]
    axes.hist(found.ravel(), np.geomspace(found.min(), found.max() * 1.3, 60), color=style["color"], alpha=0.5)
    top = found[:, -setting.classes :].ravel()
    axes.plot(top, np.full(top.size, 1.0), "v", color="black", markersize=5, label="the $C$ largest of each network")
    means = {"lambda_perp": (":", "mean of the bulk, predicted")}
    if not setting.wide().output.removed:
        means["lambda_top"] = ("--", "mean of the outliers, predicted")
    for quantity, (line, label) in means.items():
        value = evaluator(theory.predict(setting.wide(), quantity), setting)(width, {})
        axes.axvline(value, color="black", linestyle=line, label=label)
    axes.set(xscale="log", yscale="log", ylabel="count")
    axes.legend(loc="upper center", bbox_to_anchor=(0.63, 1.0), fontsize=8, title=style["label"], title_fontsize=9)


def samples_map(path: Path, activation: str = "relu", networks: int = 4, make_draws: MakeDraws = Draws) -> None:
    """lambda_max over width M and samples T: colours measured, contours predicted for fixed T, and the line T = M/2."""
    widths, counts = MAP
    with picture(path, 10.5, 3.9) as figure:
        panels = figure.subplots(1, 3, sharey=True)
        grids = {}
        for last in ("none", "mean", "batch"):
            rows = []
            for t in counts:
                draws = make_draws(Setting(activation, last=last, samples=t), {"lambda_max"})
                measured = draws.take("main", dict.fromkeys(widths, networks))
                rows.append([measured[w]["lambda_max"].mean() for w in widths])
            grids[last] = np.array(rows)
        scale = LogNorm(min(g.min() for g in grids.values()), max(g.max() for g in grids.values()))
        x, y = np.log2(widths), np.log2(counts)
        for axes, (last, grid) in zip(panels, grids.items(), strict=True):
            mesh = axes.pcolormesh(x, y, grid, norm=scale, cmap="cividis", shading="nearest")
            stated = [[_fixed(Setting(activation, last=last, samples=t), w) for w in widths] for t in counts]
            axes.plot([], [], color="white", label="predicted, $T$ fixed")
            lines = axes.contour(x, y, np.array(stated), 10.0 ** np.arange(-2, 4), colors="white", linewidths=1)
            axes.clabel(lines, fmt="%g", fontsize=8)
            axes.plot(x, x - np.log2(RHO), "--", color=LAST["none"]["color"], linewidth=2, label="$T = M/2$")
            axes.set(title=LAST[last]["label"], xlabel="width $M$", ylim=(y[0] - 0.5, y[-1] + 0.5))
            axes.set_xticks(x, [str(w) for w in widths])
            axes.set_yticks(y, [str(t) for t in counts])
        panels[0].set_ylabel("samples $T$")
        panels[1].legend(loc="lower left", frameon=True, facecolor="0.45", labelcolor="white", fontsize=8)
        figure.colorbar(mesh, ax=panels, label=r"$\lambda_{\max}$, measured")


def _fixed(setting: Setting, width: int) -> float:
    """Predicted lambda_max for fixed T, averaged over networks; nan where that average is infinite."""
    try:
        return float(evaluator(theory.predict(setting.wide(), "lambda_max"), setting)(width, {}))
    except ValueError:
        return np.nan
