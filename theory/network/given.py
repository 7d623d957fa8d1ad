"""Predictions for given inputs: the overlaps of T samples are T x T matrices, and so is the dual matrix of a class.

G = alpha (M/T) kappa for every class, kappa the T x T matrix of gradient overlaps; mean subtraction in the last layer
multiplies it by I - 1 1^T/T from both sides. m, s and the eigenvalues are read off it numerically.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from fimcheck.theory.network.state import Overlaps
from fimcheck.theory.symbols import C, Expr, M, alpha_total

if TYPE_CHECKING:
    from fimcheck.theory.network.composition import Composed
    from fimcheck.theory.network.prediction import Prediction

trace, square, top, shared, rest = (
    sp.Symbol(f"kappa_{name}", nonnegative=True) for name in ("trace", "square", "top", "shared", "rest")
)
GIVEN = (trace, square, top, shared, rest)
"""Of the matrix kappa/T: its trace, the trace of its square, largest eigenvalue, value along (1, .., 1), and mean of
the others."""

FORMULAS = {
    "m": trace * C / M,
    "s": alpha_total * square * C,
    "lambda_max": alpha_total * top * M,
    "lambda_top": alpha_total * top * M,
    "lambda_1": alpha_total * shared * M,
    "lambda_perp": alpha_total * rest * M,
}


def predict(net: "Composed", quantity: str, samples: str) -> "Prediction":
    """The statement in the numbers of the matrix."""
    from fimcheck.theory.network.prediction import Prediction

    if quantity not in FORMULAS or samples != "fixed" or net.output.spectrum is None or net.output.over:
        raise ValueError(
            f'{quantity}, samples = "{samples}", last = {net.last!r}: for given inputs the theory states '
            f'{", ".join(FORMULAS)} at samples = "fixed" with last = "none" or "mean". For other outputs pass '
            "`kappa_matrix` and the outputs to `Output.eigenvalues`."
        )
    formula: Expr = FORMULAS[quantity]
    if net.power == 0:
        formula = formula / M ** (2 if quantity == "s" else 1)
    return Prediction(quantity, net, samples, formula, "equals", (), "derived here (given inputs, numerically)")


def matrix(total: Overlaps, count: Any) -> np.ndarray:
    """kappa (T, T) from the tangent overlap of the outputs."""
    kappa = np.array(total.other, float) / float(count)
    np.fill_diagonal(kappa, float(np.asarray(total.same)) / float(count))
    return kappa


def numbers_of(total: Overlaps, count: Any, net: "Composed") -> dict[Expr, Any]:
    """Values of `GIVEN`."""
    kappa = matrix(total, count)
    T = len(kappa)
    if net.output.removed:
        kappa = kappa - kappa.mean(0, keepdims=True)
        kappa = kappa - kappa.mean(1, keepdims=True)
    along = float(kappa.sum()) / T**2
    total_trace = float(np.trace(kappa)) / T
    top_value = float(np.linalg.eigvalsh(kappa)[-1]) / T
    rest_value = (total_trace - along) / (T - 1)
    return dict(zip(GIVEN, (total_trace, float((kappa**2).sum()) / T**2, top_value, along, rest_value), strict=True))
