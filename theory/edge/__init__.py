"""The centred dual matrix for T proportional to M: its limiting spectrum, the edge of it, and the largest eigenvalue.

Derived here at a physicist's rigour: a network linearized unit by unit given what all samples share (a Gaussian
equivalent), and the Dyson equation of the random matrix that is left. No constant is fitted.
"""

from fimcheck.theory.edge.largest import Edge, GivenEdge
from fimcheck.theory.edge.law import edge, given_edge, logarithmic_slope, splitting_width
from fimcheck.theory.edge.residual import is_residual
from fimcheck.theory.edge.spectrum import density, distribution, mean, quantiles
from fimcheck.theory.edge.units import EdgeError

__all__ = [
    "Edge",
    "EdgeError",
    "GivenEdge",
    "density",
    "distribution",
    "edge",
    "given_edge",
    "is_residual",
    "logarithmic_slope",
    "mean",
    "quantiles",
    "splitting_width",
]
