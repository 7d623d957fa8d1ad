"""What is read off the spectrum: the stable learning rate and the top eigenspace."""

import pytest
import sympy as sp

from fimcheck import theory
from fimcheck.theory import WideNetwork, predict
from fimcheck.theory.symbols import M


def test_the_stable_rate_is_two_over_the_largest_eigenvalue() -> None:
    net = WideNetwork(3, "relu", last="batch")
    rate, sharpest = (predict(net, q, given_outputs=True) for q in ("stable_rate", "lambda_max"))
    assert sp.simplify(rate.formula * sharpest.formula) == 2
    assert rate.scaling("M") == -sharpest.scaling("M") == -1
    assert rate.formula.has(M)


def test_alignment_needs_an_outlier() -> None:
    assert predict(WideNetwork(3, "relu"), "alignment").formula == 1
    for centered in (WideNetwork(3, "relu", last="mean"), WideNetwork(3, "tanh", sigma_b2=0)):
        with pytest.raises(ValueError, match="outlier"):
            predict(centered, "alignment")


def test_every_public_object_shows_itself_in_a_notebook() -> None:
    shown = [
        theory.activation("relu"),
        WideNetwork(2, "relu"),
        theory.order_parameters(WideNetwork(2, "relu")),
        predict(WideNetwork(2, "relu"), "m"),
        theory.phase.fixed_point("tanh", 2.0, 0.1),
        *theory.certify(theory.activation("sin"), count=1)[:1],
    ]
    for thing in shown:
        text = thing._repr_latex_()
        assert (text[0], text[-1]) == ("$", "$") or text.startswith(r"\begin{align*}")
        assert text.count("{") == text.count("}")
