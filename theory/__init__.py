"""Derives order parameters of wide random networks and predicts their Fisher information spectrum.

`predict(WideNetwork(...), "lambda_max")` is a statement with its expression, numbers, scaling and derivation.
"""

from theory import parse, phase, symbols
from theory.activations import BUILTIN, Activation, activation, leaky_relu
from theory.certificate import Certificate, certify
from theory.fluctuations import fluctuation_variance
from theory.formula_book import book
from theory.functions import ActivationError
from theory.network import WideNetwork
from theory.predict import QUANTITIES, predict
from theory.prediction import Prediction
from theory.recursion import OrderParameters, numeric_order_parameters, order_parameters
from theory.spectrum import layer_output_spectrum

__all__ = [
    "BUILTIN",
    "QUANTITIES",
    "Activation",
    "ActivationError",
    "Certificate",
    "OrderParameters",
    "Prediction",
    "WideNetwork",
    "activation",
    "book",
    "certify",
    "fluctuation_variance",
    "layer_output_spectrum",
    "leaky_relu",
    "numeric_order_parameters",
    "order_parameters",
    "parse",
    "phase",
    "predict",
    "symbols",
]
