"""Loading an extension: what is malformed is refused with file and line, and leaves nothing behind."""

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
import torch

from fimcheck import theory
from fimcheck.theory.symbols import x
from fimcheck.verify import CLAIMS, Draws, Setting
from fimcheck.verify.claims.extension import (
    IN_USE,
    REGISTRIES,
    ExtensionError,
    in_torch,
    load,
    load_in_worker,
    time_limit,
)
from fimcheck.verify.draws.pool import Processes
from fimcheck.verify.examine.stages import Stage, conforms, examine
from fimcheck.verify.judge import suite
from fimcheck.verify.judge.suite import Case
from fimcheck.verify.judge.verdict import Effort, check

RIGHT = """
import dataclasses; from fimcheck import numerics, theory

def scaled(z, gamma, beta):
    return gamma * z + beta

@dataclasses.dataclass(frozen=True)
class Scaled(theory.Step):
    gamma: object = theory.symbols.gamma
    beta: object = theory.symbols.beta
    def apply(self, state, run, path):
        return state.affine(self.gamma**2, self.beta, run.expect)

theory.add_step("scaled", Scaled)
numerics.add_step("scaled", scaled)
theory.add_activation("soft_abs", theory.symbols.x * theory.BUILTIN["tanh"])
"""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = [set(registry) for registry in REGISTRIES]
    yield
    for extension in list(IN_USE.values()):
        extension.forget()
    assert [set(registry) for registry in REGISTRIES] == before


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.py"
    file.write_text(text)
    return file


def test_an_extension_adds_its_names_and_takes_them_away(tmp_path: Path) -> None:
    extension = load(written(tmp_path, RIGHT))
    assert (extension.hidden, extension.activations, extension.generated) == (("scaled",), ("soft_abs",), ("soft_abs",))
    assert len(extension.sha256) == 64
    Setting("soft_abs", hidden="scaled", samples=4).network(16)
    with pytest.raises(ExtensionError, match="in use already"):
        load(extension.path)
    extension.forget()
    with pytest.raises(ValueError, match="scaled"):
        Setting(hidden="scaled", samples=4)
    load(extension.path)


@pytest.mark.parametrize(
    ("text", "line", "named"),
    [
        ("x = (1,\n", 1, "not valid Python"),
        ("from fimcheck import theory\n1 / 0\n", 2, "ZeroDivisionError"),
        ("import theory\n", 1, "No module named 'theory'; write from fimcheck import theory"),
        ("from fimcheck import theory\nraise SystemExit(3)\n", 2, "SystemExit"),
        ("def f():\n    import nothing_of_this_name\nf()\n", 2, "nothing_of_this_name"),
        ("x = 1\n", None, "adds nothing"),
        (RIGHT.replace('numerics.add_step("scaled", scaled)', ""), 14, "not to numerics"),
        (RIGHT.replace('theory.add_step("scaled", Scaled)', ""), 15, "not to theory"),
        (RIGHT.replace('"scaled"', '"layer"'), 14, "'layer' exists already"),
        (RIGHT.replace('"soft_abs"', '"relu"'), 16, "'relu' exists already"),
        (
            "from fimcheck import numerics\nimport torch\nnumerics.add_activation('mine', torch.tanh)\n",
            3,
            "not to theory",
        ),
        (RIGHT.replace("return gamma * z + beta", "raise KeyError(gamma)"), 5, "KeyError"),
        (
            "from fimcheck import verify\nverify.add_claim(verify.Claim('mine', 's', 'm', 'm', hidden='unknown'))\n",
            2,
            "'unknown', which nothing adds",
        ),
        (
            "from fimcheck import verify\nclass Mine(verify.Claim):\n    def prediction(self, setting):\n        pass\n"
            "verify.add_claim(Mine('mine', 's', 'm', 'm'))\n",
            5,
            "must take (setting, wide=None)",
        ),
        ("from fimcheck import verify\nverify.add_claim(verify.CLAIMS['plain.m'])\n", 2, "'plain.m' exists already"),
    ],
)
def test_what_is_malformed_is_refused_with_its_line(tmp_path: Path, text: str, line: int | None, named: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ExtensionError) as refusal:
        load(file)
    assert named in str(refusal.value)
    assert str(refusal.value).startswith(f"{file}:{line}:" if line else f"{file}:")


@pytest.mark.parametrize("name", ["missing.py", "folder", "text.txt"])
def test_what_is_no_python_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.txt").write_text("")
    with pytest.raises(ExtensionError, match=name):
        load(tmp_path / name)


def test_an_infinite_loop_is_stopped_at_its_line(tmp_path: Path) -> None:
    file = written(tmp_path, "from fimcheck import theory\n\nwhile True:\n    pass\n")
    start = time.monotonic()
    with pytest.raises(ExtensionError, match=r"mine\.py:[34]: .*no result after 0\.2 seconds"):
        load(file, seconds=0.2)
    assert time.monotonic() - start < 20


def test_an_endless_definition_is_stopped_at_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = "    while z.shape[-1] == 48:\n        pass\n    return gamma * z"
    text = RIGHT.replace("    return gamma * z + beta", loop)
    extension = load(written(tmp_path, text))
    monkeypatch.setattr("fimcheck.verify.examine.conformance.SECONDS", 0.2)
    stage = conforms(extension, "cpu")
    assert stage.outcome == "failed"
    assert "no result after 0.2 seconds" in stage.lines[-1]
    assert stage.lines[-1].startswith((f"{extension.path}:5:", f"{extension.path}:6:"))


