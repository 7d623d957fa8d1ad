"""Finite networks as compositions of steps: what each step does to sampled signals, and the derivative of that."""

from fimcheck.numerics.steps import combine, elementwise, normalize, weights

__all__ = ["combine", "elementwise", "normalize", "weights"]
