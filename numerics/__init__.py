"""Samples finite random networks and measures their Fisher information spectrum."""

from numerics.activations import ACTIVATIONS
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
    "draw",
    "gram",
    "measure",
    "spectrum",
]
