"""Wide networks as compositions of steps: states, steps, networks, their spectra and what is stated about them."""

from fimcheck.theory.network import combine, dense, elementwise, normalize

__all__ = ["combine", "dense", "elementwise", "normalize"]
