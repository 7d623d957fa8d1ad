"""Samples finite random networks and measures their Fisher information spectrum."""

from numerics.activations import ACTIVATIONS, add_activation
from numerics.definitions import add_normalization, add_output_normalization
from numerics.dual import gram
from numerics.measurement import QUANTITIES, Measurement, measure
from numerics.modules import Spectrum, spectrum
from numerics.network import RandomNetwork
from numerics.sampling import Draw, draw

__all__ = [
    "ACTIVATIONS",
    "QUANTITIES",
    "Draw",
    "Measurement",
    "RandomNetwork",
    "Spectrum",
    "add_activation",
    "add_normalization",
    "add_output_normalization",
    "draw",
    "gram",
    "measure",
    "spectrum",
]
