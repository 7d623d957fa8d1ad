"""Gaussian averages of functions with kinks against brute force, which shares nothing with theory/gaussian."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pytest
import sympy as sp
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.gaussian.kernel import kernel
from fimcheck.theory.symbols import x

NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)

SMOOTH: dict[str, tuple[sp.Expr, Callable[..., np.ndarray], Callable[..., np.ndarray]]] = {
    "1": (sp.S.One, np.ones_like, np.zeros_like),
    "exp": (sp.exp(x / 2), lambda u: np.exp(u / 2), lambda u: np.exp(u / 2) / 2),
    "tanh": (sp.tanh(x), np.tanh, lambda u: 1 / np.cosh(u) ** 2),
    "sin": (sp.sin(2 * x), lambda u: np.sin(2 * u), lambda u: 2 * np.cos(2 * u)),
    "gaussian": (sp.exp(-(x**2)), lambda u: np.exp(-(u**2)), lambda u: -2 * u * np.exp(-(u**2))),
}


@dataclass(frozen=True)
class Pieces:
    """A piecewise polynomial times a smooth function; coefficients of each piece from the constant on."""

    kinks: tuple[sp.Rational, ...]
    coefficients: tuple[tuple[sp.Rational, ...], ...]
    smooth: str

    @property
    def expr(self) -> sp.Expr:
        """The function for SymPy."""
        values = [sp.Add(*(a * x**k for k, a in enumerate(piece))) for piece in self.coefficients]
        cases = [(v, x < t) for v, t in zip(values, self.kinks, strict=False)]
        return sp.Piecewise(*cases, (values[-1], True)) * SMOOTH[self.smooth][0]

    @cached_property
    def places(self) -> np.ndarray:
        """The kinks as numbers."""
        return np.array([float(t) for t in self.kinks])

    def values(self, u: np.ndarray, derivative: bool) -> np.ndarray:
        """The function, or its slope between the kinks."""
        piece = np.searchsorted(self.places, u)
        table = [np.polynomial.Polynomial([float(a) for a in row]) for row in self.coefficients]
        _, value, slope = SMOOTH[self.smooth]

        def of(polynomials: list[np.polynomial.Polynomial]) -> np.ndarray:
            return np.choose(piece, [poly(u) for poly in polynomials])

        return of([t.deriv() for t in table]) * value(u) + of(table) * slope(u) if derivative else of(table) * value(u)

    @cached_property
    def jumps(self) -> list[tuple[float, float]]:
        """Place and height where the value jumps: a delta in the slope."""
        found = []
        for t, left, right in zip(self.kinks, self.coefficients, self.coefficients[1:], strict=False):
            height = sum((b - a) * t**k for k, (a, b) in enumerate(zip(left, right, strict=True)))
            if height != 0:
                found.append((float(t), float(height) * float(SMOOTH[self.smooth][1](np.array(float(t))))))
        return found


def between(kinks: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    ends = np.unique(np.clip(np.concatenate([np.linspace(low, high, 9), kinks]), low, high))
    half = np.diff(ends)[:, None] / 2
    return ((ends[1:] + ends[:-1])[:, None] / 2 + half * NODES).ravel(), (half * WEIGHTS).ravel()


def brute(
    f: Pieces, f_slope: bool, g: Pieces, g_slope: bool, p: float, c: float, mean: float
) -> tuple[float, float]:
    """E f(u) g(v) and E|f(u)| E|g(v)| given u, the latter averaged: v given u is Gaussian."""
    own = np.sqrt(p - c * c / p)

    def density(distance: np.ndarray | float, sd: float) -> np.ndarray:
        return np.exp(-((distance / sd) ** 2) / 2) / sd / np.sqrt(2 * np.pi)

    def given_u(u: float) -> tuple[float, float]:
        center = mean + c / p * (u - mean)
        v, w = between(g.places, center - 12 * own, center + 12 * own)
        terms = w * g.values(v, g_slope) * density(v - center, own)
        deltas = [height * float(density(t - center, own)) for t, height in (g.jumps if g_slope else ())]
        return float(terms.sum()) + sum(deltas), float(np.abs(terms).sum()) + sum(map(abs, deltas))

    # Where the mean of v meets a kink of g, the average over v bends over the spread of v.
    images = mean + p / c * (g.places[:, None] - mean) + own * p / abs(c) * np.array([-6, -3, -1, 0, 1, 3, 6])
    reach = 12 * np.sqrt(p)
    u, w = between(np.concatenate([f.places, images.ravel()]), mean - reach, mean + reach)
    weights = w * f.values(u, f_slope) * density(u - mean, np.sqrt(p))
    if f_slope:
        u = np.concatenate([u, [t for t, _ in f.jumps]])
        weights = np.concatenate([weights, [h * float(density(t - mean, np.sqrt(p))) for t, h in f.jumps]])
    pairs = np.array([given_u(a) if w != 0 else (0.0, 0.0) for a, w in zip(u, weights, strict=True)])
    return float(weights @ pairs[:, 0]), float(np.abs(weights) @ pairs[:, 1])


@st.composite
def pieces(draw: st.DrawFn) -> Pieces:
    """One to five pieces of degree up to 3: jumps of value, of slope, or of curvature only at each kink."""
    count = draw(st.integers(1, 5))
    eighths = draw(st.lists(st.integers(-24, 24), min_size=count - 1, max_size=count - 1, unique=True))
    kinks = tuple(sp.Rational(k, 8) for k in sorted(eighths))
    quarters = st.integers(-8, 8).map(lambda k: sp.Rational(k, 4))
    rows = [draw(st.tuples(quarters, quarters, quarters, quarters))]
    for t in kinks:
        smoothness = draw(st.integers(0, 2))
        powers = [draw(quarters) * (x - t) ** k for k in range(smoothness, 4)]
        change = sp.Poly(sp.expand(sp.Add(*powers)), x)
        rows.append(tuple(a + change.coeff_monomial(x**k) for k, a in enumerate(rows[-1])))
    return Pieces(kinks, tuple(rows), draw(st.sampled_from(["1", "1", "1", *SMOOTH])))


variances = st.sampled_from([0.3, 1.0, 1.9, 5.0])
correlations = st.floats(-0.95, 0.95).filter(lambda r: abs(r) > 0.02)
means = st.sampled_from([0.0, 0.0, 0.4, -1.1])


def confirm(f: Pieces, p: float, rho: float, mean: float) -> None:
    phi = Function.from_expr(f.expr)
    slope = phi.derivative()
    for left, right, l_slope, r_slope in (
        (phi, phi, False, False), (slope, slope, True, True), (phi, slope, False, True)
    ):  # fmt: skip
        right_value, size = brute(f, l_slope, f, r_slope, p, rho * p, mean)
        found = float(kernel(left, right)(p, rho * p, mean))
        assert abs(found - right_value) <= 1e-8 * size + 1e-300, (found, right_value)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, phases=[Phase.generate])
@given(pieces(), variances, correlations, means)
def test_piecewise_polynomials_against_brute_force(f: Pieces, p: float, rho: float, mean: float) -> None:
    confirm(f, p, rho, mean)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(pieces(), variances, correlations, means)
def test_many_piecewise_polynomials_against_brute_force(f: Pieces, p: float, rho: float, mean: float) -> None:
    confirm(f, p, rho, mean)
