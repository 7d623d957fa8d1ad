"""Derives order parameters of wide random networks and predicts their Fisher information spectrum.

`predict(WideNetwork(...), "lambda_max")` is a statement with its expression, numbers, scaling and derivation.
"""

from fimcheck.theory import parse, symbols
from fimcheck.theory.gaussian.activations import BUILTIN, Activation, activation, add_activation, leaky_relu
from fimcheck.theory.gaussian.certificate import Certificate, certify
from fimcheck.theory.gaussian.functions import ActivationError
from fimcheck.theory.network import phase
from fimcheck.theory.network.chain import WideNetwork, hidden_step
from fimcheck.theory.network.combine import Chain
from fimcheck.theory.network.composition import Network
from fimcheck.theory.network.describe import compose
from fimcheck.theory.network.fluctuations import fluctuation_variance
from fimcheck.theory.network.grammar import DescriptionError
from fimcheck.theory.network.inputs import GivenInputs
from fimcheck.theory.network.orders import OrderParameters, numeric_order_parameters, order_parameters
from fimcheck.theory.network.outputs import add_output_normalization, layer_output_spectrum, output, output_spectrum
from fimcheck.theory.network.predict import QUANTITIES, predict
from fimcheck.theory.network.prediction import Prediction
from fimcheck.theory.network.state import Gaussian, Overlaps, State, Unmixed
from fimcheck.theory.network.step import CompositionError, Run, Step, add_step
from fimcheck.theory.writing.book import book

__all__ = [
    "BUILTIN",
    "QUANTITIES",
    "Activation",
    "ActivationError",
    "Certificate",
    "Chain",
    "CompositionError",
    "DescriptionError",
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
