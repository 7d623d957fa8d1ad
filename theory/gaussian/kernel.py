"""Kernels E[f(u) g(v)] of a Gaussian pair: a derived closed form where there is one, else quadrature.

No form and no number without a second route, the rule of `rule`. A closed form meets it where it is derived, at two
points. Numbers meet it at the first point of every octave of the variance, eighth of the half circle of asin(c/p) and
standard deviation of the mean that they are asked for, which is where another way of finding them would start.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import product
from typing import Any

import numpy as np
import sympy as sp
from scipy import special

from fimcheck.theory.gaussian import derivation, interpolation, quadrature, reduced, rule
from fimcheck.theory.gaussian.derivation import Derivation
from fimcheck.theory.gaussian.evaluation import compiled
from fimcheck.theory.gaussian.functions import ActivationError, Function
from fimcheck.theory.symbols import Expr, arguments, c, mu, p, x

MANY = 1000
"""Array size from which kernels without closed form are interpolated from checked tables."""


class GaussianPair(sp.Function):
    """E[f(u) g(v)] left as it is: arguments f(x), g(x), p, c, mu; x is bound."""

    @property
    def free_symbols(self) -> set[sp.Basic]:
        """Symbols of the parameters, and of f and g other than x."""
        inside = (self.args[0].free_symbols | self.args[1].free_symbols) - {x}
        return inside.union(*(a.free_symbols for a in self.args[2:]))

    def _eval_evalf(self, prec: int) -> Expr | None:
        *fg, variance, covariance, mean = self.args
        if self.free_symbols:
            return None
        f, g = (Function.from_expr(h) for h in fg)
        k, at = kernel(f, g), [float(sp.N(a)) for a in (variance, covariance, mean)]
        value = float(k(*at))
        k.second_route(*at).require(value, k.words(*at))
        return sp.Float(value, precision=prec)

    def _latex(self, printer: Any) -> str:
        f, g, variance, covariance, mean = self.args
        u, v = sp.symbols("u v", real=True)
        texts = [printer._print(h) for h in (f.subs(x, u), g.subs(x, v))]
        inside = "".join(rf"\left({text}\right)" if h.is_Add else text for h, text in zip((f, g), texts, strict=True))
        about = ", ".join(printer._print(a) for a in (variance, covariance))
        shift = "" if mean == 0 else rf";\, {printer._print(mean)}"
        return rf"\mathbb{{E}}_{{{about}{shift}}}\left[{inside}\right]"


@dataclass(frozen=True)
class Kernel:
    """E[f(u) g(v)], (u, v) Gaussian with common mean mu and variance p, covariance c."""

    f: Function
    g: Function

    @cached_property
    def centered(self) -> Derivation:
        """In `symbols.p` and `symbols.c` at mu = 0."""
        return self._confirmed(derivation.derive_pair(self.f, self.g, sp.S.Zero))

    @cached_property
    def shifted(self) -> Derivation:
        """In `symbols.p`, `symbols.c` and `symbols.mu`."""
        return self._confirmed(derivation.derive_pair(self.f, self.g, mu))

    @cached_property
    def centered_same(self) -> Derivation:
        """E[f(u) g(u)] at mu = 0."""
        return self._confirmed(derivation.derive_same(self.f, self.g, sp.S.Zero), same=True)

    @cached_property
    def shifted_same(self) -> Derivation:
        """E[f(u) g(u)]."""
        return self._confirmed(derivation.derive_same(self.f, self.g, mu), same=True)

    @cached_property
    def independent(self) -> Expr | None:
        """Closed form of E f(u) E g(v)."""
        means = [derivation.derive_mean(h, mu) for h in (self.f, self.g)]
        if means[0] is None or means[1] is None:
            return None
        found = means[0] * means[1]
        self._meet(found, _POINTS[0][0], sp.S.Zero)
        return found

    def _confirmed(self, found: Derivation, same: bool = False) -> Derivation:
        """What was derived, after its form has met the second route."""
        if found.expr is not None and not (same and (self.f.deltas or self.g.deltas)):
            for variance, covariance in _POINTS:
                self._meet(found.expr, variance, variance if same else covariance)
        return found

    def _meet(self, form: Expr, variance: Expr, covariance: Expr) -> None:
        """Refuse a form in p, c and mu that the second route does not confirm; other symbols stand for 1/3."""
        mean = sp.Rational(3, 10) if form.has(mu) else sp.S.Zero
        inside = self.f.parameters | self.g.parameters
        fixed: dict[Any, Any] = dict.fromkeys(inside, sp.Rational(1, 3))
        number = form.subs({**fixed, p: variance, c: covariance, mu: mean}, simultaneous=True).evalf()
        numeric = kernel(self.f.subs(fixed), self.g.subs(fixed)) if fixed else self
        numeric.second_route(float(variance), float(covariance), float(mean)).require(
            float(sp.re(number)), numeric.words(float(variance), float(covariance), float(mean))
        )

    def second_route(self, variance: float, covariance: float, mean: float) -> rule.Average:
        """The value at one point from nothing but values of f and g."""
        return rule.pair(self.f, self.g, variance, covariance, mean)

    def words(self, variance: float, covariance: float, mean: float) -> str:
        """The average in words, at a point."""
        return (
            f"E[f(u) g(v)], f(x) = {self.f.expr}, g(x) = {self.g.expr}, at variance {variance:g}, covariance "
            f"{covariance:g}, mean {mean:g}"
        )

    @cached_property
    def _met(self) -> set[tuple[int, ...]]:
        """Tiles of (p, c, mu) in which a number has met the second route."""
        return set()

    def _numbers_meet(self, points: tuple[np.ndarray, ...], found: np.ndarray) -> None:
        """Refuse numbers that the second route does not confirm, at the first point of every tile that is new."""
        variance, covariance, mean = (np.ravel(a) for a in points)
        found = np.ravel(found)
        valid = np.isfinite(found) & (variance > 0) & (np.abs(covariance) <= variance) & np.isfinite(variance)
        if not np.all(valid):
            variance, covariance, mean, found = (a[valid] for a in (variance, covariance, mean, found))
        if found.size == 0:
            return
        angle = np.arcsin(covariance / variance) / (np.pi / 8)
        # Beside the tiles, the places that have a form of their own: c = -p, 0, p, and mean 0.
        special = 4 * (mean == 0) + np.where(covariance == 0, 0, np.where(np.abs(covariance) == variance, 1, 2))
        tiles = np.stack(
            [np.floor(np.log2(variance)), np.floor(angle), np.rint(mean / np.sqrt(variance)), special], axis=1
        ).astype(int)
        tiles, first = np.unique(tiles, axis=0, return_index=True) if found.size > 1 else (tiles, np.zeros(1, int))
        for tile, i in zip(map(tuple, tiles), first, strict=True):
            if tile not in self._met:
                at = float(variance[i]), float(covariance[i]), float(mean[i])
                self.second_route(*at).require(float(found[i]), self.words(*at))
                self._met.add(tile)

    def expr(self, variance: Expr, covariance: Expr, mean: Expr) -> Expr:
        """The expectation as an expression, an unevaluated GaussianPair where no closed form is known."""
        centered, same = mean == 0, variance == covariance
        if same:
            closed = (self.centered_same if centered else self.shifted_same).expr
        elif covariance == 0:
            closed = self.independent
            if closed is None and centered and (self.f.is_odd or self.g.is_odd):
                closed = sp.S.Zero
        else:
            closed = (self.centered if centered else self.shifted).expr
        if closed is not None:
            return closed.subs({p: variance, c: covariance, mu: mean}, simultaneous=True)
        return GaussianPair(self.f.expr, self.g.expr, variance, covariance, mean)

    def __call__(self, variance: Any, covariance: Any, mean: Any = 0.0) -> np.ndarray:
        """Values in float64; arguments broadcast. A mean that is not 0 everywhere uses the shifted form."""
        points = np.broadcast_arrays(*(np.asarray(a, float) for a in (variance, covariance, mean)))
        with np.errstate(over="ignore", invalid="ignore"):  # a value beyond float64 fails its own check
            found = self._values(*points)
            self._numbers_meet(points, found)
        return found

    def _values(self, variance: np.ndarray, covariance: np.ndarray, mean: np.ndarray) -> np.ndarray:
        centered = bool(np.all(mean == 0))
        closed = _compiled(self, centered)
        if closed is not None:
            return closed(variance, covariance, mean)
        if variance.size >= MANY and centered and np.all(variance > 0):
            return interpolation.values(_direct(self), variance, covariance)
        out = np.empty(variance.shape)
        for i in np.ndindex(out.shape):
            out[i] = _integrated(self, float(variance[i]), float(covariance[i]), float(mean[i]))
        return out


_POINTS = ((sp.Rational(13, 10), sp.Rational(2, 5)), (sp.Rational(7, 10), sp.Rational(-3, 10)))
"""Variance and covariance at which a form meets the second route."""


@cache
def _compiled(k: Kernel, centered: bool) -> Callable[..., np.ndarray] | None:
    closed = (k.centered if centered else k.shifted).expr
    return None if closed is None else compiled(closed)


@cache
def _direct(k: Kernel) -> interpolation.Direct:
    return lambda variance, covariance: _integrated(k, float(variance), float(covariance), 0.0)


@lru_cache(maxsize=100_000)
def _integrated(k: Kernel, variance: float, covariance: float, mean: float) -> float:
    kinks = tuple(sorted({float(b) for b in (*k.f.breaks, *k.g.breaks)}))
    if k.f.deltas or k.g.deltas:
        return _with_deltas(k, variance, covariance, mean)
    if covariance == variance:
        return quadrature.single(lambda u: k.f(u) * k.g(u), kinks, variance, mean)
    if covariance == 0:
        left = quadrature.single(k.f, kinks, variance, mean)
        return left * (left if k.f is k.g else quadrature.single(k.g, kinks, variance, mean))
    value = reduced.pair(k.f, k.g, variance, covariance, mean)
    if value is None and (conditional := _conditional(k.g)) is not None and abs(covariance) < variance:
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                return quadrature.conditional_pair(k.f, conditional, kinks, variance, covariance, mean)
        except quadrature.QuadratureError:
            pass  # exponentials beyond float64 in the closed conditional mean: both integrals by quadrature
    return quadrature.pair(k.f, k.g, kinks, variance, covariance, mean) if value is None else value


def _with_deltas(k: Kernel, variance: float, covariance: float, mean: float) -> float:
    """E f(u) g(v) where f or g holds deltas: one of the two variables is fixed at each of them."""
    if abs(covariance) >= variance:
        raise ActivationError(
            f"{k.words(variance, covariance, mean)}: a delta meets itself, where a value or a slope jumps, so it has "
            "no finite value. Use an activation whose value (for fluctuations: whose slope) is continuous."
        )
    parts = [Function(h.branches, h.breaks) for h in (k.f, k.g)]
    total = _integrated(kernel(*parts), variance, covariance, mean)
    slope, own = covariance / variance, (variance - covariance) * (variance + covariance) / variance

    def density(distance: float, width: float) -> float:
        return float(np.exp(-(distance**2) / (2 * width)) / np.sqrt(2 * np.pi * width))

    for deltas, other in ((k.f.deltas, parts[1]), (k.g.deltas, parts[0])):
        for place, weight in deltas:
            away = float(place) - mean
            kinks = tuple(float(b) for b in other.breaks)
            given = quadrature.single(other, kinks, own, mean + slope * away)
            total += float(weight) * density(away, variance) * given
    for (s, v), (t, w) in product(k.f.deltas, k.g.deltas):
        a, b = float(s) - mean, float(t) - mean
        total += float(v * w) * density(a, variance) * density(b - slope * a, own)
    return total


@cache
def _conditional(g: Function) -> Callable[[np.ndarray, float], np.ndarray] | None:
    """E g(v), v ~ N(m, w), as a function of m and w."""
    closed = derivation.derive_mean(g, mu)
    if closed is None:
        return None
    names = {
        "erf": special.erf,
        "erfc": special.erfc,
        "log_erfc": lambda z: special.log_ndtr(-np.sqrt(2) * z) + np.log(2),
    }
    form = sp.lambdify([mu, p], sp.expand_mul(closed).replace(sp.Mul, _joined_tails), [names, "numpy"], cse=True)
    return lambda mean, variance: np.real(form(mean, variance))  # sines are complex exponentials


def _joined_tails(*factors: Expr) -> Expr:
    """exp(a) erfc(z) as exp(a + log erfc(z)): alone one may overflow and the other vanish."""
    exponents = [e for e in factors if isinstance(e, sp.exp)]
    tails = [e for e in factors if isinstance(e, sp.erfc)]
    if not exponents or not tails:
        return sp.Mul(*factors)
    rest = [e for e in factors if not isinstance(e, sp.exp | sp.erfc)]
    log_erfc = sp.Function("log_erfc")
    return sp.Mul(*rest) * sp.exp(sp.Add(*(arguments(e)[0] for e in exponents), *(log_erfc(t.args[0]) for t in tails)))


@cache
def kernel(f: Function, g: Function) -> Kernel:
    """The one Kernel object of a pair of functions, so that what it derives is derived once."""
    return Kernel(f, g)
