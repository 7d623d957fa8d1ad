"""Products with the dual matrix by one reverse and one forward pass, for every normalization.

J^T v is a reverse pass, J (J^T v) a forward pass of tangents. The weight gradient between them is never
formed: the tangent it causes at the next pre-activation is (H H^T) delta, delta the reverse signal of
layer l.
"""

from torch import Tensor

from numerics.dual import input_gram
from numerics.krylov import Operator
from numerics.network import RandomNetwork
from numerics.normalizations import Derivative
from numerics.passes import Layer, forward
from numerics.sampling import Draw


def dual_operator(network: RandomNetwork, draw: Draw) -> Operator:
    """The map v -> G v for blocks v of shape (S, C*T, b), G as in ``numerics.dual.gram``.

    One product costs about 4 T sum_l M_l M_{l-1} multiplications and additions per vector and seed,
    twice, and holds b T sum_l M_l numbers.
    """
    run = forward(network, draw)
    seeds, samples, outputs = run.outputs.shape
    pulls = [_Weight(network, layer) for layer in run.layers]

    def apply(v: Tensor) -> Tensor:
        at_output = v.mT.reshape(seeds, -1, outputs, samples).mT
        signal = _through(run.last, at_output)
        at_u, at_y = [signal], []
        for layer, weight in zip(run.layers[-2::-1], draw.weights[:0:-1], strict=True):
            assert layer.slope is not None
            at_y.insert(0, (at_u[0] @ weight.unsqueeze(1)) * layer.slope.unsqueeze(1))
            at_u.insert(0, _through(layer.derivative, at_y[0]))
        tangent = pulls[0](at_u[0])
        for number, weight in enumerate(draw.weights[1:], 1):
            layer = run.layers[number - 1]
            assert layer.slope is not None
            tangent = _through(layer.derivative, tangent)
            if network.affine:
                tangent = tangent + _affine(layer.derivative, at_y[number - 1])
            tangent = (tangent * layer.slope.unsqueeze(1)) @ weight.mT.unsqueeze(1) + pulls[number](at_u[number])
        result = _through(run.last, tangent)
        if network.affine:
            result = result + _affine(run.last, at_output)
        return result.mT.flatten(2).mT / samples

    return apply


class _Weight:
    """delta -> H H^T delta (+ the biases' share): through the T x T kernel, or through H where that is
    cheaper.
    """

    def __init__(self, network: RandomNetwork, layer: Layer) -> None:
        samples, into = layer.inputs.shape[1:]
        self.inputs = layer.inputs.unsqueeze(1)
        self.kernel = input_gram(network, layer).unsqueeze(1) if samples <= 2 * into else None
        self.biases = network.biases

    def __call__(self, delta: Tensor) -> Tensor:
        if self.kernel is not None:
            return self.kernel @ delta
        result = self.inputs @ (self.inputs.mT @ delta)
        return result + delta.sum(-2, keepdim=True) if self.biases else result


def _through(derivative: Derivative | None, signal: Tensor) -> Tensor:
    return signal if derivative is None else derivative.unsqueeze(1)(signal)


def _affine(derivative: Derivative | None, at_y: Tensor) -> Tensor | float:
    """The tangent that the gradients of scale and shift, summed over samples, cause at y = scale * z +
    shift.
    """
    if derivative is None or derivative.z is None:
        return 0.0
    z = derivative.z.unsqueeze(1)
    return z * (at_y * z).sum(-2, keepdim=True) + at_y.sum(-2, keepdim=True)
