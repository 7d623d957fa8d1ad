"""The symbols that every expression of this package is written in.

Symbols are matched by name *and* assumptions in SymPy, so build expressions from these objects.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias

import sympy as sp

Expr: TypeAlias = Any
"""A SymPy expression. SymPy annotates many functions with Basic, which has no arithmetic; hence Any."""

M = sp.Symbol("M", positive=True)
"""Width scale: layer l has M_l = alpha_l M units."""

T = sp.Symbol("T", positive=True)
"""Number of input samples."""

C = sp.Symbol("C", positive=True)
"""Number of output units."""

rho = sp.Symbol("rho", positive=True)
"""Width over samples, M/T, in the proportional regime."""

sigma_w2 = sp.Symbol("sigma_w2", positive=True)
"""Weight variance: W_ij ~ N(0, sigma_w2 / fan-in)."""

sigma_b2 = sp.Symbol("sigma_b2", nonnegative=True)
"""Bias variance."""

gamma = sp.Symbol("gamma", positive=True)
"""Scale of the normalization in the hidden layers."""

beta = sp.Symbol("beta", real=True)
"""Shift of the normalization in the hidden layers."""

N = sp.Symbol("N", positive=True)
"""Number of positions of a sample."""

last_gamma = sp.Symbol("last_gamma", positive=True)
"""Scale of the normalization in the last layer."""

kappa1 = sp.Symbol("kappa1", positive=True)
kappa2 = sp.Symbol("kappa2", nonnegative=True)
"""Gradient overlaps of one sample with itself and of two samples."""

alpha_total = sp.Symbol("alpha", positive=True)
"""Sum of alpha_l alpha_{l-1} over l = 1..L-1, so that P ~ alpha M^2."""

Q1 = sp.Symbol("Q1", positive=True)
Q2 = sp.Symbol("Q2", positive=True)
Qmax = sp.Symbol("Qmax", positive=True)
"""Means over classes of last_gamma^2/sd_k^2 and its square, and the largest last_gamma^2/sd_k^2."""

R1 = sp.Symbol("R1", positive=True)
"""Mean over samples of 1/sd(t)^2, sd(t) the standard deviation over the outputs."""

c_2 = sp.Symbol("c_2", nonnegative=True)
"""The nonnegative constant in the upper bound on lambda_max for T = M/rho."""


def free_symbols(exprs: Iterable[Any]) -> set[sp.Symbol]:
    """All free symbols of some expressions."""
    return set().union(*(e.free_symbols for e in exprs))


def arguments(expr: Expr) -> tuple[Expr, ...]:
    """Arguments of an expression."""
    return expr.args


x = sp.Symbol("x", real=True)
"""The argument of an activation."""

p = sp.Symbol("p", positive=True)
c = sp.Symbol("c", real=True)
mu = sp.Symbol("mu", real=True)
"""Variance, covariance and mean of a Gaussian pair (u, v)."""


def alpha(layer: int) -> sp.Symbol:
    """Width ratio of a layer: M_l = alpha_l M, with l = 0 the input."""
    return sp.Symbol(f"alpha_{layer}", positive=True)


LATEX = {
    sigma_w2: r"\sigma_w^2",
    sigma_b2: r"\sigma_b^2",
    kappa1: r"\kappa_1",
    kappa2: r"\kappa_2",
    last_gamma: r"\gamma_L",
    Qmax: r"Q_{\max}",
}


def latex(expr: sp.Basic) -> str:
    """LaTeX of an expression in these symbols."""
    return sp.latex(expr, symbol_names=LATEX)
