"""The pictures: each is drawn by its command, at a size that a test can afford, and shows what it says."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from fimcheck import theory
from fimcheck.verify import Setting
from fimcheck.verify.show import edge, learning, plots, spectrum


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch):
    """Small pictures; the axes of the last one drawn."""
    monkeypatch.setattr(spectrum, "WIDTHS", (8, 16, 32))
    monkeypatch.setattr(spectrum, "GROWN", dict.fromkeys(plots.HIDDEN, (16, 32)))
    monkeypatch.setattr(spectrum, "MAP", ((8, 16), (4, 8, 16)))
    monkeypatch.setattr(edge, "WIDTHS", (16, 32))
    monkeypatch.setattr(edge, "WIDTH", 48)
    monkeypatch.setattr(edge, "PLACES", 40)
    monkeypatch.setattr(learning, "RATE_WIDTHS", (8, 16))
    monkeypatch.setattr(learning, "DEPTHS", (3,))
    monkeypatch.setattr(learning, "GRID", 5)
    drawn: list[Figure] = []
    saved = Figure.savefig

    def keep(figure: Figure, *words, **options) -> None:
        drawn.append(figure)
        saved(figure, *words, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return lambda: drawn[-1].axes


def lines(panel) -> list[np.ndarray]:
    """Heights of the curves of a panel that are no markers."""
    return [np.asarray(line.get_ydata(), float) for line in panel.lines if line.get_linestyle() in ("-", "--")]


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [*((k, ".svg") for k in ("sharpness", "histogram", "edge", "map", "learning-rate", "depth")), ("phase", ".png")],
)
def test_every_kind_is_one_command(fimcheck, kind: str, suffix: str, axes, tmp_path: Path) -> None:
    file = tmp_path / f"{kind}{suffix}"
    small = [] if kind == "phase" else ["--networks", "2"]
    done = fimcheck("plot", kind, str(file), "--activation", "erf", *small)
    assert done.code == 0, done.err
    start = file.read_bytes()[:100]
    assert start.startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")
    assert axes(), "a picture was saved"


def test_depth_shows_the_prediction_beside_the_measurement(axes, tmp_path: Path) -> None:
    learning.depth(tmp_path / "x.svg", "tanh", networks=2, layers=3)
    setting = Setting("tanh", depth=3, sigma_w2=1.5, sigma_b2=0.1, classes=50, samples=4)
    stated = theory.numeric_order_parameters(setting.wide())
    forward = lines(axes()[0])
    assert any(np.allclose(line, [float(stated.q1[n]) for n in (1, 2, 3)]) for line in forward)
    assert any(np.allclose(line, [float(stated.q2[n]) for n in (1, 2, 3)]) for line in forward)


def test_every_overlap_is_drawn_where_it_is_predicted(axes, tmp_path: Path) -> None:
    setting = Setting.parse("dense skip(layer attention) pool layer dense N=3 T=4 sb2=0.2")
    learning.overlaps(tmp_path / "x.svg", setting, networks=2)
    stated = theory.numeric_order_parameters(setting.wide(), "fixed", 4)
    forward, backward = axes()
    crosses = [{float(y) for y in line.get_ydata()} for line in forward.lines if line.get_marker() == "x"]
    assert {float(stated.K[path].other) for path in ("1", "2", "3", "4")} <= set().union(*crosses)
    named = [label.get_text() for label in backward.get_xticklabels()]
    assert named[0] == "2.branch.2.output", "the derivative comes from the outputs"
    assert named[-1].startswith("1 dense")


def test_one_setting_has_its_sharpness_drawn(axes, tmp_path: Path) -> None:
    setting = Setting.parse("dense skip(layer relu dense) relu dense T=6")
    spectrum.sharpness_of(tmp_path / "x.svg", setting, networks=2)
    stated = theory.predict(setting.wide(), "lambda_max")
    want = [stated.evaluate(M=float(M), T=6.0) for M in (8, 16, 32)]
    assert any(np.allclose(line, want) for line in lines(axes()[0]))


def test_sharpness_draws_no_line_where_nothing_is_stated(axes, tmp_path: Path) -> None:
    spectrum.sharpness(tmp_path / "x.svg", "linear", networks=2)
    fixed, grown = axes()[:3], axes()[3:6]
    assert all(len(panel.containers) == len(plots.LAST) for panel in (*fixed, *grown))
    assert [len(lines(panel)) for panel in fixed] == [4, 4, 3], "layer norm. of outputs under batch norm.: no line"
    assert [len(lines(panel)) for panel in grown] == [8, 8, 6], (
        "two bounds for mean, batch, and where E phi = 0; the edge for the first two unless over the batch"
    )


def test_the_critical_line_is_where_chi_1_is_1() -> None:
    weights, biases = learning._critical("erf", np.array([0.2, 0.7]))
    for weight, bias in zip(weights, biases, strict=True):
        assert theory.phase.fixed_point("erf", float(weight) ** 2, float(bias) ** 2).chi1 == pytest.approx(1, abs=1e-8)
    assert learning._critical("relu", np.array([0.3]))[0] == pytest.approx(2**0.5)


def test_the_same_picture_gives_the_same_file(tmp_path: Path, axes) -> None:
    files = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for file in files:
        spectrum.histogram(file, "linear", networks=2, width=16)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(axes()) == 3


def test_the_density_through_the_histogram_has_its_height(axes, tmp_path: Path) -> None:
    edge.edge(tmp_path / "edge.svg", "tanh", networks=4)
    panel = axes()[0]
    (law,) = (line for line in panel.lines if line.get_label() == "predicted density")
    bars = sum(patch.get_height() * patch.get_width() for patch in panel.patches)
    assert bars == pytest.approx(1, abs=1e-9)
    x, y = law.get_data()
    assert float(np.trapezoid(y, x)) == pytest.approx(1, abs=0.1)
