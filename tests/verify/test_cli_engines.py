"""derive, book and measure, run as commands."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fimcheck import numerics, theory
from fimcheck.verify import CLAIMS, Setting
from fimcheck.verify.cli.measure import load

MODULE = """
import torch
def make():
    torch.manual_seed(0)
    layers = torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 2)
    return torch.nn.Sequential(*layers).double()
"""


NAN = """

class NotANumber(torch.nn.Module):
    def forward(self, x):
        return x * float("nan")
"""


AT = "sigma_w2=2,sigma_b2=0.1,alpha_0=1,alpha_1=1,alpha_2=1"


def test_derive_reproduces_the_order_parameters_of_relu(fimcheck) -> None:
    """kappa_1 = 1.575 and kappa_2 = 0.4014942 for three layers: values computed outside of this project."""
    for name, value in (("kappa1", 1.575), ("kappa2", 0.4014942)):
        code, text, _ = fimcheck("derive", name, "--at", AT)
        assert code == 0
        assert float(text) == pytest.approx(value, abs=1e-7)


def test_derived_python_runs_alone_and_gives_the_same_number(fimcheck) -> None:
    _, source, _ = fimcheck("derive", "lambda_max", "--activation", "tanh", "--depth", "2", "--python")
    space: dict = {}
    exec(source, space)
    numbers = {"M": 500, "T": 20, "sigma_w2": 1.5, "sigma_b2": 0.2, "alpha_0": 1, "alpha_1": 1}
    at = ",".join(f"{k}={v}" for k, v in numbers.items())
    _, text, _ = fimcheck("derive", "lambda_max", "--activation", "tanh", "--depth", "2", "--at", at)
    assert space["lambda_max"](**numbers) == pytest.approx(float(text), rel=1e-10)


@pytest.mark.parametrize("style", ["--latex", "--steps"])
def test_derive_shows_latex_and_steps_of_an_expression(fimcheck, style: str) -> None:
    code, text, _ = fimcheck("derive", "m", "--activation", "sin(x) + x/2", "--depth", "2", style)
    assert code == 0
    assert ("\\sigma" in text) if style == "--latex" else ("E[" in text)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("m", "--activation", "__import__('os').system('true')"), "not allowed"),
        (("m", "--activation", "exp(x**2)"), "exp(x**2)"),
        (("m", "--activation", "1/x"), "1/x"),
        (("m", "--activation", "x*y*z"), "x*y*z"),
        (("m", "--depth", "1"), "depth = 1"),
        (("m", "--depth", "two"), "two"),
        (("q", "--depth", "2"), "'q'"),
        (("m", "--hidden", "bn"), "'bn'"),
        (("m", "--at", "sigma_w2"), "sigma_w2"),
        (("s", "--depth", "symbolic"), "no closed form in the depth"),
    ],
)
def test_derive_refuses_in_one_line(fimcheck, words: tuple[str, ...], named: str) -> None:
    code, _, text = fimcheck("derive", *words)
    assert code == 2
    assert named in text.replace("\n", "")
    assert "Traceback" not in text


@pytest.mark.parametrize("style", [(), ("--latex",)])
def test_the_one_expression_has_the_number_of_the_prediction(fimcheck, style: tuple[str, ...]) -> None:
    numbers = "sigma_w2=2,sigma_b2=0.1,alpha_0=1,alpha_1=1"
    code, text, _ = fimcheck("derive", "kappa1", "--depth", "2", "--full", *style, "--at", "sigma_w2=2,sigma_b2=0.1")
    assert code == 0
    assert "alpha" in text or "α" in text
    assert float(fimcheck("derive", "kappa1", "--depth", "2", "--at", numbers).out) > 0


def test_what_is_left_open_is_said(fimcheck) -> None:
    code, text, _ = fimcheck("derive", "m", "--depth", "2", "--at", "sigma_w2=2")
    assert code == 0
    assert "numbers put in for sigma_w2; left open: C, M, alpha_0, alpha_1, sigma_b2" in text


def test_book_is_written(fimcheck, tmp_path: Path) -> None:
    code, _, _ = fimcheck("book", str(tmp_path / "book.md"), "--activation", "relu")
    assert code == 0
    assert "relu" in (tmp_path / "book.md").read_text()


def test_measure_gives_what_the_library_gives(fimcheck, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(MODULE)
    data = np.random.default_rng(0).normal(size=(12, 4))
    np.savez(tmp_path / "data.npz", inputs=data)
    where = ("--module", f"{tmp_path / 'net.py'}:make", "--inputs", str(tmp_path / "data.npz"))
    code, text, _ = fimcheck("measure", *where)
    assert code == 0
    made = load(f"{tmp_path / 'net.py'}:make")
    assert f"{numerics.spectrum(made, torch.as_tensor(data)).lambda_max:.6g}" in text
    code, text, _ = fimcheck("measure", *where, "--method", "matrix-free", "--density", "6")
    assert code == 0
    assert text.count("share of eigenvalues above") == 6


@pytest.mark.parametrize(
    "bad",
    ["none.py:make", "net.py:absent", "net.py", "broken.py:make", "wrong.py:make", "quits.py:make", "nan.py:make"],
)
def test_measure_refuses_in_one_line(fimcheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    (tmp_path / "net.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("def make(:")
    (tmp_path / "wrong.py").write_text("def make():\n    return 3\n")
    (tmp_path / "quits.py").write_text("import sys\nsys.exit(0)\n")
    (tmp_path / "nan.py").write_text(MODULE.replace("*layers)", "*layers, NotANumber())") + NAN)
    np.savez(tmp_path / "data.npz", inputs=np.ones((4, 4)))
    monkeypatch.chdir(tmp_path)
    code, _, text = fimcheck("measure", "--module", bad, "--inputs", "data.npz")
    assert code == 2
    assert bad.split(":")[0] in text.replace("\n", "")
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("kappa1", "--at", "sigma_w2=-2,sigma_b2=0.1"), "has to be positive"),
        (("kappa1", "--at", "sigma_w=2"), "no symbol has that name"),
        (("kappa1", "dense skip(relu dense) relu dense", "--at", "alpha_0=2"), "alpha_0: no symbol has that name"),
        (("m", "--at", "M=10,M=20"), "given twice"),
        (("kappa1", "--depth", "symbolic", "--steps"), "give one"),
        (("kappa1", "dense L*(relu dense) L*(relu dense) relu dense"), "more than once"),
        (("kappa1", "dense skip(L*(relu dense)) relu dense"), "move it"),
        (("m", "--activation", "RELU"), "Did you mean relu"),
        (("m", "dense relu dense", "--depth", "4"), "says it itself"),
        (("m", "dense relu relu dense"), "Put a dense step between"),
        (("m", "dense (relu"), "balance the parentheses"),
    ],
)
def test_what_derive_is_given_is_never_ignored(fimcheck, words: tuple[str, ...], named: str) -> None:
    code, _, text = fimcheck("derive", *words)
    assert code == 2
    assert named in " ".join(text.split())


def test_derive_takes_a_network_of_steps(fimcheck) -> None:
    numbers = "sigma_w2=2,sigma_b2=0.1,gamma=1,beta=0"
    code, text, _ = fimcheck("derive", "kappa1", "dense skip(layer relu dense) layer relu dense", "--at", numbers)
    assert code == 0
    setting = Setting.parse("dense skip(layer relu dense) layer relu dense T=4 sb2=0.1")
    assert float(text.split()[-1]) == pytest.approx(float(theory.numeric_order_parameters(setting.wide()).kappa1))


ENDLESS = """

