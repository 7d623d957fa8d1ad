"""Derives order parameters of wide random networks and predicts their Fisher information spectrum."""

from theory import symbols
from theory.activations import Activation, activation
from theory.functions import ActivationError
from theory.network import WideNetwork
from theory.predict import Prediction, predict
from theory.recursion import OrderParameters, order_parameters

__all__ = [
    "Activation",
    "ActivationError",
    "OrderParameters",
    "Prediction",
    "WideNetwork",
    "activation",
    "order_parameters",
    "predict",
    "symbols",
]
