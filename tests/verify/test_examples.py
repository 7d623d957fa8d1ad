"""The worked examples: right ones hold at every stage, wrong ones are refused with the true cause named.

Draws are fewer than those of `fimcheck check`, so that eps is 10% for the right ones here; the rule is the rule.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fimcheck.verify.claims.extension import Extension, load
from fimcheck.verify.draws.draws import Draws
from fimcheck.verify.examine import places
from fimcheck.verify.examine import stages as examine
from fimcheck.verify.judge import suite
from fimcheck.verify.judge.suite import Case
from fimcheck.verify.judge.verdict import Effort

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
EFFORT = Effort(eps=0.1, error_rate=1e-3, looks=3, budget=1e8)


@pytest.fixture
def extension(request: pytest.FixtureRequest) -> Iterator[Extension]:
    loaded = load(EXAMPLES / f"{request.param}.py")
    yield loaded
    loaded.forget()


def stages(extension: Extension, effort: Effort = EFFORT) -> dict[str, examine.Stage]:
    def run(todo: list[Case], once: bool = False) -> Iterator:
        return suite.run(todo, replace(effort, looks=1) if once else effort, Draws)

    return {stage.name: stage for stage in examine.examine(extension, run)}


@pytest.fixture
def first_case_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """One claim about the mean eigenvalue at its first default setting, and no generated ones."""
    every = examine.claim_cases

    def first(extension: Extension, thorough: bool = False) -> tuple[list[Case], list[Case]]:
        found = every(extension, thorough)[0]
        return ([case for case in found if case.claim.quantity == "m"] or found)[:1], []

    monkeypatch.setattr(examine, "claim_cases", first)


@pytest.fixture
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """One network of every kind of place, at one set of numbers."""
    monkeypatch.setattr(places, "PLACES", {kind: networks[:1] for kind, networks in places.PLACES.items()})
    monkeypatch.setattr(places, "NUMBERS", places.NUMBERS[:1])


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Widths half as large: cheap, and enough to see what is wrong by tens of percent."""
    monkeypatch.setattr("fimcheck.verify.claims.claim.WIDTHS", (32, 64, 128, 256, 512))


RIGHT = ("rms", "mean_only_batch", "gated", "post_norm", "new_activation", "group_outputs")


@pytest.mark.usefixtures("first_case_only", "few_places")
@pytest.mark.parametrize(
    "extension", ["residual", *(pytest.param(name, marks=pytest.mark.slow) for name in RIGHT)], indirect=True
)
def test_right_examples_hold(extension: Extension) -> None:
    found = stages(extension)
    assert [s.name for s in found.values() if s.outcome not in ("passed", "empty")] == []
    verdicts = [v for stage in found.values() for v in stage.verdicts]
    assert {v.status for v in verdicts} == {"AGREE"}
    assert len(verdicts) >= 1
    kills = [kill for _, attack in found["wrong theories"].attacks for kill in attack]
    assert sum(kill.verdict is not None and kill.verdict.status in ("DISAGREE", "MISFIT") for kill in kills) >= 4


# The overlap that departs first, and the factor that is the true cause.
WRONG = {
    "wrong_forgotten_gamma": ("tq[1].same, step 1: dense", "gamma^2"),
    "wrong_limit_order": ("K[2].same, step 2: mean_only_limit", "(T-1)/T"),
}


@pytest.mark.slow
@pytest.mark.parametrize("extension", WRONG, indirect=True)
def test_wrong_rules_are_refused_with_the_cause_first(extension: Extension) -> None:
    where, cause = WRONG[extension.path.stem]
    found = stages(extension)
    assert list(found) == ["conformance", "derivation", "places"]
    stage = found["places"]
    assert stage.outcome == "failed"
    departs, factor, replay = stage.lines
    assert departs.startswith("behind a dense step [dense ")
    assert f"]: {where}: predicted " in departs
    assert cause in factor.split(" (p =")[0]  # the first of the proposals
    assert f"check {extension.path} --setting" in replay


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("extension", ["wrong_bound_relu"], indirect=True)
def test_a_bound_that_fails_for_relu_is_put_down_to_it(extension: Extension, monkeypatch: pytest.MonkeyPatch) -> None:
    every = examine.claim_cases
    monkeypatch.setattr(examine, "claim_cases", lambda e, thorough=False: (every(e, thorough)[0], []))
    stage = list(stages(extension).values())[-1]
    assert stage.name == "claims"
    assert {v.setting.activation: v.status for v in stage.verdicts}["relu"] in ("DISAGREE", "MISFIT")
    cause = next(line for line in stage.lines if "activation" in line)
    assert "fails with relu only" in cause
    assert "tanh" in cause
    assert stage.lines[-1].startswith("replay: fimcheck check ")
    assert "relu L=2" in stage.lines[-1]


@pytest.mark.parametrize("name", ["rms", "new_activation"])
def test_short_examples_are_short(name: str) -> None:
    lines = (EXAMPLES / f"{name}.py").read_text().splitlines()
    assert len(lines) < 30