class Endless(torch.nn.Module):
    def forward(self, x):
        while True:
            x = x + 0
def endless():
    return torch.nn.Sequential(torch.nn.Linear(4, 2), Endless())
"""


def test_measure_stops_endless_modules_and_refuses_no_samples(
    fimcheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fimcheck.verify.cli.measure.SECONDS", 0.3)
    module, inputs = tmp_path / "m.py", tmp_path / "in.npz"
    module.write_text(MODULE + ENDLESS)
    np.savez(inputs, inputs=np.zeros((3, 4)))
    code, _, err = fimcheck("measure", "--module", f"{module}:endless", "--inputs", str(inputs))
    assert code == 2
    assert "a run on --inputs: no result after 0.3 seconds" in err
    np.savez(inputs, inputs=np.zeros((0, 4)))
    code, _, err = fimcheck("measure", "--module", f"{module}:make", "--inputs", str(inputs))
    assert code == 2
    assert "holds no sample" in err


def test_what_is_found_is_kept_as_json(fimcheck, tmp_path: Path) -> None:
    kept = tmp_path / "found.json"
    numbers = "sigma_w2=2,sigma_b2=0.3,M=100,C=1,alpha_0=1,alpha_1=1"
    code, out, _ = fimcheck("derive", "m", "--depth", "2", "--at", numbers, "--json", str(kept))
    assert code == 0
    found = json.loads(kept.read_text())
    assert found["value"] == float(out)
    assert found["relation"] == "equals"
    code, _, _ = fimcheck("claims", "--json", str(kept))
    assert code == 0
    assert {claim["claim"] for claim in json.loads(kept.read_text())} == set(CLAIMS)
    code, _, err = fimcheck("derive", "m", "--json", str(tmp_path / "no" / "x.json"))
    assert code == 2
    assert "--json" in err


NUMBERS = "sigma_w2=2,sigma_b2=0.1,alpha_0=1,alpha_1=1"


def test_the_check_to_many_digits_has_a_limit(fimcheck: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*_: Any) -> None:
        while True:
            pass

    monkeypatch.setattr("fimcheck.verify.cli.derive.SECONDS", 0.2)
    monkeypatch.setattr("fimcheck.theory.writing.digits.value", endless)
    code, text, error = fimcheck("derive", "kappa1", "--depth", "2", "--at", NUMBERS)
    assert code == 0
    assert float(text) == pytest.approx(2.05, rel=1e-12)  # sigma_w2/2 + (sigma_w2 + sigma_b2)/2
    assert "not compared with its value to 40 digits" in error
    assert "off a second route" in error


def test_an_average_that_is_not_found_is_a_refusal(fimcheck: Callable[..., Any]) -> None:
    code, text, error = fimcheck(
        "derive", "kappa1", "--activation", "sin(3000*x)*tanh(x)", "--depth", "2", "--at", NUMBERS
    )
    assert (code, text) == (2, "")
    assert "activation sin(3000*x)*tanh(x), step 2" in error
    assert "Piecewise" in error
