"""Kernels E[f(u) g(v)] of a Gaussian pair: a derived closed form where there is one, certified quadrature else."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np
import sympy as sp
from scipy import special

from theory import price, quadrature
from theory.functions import Function
from theory.moments import mean_of_terms
from theory.symbols import c, mu, p
from theory.terms import product


class GaussianPair(sp.Function):
    """E[f(u) g(v)] left as it is: arguments f(x), g(x), p, c, mu; x is bound."""

    @property
    def free_symbols(self) -> set[sp.Basic]:
        """Symbols of the parameters only."""
        return set().union(*(a.free_symbols for a in self.args[2:]))

    def _eval_evalf(self, prec: int) -> sp.Expr:
        *fg, variance, covariance, mean = self.args
        f, g = (Function.from_expr(h) for h in fg)
        value = kernel(f, g)(*(np.float64(sp.N(a)) for a in (variance, covariance, mean)))
        return sp.Float(float(value), precision=prec)

    def _latex(self, printer: object) -> str:
        f, g, variance, covariance, mean = (printer._print(a) for a in self.args)  # type: ignore[attr-defined]
        return rf"\mathbb{{E}}\left[{f}\,{g}\right]_{{{variance},{covariance},{mean}}}"


@dataclass(frozen=True)
class Kernel:
    """E[f(u) g(v)], (u, v) Gaussian with common mean mu and variance p, covariance c."""

    f: Function
    g: Function

    @cached_property
    def centered(self) -> sp.Expr | None:
        """Closed form in `symbols.p` and `symbols.c` at mu = 0."""
        return self._derive(shifted=False)

    @cached_property
    def shifted(self) -> sp.Expr | None:
        """Closed form in `symbols.p`, `symbols.c` and `symbols.mu`."""
        return self._derive(shifted=True)

    def _derive(self, shifted: bool) -> sp.Expr | None:
        left, right = self.f.terms, self.g.terms
        if left is None or right is None:
            return None
        reduction = price.reduce(left, right, shifted)
        closed = None if reduction is None else price.closed_form(reduction)
        return None if closed is None else _real(closed)

    @cached_property
    def centered_diagonal(self) -> sp.Expr | None:
        """Closed form of E[f(u) g(u)] at mu = 0."""
        return self._diagonal(shifted=False)

    @cached_property
    def shifted_diagonal(self) -> sp.Expr | None:
        """Closed form of E[f(u) g(u)]."""
        return self._diagonal(shifted=True)

    def _diagonal(self, shifted: bool) -> sp.Expr | None:
        left, right = self.f.terms, self.g.terms
        if left is None or right is None or self.f.deltas or self.g.deltas:
            return None
        both = product(left, right)
        if both is not None:
            return sp.simplify(_real(mean_of_terms(both, mu if shifted else sp.S.Zero, p)))
        closed = self.shifted if shifted else self.centered
        return None if closed is None else sp.simplify(closed.subs(c, p))

    @cached_property
    def _one_mean(self) -> tuple[sp.Expr | None, sp.Expr | None]:
        means = [None if h.terms is None else _real(mean_of_terms(h.terms, mu, p)) for h in (self.f, self.g)]
        return means[0], means[1]

    def expr(self, variance: sp.Expr, covariance: sp.Expr, mean: sp.Expr) -> sp.Expr:
        """The expectation as an expression, an unevaluated GaussianPair where no closed form is known."""
        centered, same = mean == 0, variance == covariance
        if same:
            closed = self.centered_diagonal if centered else self.shifted_diagonal
        elif covariance == 0 and all(e is not None for e in self._one_mean):
            closed = self._one_mean[0] * self._one_mean[1]  # type: ignore[operator]
        else:
            closed = self.centered if centered else self.shifted
        values = {p: variance, c: covariance, mu: mean}
        if closed is not None:
            return closed.subs(values, simultaneous=True)
        if centered and covariance == 0 and (self.f.is_odd or self.g.is_odd):
            return sp.S.Zero
        return GaussianPair(self.f.expr, self.g.expr, variance, covariance, mean)

    def __call__(
        self, variance: np.ndarray, covariance: np.ndarray, mean: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Values in float64; arguments broadcast."""
        variance, covariance, mean = np.broadcast_arrays(
            np.asarray(variance, float), np.asarray(covariance, float), np.asarray(mean, float)
        )
        closed = self._compiled(bool(np.all(mean == 0)))
        if closed is not None:
            return np.asarray(closed(variance, covariance, mean))
        out = np.empty(variance.shape)
        for i in np.ndindex(variance.shape):
            out[i] = _by_quadrature(self, float(variance[i]), float(covariance[i]), float(mean[i]))
        return out

    def _compiled(self, centered: bool) -> Callable[..., np.ndarray] | None:
        return _compile(self, centered)


def _real(expr: sp.Expr) -> sp.Expr:
    """Sines and cosines back from the complex exponentials they were integrated as."""
    return sp.factor_terms(sp.expand(expr, complex=True)) if expr.has(sp.I) else expr


@cache
def _compile(kernel_: Kernel, centered: bool) -> Callable[..., np.ndarray] | None:
    closed = kernel_.centered if centered else kernel_.shifted
    if closed is None:
        return None
    # asin(c/A) loses digits at |c| near A; the same angle from its tangent does not.
    stable = closed.replace(sp.asin, lambda z: sp.atan2(z, sp.sqrt((1 - z) * (1 + z))))
    return sp.lambdify([p, c, mu], stable, [{"erf": special.erf, "erfc": special.erfc}, "numpy"])


@lru_cache(maxsize=100_000)
def _by_quadrature(k: Kernel, variance: float, covariance: float, mean: float) -> float:
    kinks = tuple(sorted({float(b) for b in (*k.f.breaks, *k.g.breaks)}))
    if covariance == variance:
        return quadrature.single(lambda u: k.f(u) * k.g(u), kinks, variance, mean)
    if covariance == 0:
        left = quadrature.single(k.f, kinks, variance, mean)
        return left * (left if k.f is k.g else quadrature.single(k.g, kinks, variance, mean))
    return quadrature.pair(k.f, k.g, kinks, variance, covariance, mean)


@cache
def kernel(f: Function, g: Function) -> Kernel:
    """The one Kernel object of a pair of functions, so that what it derives is derived once."""
    return Kernel(f, g)
