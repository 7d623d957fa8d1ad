"""Samples finite random networks and measures their Fisher information spectrum."""

from numerics.activations import ACTIVATIONS, add_activation
from numerics.chain import RandomNetwork
from numerics.composition import Composition
from numerics.dual import gram
from numerics.measurement import QUANTITIES, Measurement, measure
from numerics.modules import Spectrum, spectrum
from numerics.outputs import add_output_normalization
from numerics.sampling import Draw, draw
from numerics.steps.elementwise import add_step
from numerics.steps.step import NetworkError

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
