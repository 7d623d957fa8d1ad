"""Finite networks as compositions of steps: what each step does to sampled signals, and the derivative of that."""

from fimcheck.numerics.steps import attention, combine, elementwise, normalize, weights

__all__ = ["attention", "combine", "elementwise", "normalize", "weights"]
