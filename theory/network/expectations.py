"""The averages that steps take, as expressions or as float64 numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from fimcheck.theory.gaussian import rule, sphere
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.gaussian.kernel import kernel
from fimcheck.theory.symbols import Expr

Value = Any

ROUNDING = 1e-9
"""How far, relative to the variance, a covariance may exceed it before it is an error and not rounding."""

ONE = Function((sp.S.One,))


class ClosedForms:
    """Expectations as expressions; see `state.Expectations`."""

    one: Value = sp.S.One

    def same(self, f: Function, p: Value, mean: Value) -> Expr:
        """E f(u)^2."""
        return kernel(f, f).expr(p, p, sp.sympify(mean))

    def pair(self, f: Function, p: Value, c: Value, mean: Value) -> Expr:
        """E f(u) f(v)."""
        return kernel(f, f).expr(p, sp.sympify(c), sp.sympify(mean))

    def mean(self, f: Function, p: Value, mean: Value) -> Expr:
        """E f(u)."""
        mean = sp.sympify(mean)
        return sp.S.Zero if mean == 0 and f.is_odd else kernel(f, ONE).expr(p, p, mean)

    def sphere(self, f: Function, power: int, count: int, samples: Value, gamma: Value, beta: Value) -> Expr:
        """E h(z_1), E h(z_1)^2 or E h(z_1) h(z_2)."""
        return sphere.expr(f, power, count, samples, gamma, beta)

    def root(self, value: Value) -> Expr:
        """The positive square root."""
        return sp.sqrt(value)


class Numbers:
    """Expectations as float64 numbers; arguments broadcast."""

    one: Value = 1.0

    def same(self, f: Function, p: Value, mean: Value) -> np.ndarray:
        """E f(u)^2."""
        _square_fits(p)
        return kernel(f, f)(p, p, mean)

    def pair(self, f: Function, p: Value, c: Value, mean: Value) -> np.ndarray:
        """E f(u) f(v)."""
        _square_fits(p)
        # Two samples that depth has aligned differ by less than the rounding of the expectations before.
        aligned = np.abs(c) <= p * (1 + ROUNDING)
        return kernel(f, f)(p, np.where(aligned, np.clip(c, -p, p), c), mean)

    def mean(self, f: Function, p: Value, mean: Value) -> np.ndarray:
        """E f(u)."""
        if f.is_odd and np.all(np.asarray(mean) == 0):
            return np.zeros(np.broadcast_shapes(np.shape(p), np.shape(mean)))
        return kernel(f, ONE)(p, p, mean)

    def sphere(self, f: Function, power: int, count: int, samples: Value, gamma: Value, beta: Value) -> np.ndarray:
        """E h(z_1), E h(z_1)^2 or E h(z_1) h(z_2)."""
        samples, gamma, beta = np.broadcast_arrays(samples, gamma, beta)
        out = np.empty(samples.shape)
        for i in np.ndindex(samples.shape):
            out[i] = sphere.value(f, power, count, float(samples[i]), float(gamma[i]), float(beta[i]))
        return out

    def root(self, value: Value) -> np.ndarray:
        """The positive square root."""
        return np.sqrt(value)


class SecondRoute(Numbers):
    """The same numbers by a rule that shares nothing with those but the activation: see `rule`."""

    def same(self, f: Function, p: Value, mean: Value) -> np.ndarray:
        """E f(u)^2."""
        return self.pair(f, p, p, mean)

    def pair(self, f: Function, p: Value, c: Value, mean: Value) -> np.ndarray:
        """E f(u) f(v)."""
        _square_fits(p)
        return _each(lambda p, c, mean: rule.pair(f, f, p, float(np.clip(c, -p, p)), mean), p, c, mean)

    def mean(self, f: Function, p: Value, mean: Value) -> np.ndarray:
        """E f(u)."""
        return _each(lambda p, mean: rule.single(f, p, mean), p, mean)

    def sphere(self, f: Function, power: int, count: int, samples: Value, gamma: Value, beta: Value) -> np.ndarray:
        """E h(z_1), E h(z_1)^2 or E h(z_1) h(z_2)."""
        kinks = np.array([float(b) for b in f.breaks])

        def at(samples: float, gamma: float, beta: float) -> rule.Average:
            return rule.sphere(lambda z: z**power * f(gamma * z + beta), (kinks - beta) / gamma, count, samples)

        return _each(at, samples, gamma, beta)


def _each(average: Callable[..., rule.Average], *arguments: Value) -> np.ndarray:
    arrays = np.broadcast_arrays(*(np.asarray(a, float) for a in arguments))
    out = np.empty(arrays[0].shape)
    with np.errstate(over="ignore", invalid="ignore"):
        for i in np.ndindex(out.shape):
            out[i] = average(*(float(a[i]) for a in arrays)).value
    return out


def _square_fits(p: Value) -> None:
    """Expectations square the variance; 1 / inf would be a wrong 0."""
    if np.any(np.abs(p) > np.sqrt(np.finfo(float).max)):
        raise OverflowError(
            f"A variance of {np.max(np.abs(p)):.3g} before phi: its square exceeds float64. Take a smaller sigma_w2, "
            "sigma_b2 or gamma, or fewer layers."
        )
