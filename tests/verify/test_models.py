"""Questions to a reader's own torch model: right answers, planted mistakes named, and bad files refused with a line."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fimcheck import numerics, verify
from fimcheck.verify.draws.pool import Processes
from fimcheck.verify.models import coordinates, sharpness
from fimcheck.verify.models.model import Model, ModelError, load
from fimcheck.verify.models.shown import broken

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "models"
NARROW = (16, 24, 32, 48, 64)


def chain(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


def inputs(samples: int, generator: torch.Generator, width: int) -> torch.Tensor:
    return torch.randn(samples, width, generator=generator)


PLAIN = Model(chain, inputs)
CENTRED = Model(lambda width: nn.Sequential(chain(width), nn.BatchNorm1d(1, affine=False)), inputs)


@pytest.mark.parametrize(("model", "power"), [(PLAIN, 1.0), pytest.param(CENTRED, 0.0, marks=pytest.mark.slow)])
def test_the_papers_case_is_told_with_samples_in_proportion(model: Model, power: float) -> None:
    """Batch normalization of the outputs removes the eigenvalue that grows."""
    (case,) = sharpness.cases((16, 32, 64, 128, 256, 512), fixed=False)
    found = sharpness.growth(model, case, networks=60)
    exponent = found.exponents["lambda_max"]
    assert exponent.low < power < exponent.high
    assert exponent.high - exponent.low < 0.9
    assert (found.verdict == "sharp") == (power == 1)
    assert found.exponents["m"].low < -0.8
    assert found.shares.keys() == dict(chain(4).named_parameters()).keys() or model is CENTRED
    assert sum(found.shares.values()) == pytest.approx(1)


def test_what_is_measured_is_the_spectrum_of_the_module() -> None:
    drawn = sharpness.measure(PLAIN, 32, 8, 5, "squared")
    plain = numerics.spectrum(PLAIN.module(32, 5), PLAIN.inputs(8, 32, 5), method="rows")
    assert drawn.numbers["lambda_max"] == pytest.approx(plain.lambda_max, rel=1e-10)
    assert drawn.numbers["s"] == pytest.approx(plain.s, rel=1e-10)
    assert drawn.outliers == 1


def test_many_outputs_are_measured_without_their_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = sharpness.measure(PLAIN, 32, 8, 5, "squared")
    monkeypatch.setattr(sharpness, "MOST_ROWS", 7)
    free = sharpness.measure(PLAIN, 32, 8, 5, "squared")
    assert free.outliers is None
    assert free.numbers["lambda_max"] == pytest.approx(exact.numbers["lambda_max"], rel=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(0.9, 1.1, "sharp"), (-0.05, 0.05, "bounded"), (-1.1, -0.9, "bounded"), (0.0, 0.4, "open")],
)
def test_a_verdict_follows_from_the_interval(low: float, high: float, says: str) -> None:
    (case,) = sharpness.cases(NARROW, grown=False)
    found = sharpness.growth(PLAIN, case, networks=4).exponents["m"]
    assert sharpness.verdict(replace(found, low=low, high=high)) == says
    assert sharpness.verdict(replace(found, low=np.nan, high=np.nan)) == "open"


def mup(readout: bool = True, hidden: bool = True) -> Model:
    """examples/models/mup_mlp.py, with its readout or its hidden rate as usual instead."""
    right = load(EXAMPLES / "mup_mlp.py")

    def build(width: int) -> nn.Module:
        made = right.build(width)
        return made if readout else nn.Sequential(*made[:-1], _plain(made[-1]))  # type: ignore[index]

    return Model(build, right.batch, right.optimizer if hidden else None)


def _plain(readout: nn.Linear) -> nn.Linear:
    made = nn.Linear(readout.in_features, readout.out_features)
    made.load_state_dict(readout.state_dict())
    return made


WIDTHS = (32, 64, 128, 256, 512)


def test_the_maximal_update_parametrization_keeps_every_module() -> None:
    found = coordinates.check(mup(), WIDTHS, steps=2, networks=6)
    assert found.agrees, broken(found)
    assert found.names == ("0", "1", "2", "3", "4", coordinates.OUTPUT)


def test_a_model_wrapped_by_mup_is_trained_by_its_optimizer() -> None:
    pytest.importorskip("mup", reason="the package mup is not installed")
    wrapped = load(EXAMPLES / "mup_wrapped.py")
    found = coordinates.check(wrapped, WIDTHS, steps=1, networks=40)
    assert found.agrees, broken(found)
    plain = replace(wrapped, path=None, optimizer=lambda module, rate: torch.optim.Adam(module.parameters(), lr=rate))
    first = coordinates.check(plain, WIDTHS, steps=1, networks=6).first
    assert first is not None
    assert (first.name, first.step) == ("2", 1)


@pytest.mark.parametrize(
    ("model", "named", "step"), [(mup(readout=False), "4", 0), (mup(hidden=False), "2", 1)], ids=["readout", "rate"]
)
def test_a_planted_mistake_is_named(model: Model, named: str, step: int) -> None:
    first = coordinates.check(model, WIDTHS, steps=2, networks=6).first
    assert first is not None
    assert (first.name, first.step) == (named, step)


def test_standard_parametrization_breaks_at_the_hidden_matrix() -> None:
    model = Model(
        lambda width: nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                                    nn.Linear(width, 2)),
        lambda samples, generator: torch.randn(samples, 8, generator=generator),
    )  # fmt: skip
    with pytest.raises(AssertionError, match=r"^2 is the first to break: its change after step 1 goes like M\^0\.9"):
        verify.coordinate_check(model.build, model.batch, widths=WIDTHS, steps=1, networks=6)


def test_attention_scaled_by_the_root_of_its_dimension_is_named() -> None:
    """The logits of the softmax belong to no module; they are found where the model calls it."""
    right = load(EXAMPLES / "mup_gpt.py")

    def wrong(width: int) -> nn.Module:
        made = right.build(width)
        for block in made.blocks:  # type: ignore[union-attr]
            block.attention.query.register_forward_hook(lambda _m, _i, out: out * (width / 4) ** 0.5)
        return made

    widths, rest = (32, 64, 128, 256, 512), {"samples": 4, "steps": 1, "loss": "softmax", "networks": 4}
    assert coordinates.check(right, widths, **rest).agrees  # type: ignore[arg-type]
    first = coordinates.check(Model(wrong, right.batch, right.optimizer), widths, **rest).first  # type: ignore[arg-type]
    assert first is not None
    assert first.name in ("blocks.0.attention.query", "blocks.0.attention.softmax")


def test_stated_exponents_are_asked_for() -> None:
    """The change of a readout that is 1/width, with no rate of its own, is stated and then right."""
    model = replace(mup(), exponents={"4": (-0.5, 0.0)})
    assert coordinates.check(model, WIDTHS, steps=1, networks=6).status("4") == "AGREE"
    wrong = replace(model, exponents={"4": (0.0, 0.0)})
    assert coordinates.check(wrong, WIDTHS, steps=1, networks=6).status("4") == "DISAGREE"
    with pytest.raises(ModelError, match="no module has that name; there are 0, 1, 2"):
        coordinates.check(replace(model, exponents={"nine": (0.0, 0.0)}), WIDTHS, steps=1, networks=2)


def test_bounded_is_asserted() -> None:
    widths = (16, 32, 64, 128, 256, 512)
    assert verify.assert_bounded(chain, inputs, "m", samples=4, widths=widths, networks=60).exponents["m"].high < 0
    with pytest.raises(AssertionError, match=r"lambda_max with T = 4 grows with the width, like M\^1"):
        verify.assert_bounded(chain, inputs, samples=4, widths=widths, networks=20)


def file(tmp_path: Path, build: str, batch: str = "return torch.randn(samples, 4, generator=generator)") -> Path:
    path = tmp_path / "model.py"
    path.write_text(
        f"import torch\nfrom torch import nn\n\n\ndef build(width):\n    {build}\n\n\n"
        f"def batch(samples, generator):\n    {batch}\n"
    )
    return path


MLP = "nn.Sequential(nn.Linear(4, width), nn.ReLU(), {}nn.Linear(width, 1))"


@pytest.mark.parametrize(
    ("build", "batch", "words"),
    [
        ("return width // 0", None, r"model\.py:6: build\(64\) raised ZeroDivisionError"),
        ("return width", None, r"model\.py:5: build\(64\) returned int, not a module"),
        ("return nn.Linear(4, 1)", None, r"model\.py:5: build makes 5 parameters at the widths .* ignores the width"),
        (f"return {MLP.format('nn.Dropout(0.5), ')}", None, r"model\.py:5: .* dropout with p = 0\.5"),
        (f"return {MLP.format('nn.Linear(3, width), ')}", None, r"model\.py:5: .* raised RuntimeError: mat1 and mat2"),
        (f"return {MLP.format('')}", "return torch.full((samples, 4), float('inf'))", r"model\.py:5: .* overflow"),
        (f"return {MLP.format('')}", "return torch.zeros(3, 4)", r"model\.py:9: batch\(16\) returned shape \(3, 4\)"),
        (f"return {MLP.format('')}", "raise OSError('no disk')", r"model\.py:10: batch\(16\) raised OSError: no disk"),
    ],
)  # fmt: skip
def test_a_bad_model_is_refused_in_one_line(tmp_path: Path, build: str, batch: str | None, words: str) -> None:
    model = load(file(tmp_path, build, *([batch] if batch else [])))
    (case,) = sharpness.cases(NARROW, grown=False)
    with pytest.raises(ModelError, match=words) as refused:
        sharpness.growth(model, replace(case, widths=NARROW), networks=4)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", "must define build"),
        ("def build(width): pass", "must define batch"),
        ("def build(): pass", "must define build"),
        ("1/0", r"bad\.py:1: running the file raised ZeroDivisionError"),
        ("def build(width:", r"bad\.py:1: not valid Python"),
        ("raise SystemExit(0)", r"bad\.py:1: running the file raised SystemExit"),
        ("def build(width): pass\ndef batch(samples, generator): pass\nwidths = 'x'", "widths = 'x' must be"),
        ("def build(width): pass\ndef batch(samples, generator): pass\nexponents = {'a': 1}", "exponents = .* must be"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(ModelError, match=words):
        load(path)


def test_modules_have_one_name_at_every_width() -> None:
    model = Model(
        lambda width: nn.Sequential(
            nn.Linear(8, width), *[nn.Linear(width, width)] * (width // 16), nn.Linear(width, 1)
        ),
        lambda samples, generator: torch.randn(samples, 8, generator=generator),
    )
    with pytest.raises(ModelError, match="2 runs at only one of the widths 8 and 16"):
        coordinates.check(model, (8, 16, 32, 64, 128), steps=1, networks=2)


def test_a_file_may_have_dataclasses(tmp_path: Path) -> None:
    """They look up the module that they stand in."""
    path = tmp_path / "sizes.py"
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom torch import nn\n"
        "@dataclass\nclass Sizes:\n    hidden: int\n"
        "def build(width): return nn.Linear(Sizes(width).hidden, 1)\ndef batch(samples, generator): pass\n"
    )
    assert load(path).module(3, 0).in_features == 3


def test_inputs_come_from_a_file_of_data(tmp_path: Path) -> None:
    path, data = file(tmp_path, f"return {MLP.format('')}"), tmp_path / "data.npy"
    np.save(data, np.arange(80.0).reshape(20, 4))
    drawn = load(path, "", data).inputs(6, 16, 3)
    assert drawn.shape == (6, 4)
    assert len({float(row[0]) for row in drawn}) == 6
    with pytest.raises(ModelError, match="20 rows, and 21 samples"):
        load(path, "", data).inputs(21, 16, 3)
    np.save(data, np.array([[np.nan]]))
    with pytest.raises(ModelError, match="not finite"):
        load(path.rename(tmp_path / "other.py"), "", data)


def test_processes_draw_the_same_networks() -> None:
    model = load(EXAMPLES / "chain.py")
    (case,) = sharpness.cases(NARROW, samples=4, grown=False)
    alone = sharpness.growth(replace(model, path=None), case, networks=4)
    with Processes() as pool:
        together = sharpness.growth(model, case, networks=4, pool=pool)
    assert np.array_equal(alone.means["lambda_max"], together.means["lambda_max"])


Command = Callable[..., Any]
NARROW_WIDTHS = ("--widths", "16,32,64,128,256")


def test_sharpness_answers_and_keeps_what_it_found(fimcheck: Command, tmp_path: Path) -> None:
    kept, drawn = tmp_path / "found.json", tmp_path / "picture.svg"
    files = ("--json", str(kept), "--plot", str(drawn), "--networks", "40")
    done = fimcheck("sharpness", str(EXAMPLES / "chain.py"), "--only", "fixed", *NARROW_WIDTHS, *files)
    assert done.code == 1, done.err
    assert "pathologically sharp" in done.out
    (found,) = json.loads(kept.read_text())["cases"]
    low, high = (found["exponents"]["lambda_max"][end] for end in ("low", "high"))
    assert low < 1 < high
    assert drawn.read_text().startswith("<?xml")


def test_coordinates_answers(fimcheck: Command) -> None:
    done = fimcheck("coordinates", str(EXAMPLES / "mup_mlp.py"), *NARROW_WIDTHS, "--steps", "1", "--networks", "6")
    assert done.code == 0, done.out + done.err
    assert "every module keeps its exponent" in done.out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("sharpness", "no.py"), "no.py: it must be a Python file"),
        (("sharpness", str(EXAMPLES / "chain.py"), "--widths", "1,2"), "5 or more different positive ones"),
        (("sharpness", str(EXAMPLES / "chain.py"), "--rho", "0"), "rho = 0.0"),
        (("coordinates", str(EXAMPLES / "chain.py"), "--optimizer", "lion"), "optimizer 'lion'"),
        (("coordinates", str(EXAMPLES / "chain.py"), "--lr", "-1"), "rate = -1.0"),
    ],
)
def test_bad_words_are_one_line(fimcheck: Command, words: tuple[str, ...], named: str) -> None:
    done = fimcheck(*words)
    assert done.code == 2, done.out + done.err
    assert named in done.err


def test_the_code_of_the_page_runs() -> None:
    """Its commands are those of the tests above, at other widths."""
    page = (EXAMPLES.parent.parent / "docs" / "models.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S)
    exec(compile(code, "models.md", "exec"), {"__name__": "docs"})
    for line in re.findall(r"^```sh\n(.*?)^```", page, flags=re.M | re.S):
        assert line.split()[1] in ("sharpness", "coordinates")
        assert (EXAMPLES.parent.parent / line.split()[2]).is_file()
