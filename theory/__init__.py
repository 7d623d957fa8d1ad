"""Derives order parameters of wide random networks and predicts their Fisher information spectrum.

`predict(WideNetwork(...), "lambda_max")` is a statement with its expression, numbers, scaling and derivation.
"""

from theory import parse, phase, symbols
from theory.activations import BUILTIN, Activation, activation, add_activation, leaky_relu
from theory.certificate import Certificate, certify
from theory.fluctuations import fluctuation_variance
from theory.formula_book import book
from theory.functions import ActivationError
from theory.network.chain import WideNetwork, hidden_step
from theory.network.combine import Chain
from theory.network.composition import Network
from theory.network.describe import compose
from theory.network.inputs import GivenInputs
from theory.network.orders import OrderParameters, numeric_order_parameters, order_parameters
from theory.network.outputs import add_output_normalization, layer_output_spectrum, output, output_spectrum
from theory.network.predict import QUANTITIES, predict
from theory.network.prediction import Prediction
from theory.network.state import Gaussian, Overlaps, State, Unmixed
from theory.network.step import CompositionError, Run, Step, add_step

__all__ = [
    "BUILTIN",
    "QUANTITIES",
    "Activation",
    "ActivationError",
    "Certificate",
    "Chain",
    "CompositionError",
    "Gaussian",
    "GivenInputs",
    "Network",
    "OrderParameters",
    "Overlaps",
    "Prediction",
    "Run",
    "State",
    "Step",
    "Unmixed",
    "WideNetwork",
    "activation",
    "add_activation",
    "add_output_normalization",
    "add_step",
    "book",
    "certify",
    "compose",
    "fluctuation_variance",
    "hidden_step",
    "layer_output_spectrum",
    "leaky_relu",
    "numeric_order_parameters",
    "order_parameters",
    "output",
    "output_spectrum",
    "parse",
    "phase",
    "predict",
    "symbols",
]
