"""Order parameters of a wide network, as expressions or as float64 numbers.

Everything is read off one run forward through the steps. The tangent overlap of the outputs is linear in what each
dense step adds to it; the coefficient is the backward overlap tq of that step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from fimcheck.theory import symbols
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.expectations import ClosedForms, Numbers
from fimcheck.theory.network.state import Expectations, Overlaps, Source, Value
from fimcheck.theory.network.step import Run
from fimcheck.theory.symbols import Expr


@dataclass(frozen=True)
class OrderParameters:
    """What is known of a network, t and s two different samples.

    K, mean: overlaps and means of the signal after each step, by path. tq: backward overlaps, by (path of a dense step,
    relation of two places there): the sum over the places so related of the product of the derivatives of one output
    there, of one sample with itself (same) and of two samples (other).
    kappa1, kappa2: gradient overlaps of one sample with itself and of two samples, per M and class, over alpha.

    By layers, the dense steps of the outermost chain: forward overlaps hq1, hq2 of layers 0..L-1 (what the next dense
    step sees), variance q1 and covariance q2 of the pre-activations and backward overlaps tq1, tq2 of layers 1..L. A
    batch normalization above a layer makes its tq1 and tq2 sums over all samples at which the derivative of one output
    arrives.
    """

    K: Mapping[str, Overlaps]
    mean: Mapping[str, Value]
    tq: Mapping[Source, Overlaps]
    kappa1: Value
    kappa2: Value
    hq1: Mapping[int, Value]
    hq2: Mapping[int, Value]
    q1: Mapping[int, Value]
    q2: Mapping[int, Value]
    tq1: Mapping[int, Value]
    tq2: Mapping[int, Value]
    output: Overlaps

    def _repr_latex_(self) -> str:
        one, two = (symbols.latex(sp.sympify(k)) for k in (self.kappa1, self.kappa2))
        return rf"$\kappa_1 = {one},\quad \kappa_2 = {two}$"


def order_parameters(net: Composed, samples: str = "fixed") -> OrderParameters:
    """Order parameters as SymPy expressions in the network's parameters.

    samples: "fixed" makes batch normalization in the hidden layers exact in the number of samples T;
    "infinite" and "proportional" take T -> infinity there.

    >>> net = theory.WideNetwork(2, "relu")
    >>> theory.order_parameters(net).q1[1]
    sigma_b2 + sigma_w2
    """
    return orders_of(net, ClosedForms(), symbols.T if samples == "fixed" else sp.oo)


def numeric_order_parameters(net: Composed, samples: str = "fixed", T: int | None = None) -> OrderParameters:
    """Order parameters in float64 of a network whose parameters are all numbers.

    T, the number of samples, is needed where hidden batch normalization is exact in it.

    >>> net = theory.WideNetwork(3, "relu", sigma_w2=2, sigma_b2=0.1, ratios=1)
    >>> round(float(theory.numeric_order_parameters(net).kappa1), 6)
    1.575
    """
    if net.depends_on_samples(samples) and T is None:
        raise ValueError("Normalization over finitely many samples depends on T. Give T, or samples='infinite'.")
    for name, value in net.parameters.items():
        if not value.is_number:
            raise ValueError(f"{name} = {value} is not a number; numeric order parameters need numbers throughout.")
    return orders_of(net, Numbers(), np.inf if T is None or samples != "fixed" else float(T), float)


def orders_of(
    net: Composed, expect: Expectations, samples: Any, number: Callable[[Expr], Any] = lambda value: value
) -> OrderParameters:
    """Order parameters from one run, of whatever kind of values it is made."""
    run, end = net.run(expect, samples, number=number)
    total = run.total(end)
    tq = {source: Overlaps(t.same, t.other) for source, t in end.tangent.items()}
    layers = _by_layer(net, run, tq)
    K = {path: state.K for path, state in run.states.items()}
    mean = {path: state.mean for path, state in run.states.items()}
    kappas = (total.same / run.count, total.other / run.count)
    return OrderParameters(K, mean, tq, *kappas, **layers, output=end.K)


def _by_layer(net: Composed, run: Run, tq: Mapping[Source, Overlaps]) -> dict[str, dict[int, Value]]:
    hq: list[dict[int, Value]] = [{}, {}]
    q: list[dict[int, Value]] = [{}, {}]
    back: list[dict[int, Value]] = [{}, {}]
    layer = 0
    for number, step in enumerate(net.steps.steps, 1):
        if not isinstance(step, Dense):
            continue
        seen = run.states[str(number - 1) if number > 1 else ""]
        for a, relation in enumerate(("same", "other")):
            hq[a][layer] = getattr(seen.K, relation)
            q[a][layer + 1] = getattr(run.states[str(number)].K, relation)
        layer += 1
        same, other = tq[str(number), "same"], tq[str(number), "other"]
        back[0][layer] = same.same
        # A coupled network: the derivative of one sample's output reaches the other samples, and their sums cancel.
        back[1][layer] = other.other if np.all(other.same == 0) else same.other
    return {"hq1": hq[0], "hq2": hq[1], "q1": q[0], "q2": q[1], "tq1": back[0], "tq2": back[1]}
