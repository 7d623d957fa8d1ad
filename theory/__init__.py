"""Derives order parameters of wide random networks and predicts their Fisher information spectrum.

`predict(WideNetwork(...), "lambda_max")` is a statement with its expression, numbers, scaling and derivation.
"""

from theory import parse, phase, symbols
from theory.activations import BUILTIN, Activation, activation, add_activation, leaky_relu
from theory.certificate import Certificate, certify
from theory.fluctuations import fluctuation_variance
from theory.formula_book import book
from theory.functions import ActivationError
from theory.network import WideNetwork
from theory.normalizations import HiddenRule, add_normalization
from theory.predict import QUANTITIES, predict
from theory.prediction import Prediction
from theory.recursion import OrderParameters, numeric_order_parameters, order_parameters
from theory.spectrum import add_output_normalization, layer_output_spectrum, output_spectrum

__all__ = [
    "BUILTIN",
    "QUANTITIES",
    "Activation",
    "ActivationError",
    "Certificate",
    "HiddenRule",
    "OrderParameters",
    "Prediction",
    "WideNetwork",
    "activation",
    "add_activation",
    "add_normalization",
    "add_output_normalization",
    "book",
    "certify",
    "fluctuation_variance",
    "layer_output_spectrum",
    "leaky_relu",
    "numeric_order_parameters",
    "order_parameters",
    "output_spectrum",
    "parse",
    "phase",
    "predict",
    "symbols",
]
