"""Samples finite random networks and measures their Fisher information spectrum."""

from fimcheck.numerics.activations import ACTIVATIONS, add_activation
from fimcheck.numerics.chain import RandomNetwork
from fimcheck.numerics.composition import Composition
from fimcheck.numerics.dual import gram
from fimcheck.numerics.measurement import Measurement, measure
from fimcheck.numerics.modules import Spectrum, spectrum
from fimcheck.numerics.outputs import add_output_normalization
from fimcheck.numerics.quantities import QUANTITIES
from fimcheck.numerics.sampling import Draw, draw
from fimcheck.numerics.steps.elementwise import add_step
from fimcheck.numerics.steps.step import NetworkError

__all__ = [
    "ACTIVATIONS",
    "QUANTITIES",
    "Composition",
    "Draw",
    "Measurement",
    "NetworkError",
    "RandomNetwork",
    "Spectrum",
    "add_activation",
    "add_output_normalization",
    "add_step",
    "draw",
    "gram",
    "measure",
    "spectrum",
]
