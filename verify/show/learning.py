"""Pictures of what signals and training do: phases, depth profiles, stable learning rates."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm

from fimcheck import theory
from fimcheck.verify.claims.claim import evaluator
from fimcheck.verify.claims.composition import RELATIONS, OverlapClaim, network_claims
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.show.plots import BLUE, COLOURS, GREEN, ORANGE, RED, MakeDraws, picture, points, widths_axis

# Of the phase diagram: numbers of weight layers, and points along each side.
DEPTHS = (3, 20)
GRID = 31
RATE_WIDTHS = (16, 32, 64, 128, 256)
RATES: tuple[tuple[str, str, dict[str, str], dict[str, Any]], ...] = (
    ("none", "none", {"label": "no normalization", "color": RED}, {"marker": "o"}),
    ("batch", "none", {"label": "batch norm., hidden layers", "color": BLUE}, {"marker": "s"}),
    ("none", "batch", {"label": "batch norm., last layer", "color": GREEN}, {"marker": "^"}),
)


def phase(path: Path, activation: str = "tanh") -> None:
    """kappa_2, the height of lambda_max / (alpha M) for many samples, over sigma_w and sigma_b; and where chi_1 = 1."""
    weights, biases = np.linspace(0.5, 2.5, GRID), np.linspace(0.01, 1.0, GRID)
    w2, b2 = np.meshgrid(weights**2, biases**2)
    with picture(path, 9.5, 4) as figure:
        panels = figure.subplots(1, len(DEPTHS), sharey=True, squeeze=False)[0]
        for axes, depth in zip(panels, DEPTHS, strict=True):
            net = theory.WideNetwork(depth, activation, ratios=[1] * depth)
            stated = theory.predict(net, "lambda_max", "infinite").evaluate(M=1.0, sigma_w2=w2, sigma_b2=b2)
            kappa2 = stated / (depth - 1)
            # Four powers of ten: with sigma_b it falls to 0.
            scale = LogNorm(max(kappa2.min(), kappa2.max() * 1e-4), kappa2.max())
            mesh = axes.pcolormesh(
                weights, biases, kappa2, norm=scale, cmap="cividis", shading="gouraud", rasterized=True
            )
            line = _critical(activation, biases)
            axes.plot(*line, color=RED, linewidth=2, label=r"critical line $\chi_1 = 1$")
            axes.set(title=f"{activation}, $L = {depth}$", xlabel=r"$\sigma_w$", xlim=(weights[0], weights[-1]))
            figure.colorbar(mesh, ax=axes, label=r"$\kappa_2 = \lim\ \lambda_{\max} / (\alpha M)$", extend="min")
        panels[0].set_ylabel(r"$\sigma_b$")
        panels[0].legend(loc="lower right", frameon=True)


def _critical(activation: str, biases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sigma_w on the critical line at every sigma_b, and the sigma_b."""
    weight, _ = theory.phase.critical_line(activation)
    if weight.is_number:  # a homogeneous activation, whose chi_1 knows no variance
        return np.full(biases.size, float(weight) ** 0.5), biases
    return np.array([theory.phase.critical_weight(activation, b * b) for b in biases]) ** 0.5, biases


def depth(
    path: Path, activation: str = "tanh", networks: int = 20, layers: int = 10, make_draws: MakeDraws = Draws
) -> None:
    """Order parameters layer by layer: points measured at M = 512, lines predicted for M to infinity.

    layers: number L of weight layers.
    """
    width = 512
    # The last pre-activation is an average over the outputs alone: many of them calm it.
    setting = Setting(activation, depth=layers, sigma_w2=1.5, sigma_b2=0.1, classes=50, samples=4)
    panels = (
        ("pre-activations, forward", "q", ("q1", "q2")),
        ("gradient signals, backward", r"\tilde q", ("tq1", "tq2")),
    )
    measured = make_draws(setting, {n for *_, names in panels for n in names}).take("main", {width: networks})[width]
    stated = theory.numeric_order_parameters(setting.wide())
    numbers = range(1, layers + 1)
    with picture(path, 9.5, 3.9) as figure:
        for axes, (title, symbol, names) in zip(figure.subplots(1, 2), panels, strict=True):
            styles = ((1, "one sample", BLUE, "o"), (2, "two samples", ORANGE, "s"))
            for name, (index, words, colour, marker) in zip(names, styles, strict=True):
                label = f"${symbol}_{index}^l$, {words}"
                points(axes, numbers, list(measured[name].T), color=colour, marker=marker, label=label)
                axes.plot(numbers, [float(getattr(stated, name)[n]) for n in numbers], color=colour)
            axes.set(xlabel="layer $l$", title=title)
            axes.set_xticks(numbers)
            axes.grid(alpha=0.25)
            axes.legend()
        figure.suptitle(
            rf"{activation}, $\sigma_w^2 = {setting.sigma_w2:g}$, $\sigma_b^2 = {setting.sigma_b2:g}$; "
            f"points: {networks} networks at $M = {width}$, lines: predicted",
            fontsize=10,
        )


