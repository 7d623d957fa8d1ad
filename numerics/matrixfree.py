"""Products with the dual matrix by one reverse and one forward pass, for every network.

J^T v is a reverse pass, J (J^T v) a forward pass of tangents. The weight gradient between them is never
formed: the tangent it causes at the outputs of its step is (H H^T) delta, delta the reverse signal there.
"""

from collections.abc import Callable

from torch import Tensor

from fimcheck.numerics.dual import kernel
from fimcheck.numerics.krylov import Operator
from fimcheck.numerics.network import Network
from fimcheck.numerics.normalizations import Derivative
from fimcheck.numerics.passes import Forward, forward
from fimcheck.numerics.sampling import Draw
from fimcheck.numerics.steps.step import Meeting, Rows


def dual_operator(network: Network, drawn: Draw, run: Forward | None = None) -> Operator:
    """The map v -> G v for blocks v of shape (S, C*T, b), G as in ``numerics.dual.gram``.

    run: a forward pass that is at hand.

    One product costs about 4 T sum_l M_l M_{l-1} multiplications and additions per vector and seed of a chain,
    and holds b T sum_l M_l numbers.
    """
    run = run or forward(network, drawn)
    seeds, samples, classes = run.raw.shape
    kernels: dict[str, Callable[[Tensor], Tensor]] = {}
    last = None if run.last is None else run.last.unsqueeze(1)

    def apply(v: Tensor) -> Tensor:
        v = v if run.jacobian is None else run.jacobian.mT @ v
        at_output = v.mT.reshape(seeds, -1, classes, samples).mT
        moved: dict[str, Tensor] = {}

        def move(met: Meeting) -> None:
            if met.path not in kernels:
                kernels[met.path] = _moving(met)
            rows = met.rows.values
            moved[met.path] = kernels[met.path](rows.flatten(2, 3)).expand(*rows.shape[:2], -1, -1).view(rows.shape)

        at_raw = at_output if last is None else last(at_output)
        run.trace.pull(Rows(at_raw.unsqueeze(3), spread=True), move)
        still = run.inputs.new_zeros(1).expand(seeds, v.shape[-1], *run.inputs.shape[1:])
        tangent = run.trace.push(still, moved).squeeze(3)
        tangent = tangent if last is None else last(tangent)
        if network.scaled_outputs and last is not None:
            tangent = tangent + _affine(last, at_output)
        result = tangent.mT.flatten(2).mT
        return (result if run.jacobian is None else run.jacobian @ result) / samples

    return apply


def _moving(met: Meeting) -> Callable[[Tensor], Tensor]:
    """delta -> H H^T delta (+ the biases' share): through the kernel of the places, or through H if that is cheaper."""
    places, fan_in = met.inputs.shape[1] * met.inputs.shape[2], met.inputs.shape[3]
    if places <= 2 * fan_in:
        shared = kernel(met).unsqueeze(1)
        return lambda delta: shared @ delta
    x = met.inputs.flatten(1, 2).unsqueeze(1)
    weight, bias = met.weight, met.bias

    def through(delta: Tensor) -> Tensor:
        result = weight * (x @ (x.mT @ delta))
        return result + bias * delta.sum(-2, keepdim=True) if bias else result

    return through


def _affine(last: Derivative, at_y: Tensor) -> Tensor:
    """The tangent that the gradients of scale and shift, summed over samples, cause at y = scale * z + shift."""
    assert last.z is not None
    return last.z * (at_y * last.z).sum(-2, keepdim=True) + at_y.sum(-2, keepdim=True)
