"""Derives order parameters of wide random networks and predicts their Fisher information spectrum."""

from theory import symbols
from theory.activations import BUILTIN, Activation, activation, leaky_relu
from theory.functions import ActivationError
from theory.network import WideNetwork
from theory.predict import QUANTITIES, predict
from theory.prediction import Prediction
from theory.recursion import OrderParameters, order_parameters
from theory.spectrum import layer_output_spectrum

__all__ = [
    "BUILTIN",
    "QUANTITIES",
    "Activation",
    "ActivationError",
    "OrderParameters",
    "Prediction",
    "WideNetwork",
    "activation",
    "layer_output_spectrum",
    "leaky_relu",
    "order_parameters",
    "predict",
    "symbols",
]