def overlaps(path: Path, setting: Setting, networks: int = 20, make_draws: MakeDraws = Draws) -> None:
    """Overlaps of a network of steps, step by step: points measured at M = 256, crosses predicted for M to infinity.

    Those that the theory predicts to vanish are left out.
    """
    width = 256
    claims = [claim for claim in network_claims(setting) if isinstance(claim, OverlapClaim)]
    steps = setting.wide().all_steps
    panels = {"K": "signals, forward", "tq": "gradient signals, backward from the outputs"}
    measured = make_draws(setting, set(panels)).take("main", {width: networks})[width]
    with picture(path, 10, 4.4) as figure:
        for axes, (kind, title) in zip(figure.subplots(1, 2), panels.items(), strict=True):
            own = [claim for claim in claims if claim.kind == kind]
            places = list(dict.fromkeys(claim.path for claim in own))
            ways = dict.fromkeys((claim.relation, claim.final) for claim in own)
            for number, (way, colour, marker) in enumerate(zip(ways, cycle(COLOURS), cycle("os^Dv"))):
                at = [claim for claim in own if (claim.relation, claim.final) == way]
                x = [places.index(claim.path) + 0.1 * (number - len(ways) / 2) for claim in at]
                label = RELATIONS[way[0]] + (", outputs of two samples" if way[1] == "other" else "")
                points(axes, x, [claim.values(measured) for claim in at], color=colour, marker=marker, label=label)
                axes.plot(x, [claim.predicted(setting.wide(), setting) for claim in at], "x", color="black")
            names = [f"{place} {steps[place].words}" if place in steps else place for place in places]
            axes.set_xticks(range(len(places)), names, rotation=60, ha="right", fontsize=8)
            axes.set(title=title, yscale="log")
            axes.grid(alpha=0.25)
            axes.legend(fontsize=8)
        figure.suptitle(
            "\n".join(wrap(f"{setting}; points: {networks} networks at M = {width}, crosses: predicted", 110)),
            fontsize=9,
        )


def learning_rate(path: Path, activation: str = "relu", networks: int = 6, make_draws: MakeDraws = Draws) -> None:
    """The largest learning rate at which gradient descent does not diverge, measured, and 2 / lambda_max, predicted.

    24 samples; the networks are trained for it, nothing measured here is an eigenvalue.
    """
    widths = RATE_WIDTHS
    with picture(path, 6.5, 4.6) as figure:
        axes = figure.subplots()
        for hidden, last, style, marker in RATES:
            setting = Setting(activation, hidden=hidden, last=last, samples=24)
            stated = theory.predict(setting.wide(), "stable_rate", given_outputs=bool(setting.wide().output.statistics))
            given = {"Qmax"} & set(stated.symbols)
            measured = make_draws(setting, {"stable_rate", *given}).take("main", dict.fromkeys(widths, networks))
            points(axes, widths, [measured[w]["stable_rate"] for w in widths], **style, **marker)
            predicted = evaluator(stated, setting)
            axes.plot(widths, [np.mean(predicted(w, measured[w])) for w in widths], color=style["color"])
        widths_axis(axes, widths)
        axes.set(yscale="log", ylabel=r"largest stable learning rate $\eta$", title=f"{activation}, $T = 24$")
        handles, labels = axes.get_legend_handles_labels()
        handles += axes.plot([], [], color="black")
        axes.legend(handles, [*labels, r"predicted $2 / \lambda_{\max}$"])
