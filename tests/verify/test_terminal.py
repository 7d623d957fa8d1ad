"""What the report says of verdicts that are not all AGREE."""

from dataclasses import replace
from io import StringIO

from rich.console import Console

from fimcheck.theory.writing import latex
from fimcheck.verify import CLAIMS, Claim, Draws, Effort, Setting, check
from fimcheck.verify.claims.abstract import SENTENCES
from fimcheck.verify.judge import suite
from fimcheck.verify.judge.controls import Kill, challenge
from fimcheck.verify.judge.wrong import WRONG_BOUNDS, WRONG_THEORIES
from fimcheck.verify.show import terminal

SETTING = Setting("linear", samples=4)
VERDICT = check(CLAIMS["plain.lambda_max"], SETTING, Effort(eps=0.2, error_rate=0.05, looks=1, budget=1.0))


def with_status(name: str, status):
    return replace(VERDICT, claim=CLAIMS[name], finding=replace(VERDICT.finding, outcome=status))


def line(*statuses: str, todo: int = 1) -> str:
    """The first sentence, all of whose claims got these statuses in turn, one verdict a case."""
    names = SENTENCES[0].claims
    verdicts = [with_status(name, status) for name in names for status in statuses]
    cases = [suite.Case(CLAIMS[name], SETTING) for name in names for _ in range(todo)]
    return terminal.sentences(verdicts, cases).splitlines()[0]


def test_a_sentence_needs_every_case_of_every_claim() -> None:
    assert "verified (3 of 3" in line("AGREE")
    assert "verified (3 of 3" in line("AGREE", "AGREE", todo=2)
    assert "open (0 of 3" in line("AGREE", todo=2), "interrupted: half of the cases are missing"
    assert "open (0 of 3" in line("AGREE", "INCONCLUSIVE", todo=2)


def test_a_refutation_needs_a_measurement() -> None:
    assert "REFUTED" in line("AGREE", "DISAGREE", todo=2)
    assert "REFUTED" in line("MISFIT")
    invalid = line("INVALID")
    assert "NOT TESTED" in invalid
    assert "REFUTED" not in invalid


def test_a_right_theory_that_fails_spoils_its_controls() -> None:
    draws = Draws(SETTING, ["lambda_max"])
    kills = challenge(VERDICT, draws)
    assert "says nothing" not in terminal.kill_summary([(VERDICT, kills)])
    broken = with_status("plain.lambda_max", "INVALID")
    assert "says nothing" in terminal.kill_summary([(broken, kills)])


def test_the_kill_matrix_shows_every_mistake_in_80_columns() -> None:
    mistakes = [*WRONG_THEORIES, *(w for bounds in WRONG_BOUNDS.values() for w in bounds)]
    claim = replace(VERDICT.claim, id=max(CLAIMS, key=len))
    kills = [Kill(wrong, VERDICT if wrong is mistakes[-1] else None, 1.04) for wrong in mistakes]
    console = Console(width=80, record=True, file=StringIO())
    console.print(terminal.kill_table([(replace(VERDICT, claim=claim), kills)]))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith(f"{claim.id} ")
    assert lines[-1].split()[-1].strip("=") == {"AGREE": "B", "INCONCLUSIVE": "?"}[VERDICT.status]


def test_mistakes_that_no_rule_can_refuse_are_listed() -> None:
    close, far = WRONG_THEORIES[:2]
    summary = terminal.kill_summary([(VERDICT, [Kill(close, None, 1.04321), Kill(far, VERDICT, 1.1)])])
    assert summary.splitlines()[-1] == f"  {close.id}: plain.lambda_max x 1.043"


def test_errors_are_shown_in_units_of_the_last_digit() -> None:
    assert terminal._with_error(0.99771, 0.00461) == "0.9977(46)"
    assert terminal._with_error(-0.0593, 0.31) == "-0.06(31)"
    assert terminal._with_error(12.3, 4.2) == "12(4)"


def test_the_formula_shown_is_the_one_that_was_tested() -> None:
    """Mutant: a claim with another prediction; hidden batch normalization states the larger of two groups."""
    (case,) = suite.cases([CLAIMS["hidden_batch.lambda_max"]], suite.BASES[:1])
    assert r"\max" in case.claim.formula(case.setting)

    class Halved(type(case.claim)):
        def prediction(self, setting, wide=None):
            right = super().prediction(setting, wide)
            return replace(right, formula=right.formula / 2)

    halved = Halved(**vars(case.claim))
    assert halved.formula(case.setting) != case.claim.formula(case.setting)
    for claim in CLAIMS.values():
        (case,) = suite.cases([claim], suite.BASES[:1])
        if type(claim) is Claim:
            shown = latex.text(claim.prediction(case.setting).formula)
            assert shown in claim.formula(case.setting)
