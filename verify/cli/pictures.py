"""The commands that draw pictures: `fimcheck plot KIND FILE`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.cli.console import say
from fimcheck.verify.draws.source import Source
from fimcheck.verify.files import check_writable
from fimcheck.verify.show import edge as end
from fimcheck.verify.show import learning, spectrum
from fimcheck.verify.show.plots import MakeDraws, check_suffix
from fimcheck.verify.show.progress import Watch

MOST_NETWORKS = 10_000

app = typer.Typer(no_args_is_help=True, help="Draw a picture of the field, as .svg or .png.")

File = Annotated[Path, typer.Argument(help="picture to write, .svg or .png")]
Activation = Annotated[str, typer.Option(help="activation of the networks")]
At = Annotated[str | None, typer.Option("--setting", help='instead: "dense skip(layer relu dense) relu dense T=6"')]
Networks = Annotated[int, typer.Option(help="networks per point", min=2, max=MOST_NETWORKS)]


@app.command()
def sharpness(file: File, activation: Activation = "relu", networks: Networks = 10, setting: At = None) -> None:
    """lambda_max against the width, T fixed and in proportion to it: for every normalization, or at one setting."""
    at = _setting(setting, activation != "relu")
    with _drawing(file) as draws:
        if at is None:
            spectrum.sharpness(file, activation, networks, draws)
        else:
            spectrum.sharpness_of(file, at, networks, draws)


@app.command()
def histogram(file: File, activation: Activation = "relu", networks: Networks = 5) -> None:
    """All eigenvalues of some networks, with the outliers marked."""
    with _drawing(file):
        spectrum.histogram(file, activation, networks)


@app.command()
def edge(file: File, activation: Activation = "relu", networks: Networks = 8) -> None:
    """T = M/2 with mean subtraction: the predicted density through the histogram, its edge, and 2 / lambda_max."""
    with _drawing(file) as draws:
        end.edge(file, activation, networks, draws)


@app.command()
def phase(file: File, activation: Activation = "tanh") -> None:
    """kappa_2 over sigma_w and sigma_b, with the critical line between order and chaos; theory alone."""
    with _drawing(file):
        learning.phase(file, activation)


@app.command("map")
def samples_map(file: File, activation: Activation = "relu", networks: Networks = 4) -> None:
    """lambda_max over the width M and the number of samples T, with the line T = M / 2."""
    with _drawing(file) as draws:
        spectrum.samples_map(file, activation, networks, draws)


@app.command("learning-rate")
def learning_rate(file: File, activation: Activation = "relu", networks: Networks = 6) -> None:
    """The largest stable learning rate of gradient descent against the width, and 2 / lambda_max."""
    with _drawing(file) as draws:
        learning.learning_rate(file, activation, networks, draws)


@app.command()
def depth(file: File, activation: Activation = "tanh", networks: Networks = 20, setting: At = None) -> None:
    """Order parameters, measured and predicted: layer by layer, or step by step of a network of steps."""
    at = _setting(setting, activation != "tanh")
    if at is not None and not at.composed:
        raise ValueError(f"--setting {at}: it names a chain; give a network of steps, or --activation alone")
    with _drawing(file) as draws:
        if at is None:
            learning.depth(file, activation, networks, make_draws=draws)
        else:
            learning.overlaps(file, at, networks, draws)


def _setting(text: str | None, with_activation: bool) -> Setting | None:
    if text is not None and with_activation:
        raise ValueError(f"--setting {text!r} says the activation itself; leave --activation out")
    return None if text is None else Setting.parse(text)


@contextmanager
def _drawing(file: Path) -> Iterator[MakeDraws]:
    """Refuses a bad file before the work; gives what makes draws while progress is shown."""
    check_suffix("picture", file)
    check_writable("picture", file)
    with Watch(0) as watch, Source(watch.say) as source:
        yield source.draws
    say(f"wrote {file}")