@pytest.mark.parametrize(
    ("body", "line", "named"),
    [
        ("z = z + 0; return gamma * z * float('nan')", 4, "not finite"),
        ("return gamma * z.sqrt()", 4, "not finite"),
        ("import torch; return gamma * z + torch.rand_like(z)", 4, "two calls"),
        ("z += 1; return gamma * z", 4, "changes its argument"),
        ("assert z.shape[-1] != 48; return gamma * z", 5, "AssertionError"),
    ],
)
def test_what_is_no_definition_fails_with_its_line(tmp_path: Path, body: str, line: int, named: str) -> None:
    extension = load(written(tmp_path, RIGHT.replace("return gamma * z + beta", body)))
    stage = conforms(extension, "cpu")
    assert stage.outcome == "failed"
    (fault,) = [text for text in stage.lines if named in text]
    assert fault.startswith(f"{extension.path}:{line}: ")


def test_workers_load_the_extension_and_measure_the_same(tmp_path: Path) -> None:
    load(written(tmp_path, RIGHT))
    setting = Setting("soft_abs", hidden="scaled", samples=4, gamma=0.8)
    with Processes() as pool:
        abroad = Draws(setting, ["m"], pool=pool).take("main", {32: 5})[32]["m"]
    assert abroad == pytest.approx(Draws(setting, ["m"]).take("main", {32: 5})[32]["m"], rel=1e-12)


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    extension = load(written(tmp_path, RIGHT))
    extension.path.write_text(RIGHT + "\n# changed\n")
    files = ((str(extension.path), extension.sha256),)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        refusal = pool.submit(load_in_worker, files).exception()
    assert isinstance(refusal, ExtensionError)
    assert "changed" in str(refusal)
    with pytest.raises(ExtensionError, match="changed"):
        load_in_worker(((str(extension.path), "another hash"),))
    load_in_worker(files)  # this process has what it had


def test_the_time_limit_leaves_other_code_alone() -> None:
    with time_limit(10, "nothing"):
        pass
    with pytest.raises(ZeroDivisionError), time_limit(10, "nothing"):
        _ = 1 / 0
    with pytest.raises(ExtensionError, match="slow"), time_limit(0.05, "slow"):
        time.sleep(5)


def test_a_claim_may_name_its_activations() -> None:
    claim = replace(CLAIMS["plain.m"], id="mine", activations=("relu", "erf"))
    claim.admit(Setting("erf", samples=4))
    with pytest.raises(ValueError, match="relu, erf"):
        claim.admit(Setting("tanh", samples=4))
    assert "relu or erf" in claim.assumptions


def test_an_exception_in_a_stage_fails_with_its_line(tmp_path: Path) -> None:
    text = (
        RIGHT
        + """
from fimcheck import verify

class Broken(verify.Claim):
    def prediction(self, setting, wide=None):
        found = super().prediction(setting, wide)
        return found if setting.activation == "relu" else 1 / 0

verify.add_claim(Broken("mine", "s", "m", "m"))
"""
    )
    extension = load(written(tmp_path, text.replace('theory.add_step("scaled", Scaled)', "").replace(
        'numerics.add_step("scaled", scaled)', "")))  # fmt: skip

    def run(todo: list[Case], once: bool = False) -> Iterator:  # noqa: ARG001
        return suite.run(todo, Effort(eps=0.5, looks=1, budget=1e5), lambda setting, names: Draws(setting, names))

    *_, last = examine(extension, run)
    assert last.outcome == "failed"
    assert last.lines[-1].startswith(f"{extension.path}:23: ZeroDivisionError")


def test_a_stage_that_is_stopped_gives_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a stage: the verdicts until then are shown, and then it stops."""
    monkeypatch.setattr("fimcheck.verify.examine.stages.stands", lambda *_: Stage("places", "passed", ()))
    extension = load(Path(__file__).parent.parent.parent / "examples" / "rms.py")

    def run(_: list[Case], once: bool = False) -> Iterator:  # noqa: ARG001
        verdict = check(CLAIMS["plain.m"], Setting("linear", depth=2, samples=4), Effort(0.5, 0.1, 1, 1e6))
        yield verdict, None
        raise KeyboardInterrupt

    stages = examine(extension, run)
    try:
        found = [next(stages) for _ in range(4)]
        with pytest.raises(KeyboardInterrupt):
            next(stages)
    finally:
        extension.forget()
    assert [stage.outcome for stage in found] == ["passed", "passed", "passed", "stopped"]
    assert len(found[-1].verdicts) == 1


@pytest.mark.parametrize(
    "expr",
    [
        x * sp.Max(0, sp.Min(1, x / 6 + sp.Rational(1, 2))),
        sp.Abs(x) ** sp.Rational(3, 2),
        x * sp.erf(x / sp.sqrt(2)),
    ],
    ids=["hard-swish", "rectified power", "exact constants"],
)
def test_the_torch_function_of_an_expression(expr: sp.Expr) -> None:
    """Each branch sees its own points: autograd through (-x)^(3/2) at x > 0 would be nan."""
    phi = theory.activation(expr).phi
    u = torch.linspace(-4.1, 4.3, 23, dtype=torch.float64, requires_grad=True)
    value, slope = in_torch(phi), in_torch(phi.derivative())
    assert np.allclose(value(u).detach().numpy(), phi(u.detach().numpy()), rtol=1e-14, atol=1e-14)
    assert torch.allclose(torch.autograd.grad(value(u).sum(), u)[0], slope(u), rtol=1e-12, atol=0)
    assert value(u.detach().float()).dtype == torch.float32
