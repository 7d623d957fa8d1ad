"""Order parameters of a chain, measured from the network alone.

Forward (one sample, index 1; two different samples, index 2): hq^l = h_t . h_s / M_l for l = 0..L-1 and
q^l = u_t . u_s / M_l for l = 1..L, u before its normalization. Backward: tq^l = sum_i delta_i(t)
delta_i(s), delta = d f_k / d u^l, for l = 1..L, f before the last normalization. All are averaged over
samples (or pairs t != s) and classes k. (Karakida, Akaho and Amari 2019, section 2: the macroscopic
variables.)

Under hidden batch normalization the derivative of f_k(t) reaches every sample s, so tq^l does not exist.
The same role is played by c_I^l = mean_k sum_{t,s} |delta_kt(s)|^2 / (T-1) and c_1^l = mean_k sum_s
|sum_t delta_kt(s)|^2 / (T-1), l = 1..L-1, which give the layer's share of tr G and of the eigenvalue
along the all-ones direction.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from fimcheck.numerics.coupled import CoupledBackward, hidden_layers
from fimcheck.numerics.network import Network
from fimcheck.numerics.passes import Forward, backward
from fimcheck.numerics.sampling import Draw
from fimcheck.numerics.steps.combine import Chain, Skip
from fimcheck.numerics.steps.elementwise import Elementwise
from fimcheck.numerics.steps.step import Meeting, Step
from fimcheck.numerics.steps.weights import Dense

FORWARD_ORDERS = ("hq1", "hq2", "q1", "q2")
BACKWARD_ORDERS = ("tq1", "tq2", "kappa1", "kappa2")
COUPLED_ORDERS = ("c_I", "c_1")
FIRST_LAYER = {"hq1": 0, "hq2": 0, "q1": 1, "q2": 1, "tq1": 1, "tq2": 1, "c_I": 1, "c_1": 1}
"""Those with one column per layer, and the layer of the first column."""


def layers(quantity: str, depth: int) -> range:
    """The layers that the columns of an order parameter belong to, in a chain of so many weight layers."""
    first = FIRST_LAYER[quantity]
    return range(first, first + depth - (quantity in COUPLED_ORDERS))


def forward_orders(network: Network, run: Forward) -> dict[str, Tensor]:
    """hq1, hq2 of shape (S, L), l = 0..L-1; q1, q2 of shape (S, L), l = 1..L."""
    values = [run.inputs, *run.trace.inside.values()]
    dense = [i for i, step in enumerate(network.steps.steps) if isinstance(step, Dense)]
    parts = [(*_overlaps(values[i]), *_overlaps(values[i + 1])) for i in dense]
    return {name: torch.stack(p, 1) for name, p in zip(FORWARD_ORDERS, zip(*parts, strict=True), strict=True)}


def backward_orders(network: Network, run: Forward) -> dict[str, Tensor]:
    """tq1, tq2 of shape (S, L), l = 1..L; kappa1, kappa2 of shape (S,), for networks whose samples do not couple.

    kappa_a = sum_l (alpha_{l-1}/alpha) tq_a^l hq_a^{l-1} with alpha_l = M_l / M_{L-1}: the width M is, by
    convention, that of the last hidden layer.
    """
    found: dict[str, tuple[Tensor, Tensor]] = {}
    samples, outputs = run.raw.shape[1:]

    def look(met: Meeting) -> None:
        rows = met.rows.values.expand(-1, -1, samples, -1, -1).flatten(0, 1)
        units = rows.shape[-1]
        same, pair = (units * v.view(-1, outputs).mean(1) for v in _overlaps(rows))
        found[met.path] = same, pair

    backward(run, look)
    orders = forward_orders(network, run)
    tq1, tq2 = (torch.stack([found[path][a] for path in network.dense], 1) for a in (0, 1))
    widths = [network.inputs, *(dense.units for dense in network.dense.values())]
    scale = widths[-2] / sum(a * b for a, b in pairwise(widths[:-1]))
    into = tq1.new_tensor(widths[:-1])
    return {
        "tq1": tq1,
        "tq2": tq2,
        "kappa1": scale * (tq1 * orders["hq1"] * into).sum(1),
        "kappa2": scale * (tq2 * orders["hq2"] * into).sum(1),
    }


def shared_fields(network: Network, drawn: Draw, run: Forward) -> Tensor:
    """What the samples share at every unit that a dense step sees through an activation, one activation after the
    other: (S, units, 1 + C).

    The mean over the samples of what the activation sees, u_i, and of sqrt(M_l) d f_k / d phi(u_i) for every class k.
    For networks whose samples do not couple.
    """
    above: dict[str, Tensor] = {}

    def look(met: Meeting) -> None:
        above[met.path] = met.rows.values.mean((2, 3)) @ drawn.numbers[f"{met.path}.W"]

    backward(run, look)
    fields = []
    for seen, path in activated(network.steps):
        u = run.trace.inside[seen].mean((1, 2))
        fields.append(torch.cat([u.unsqueeze(2), u.shape[1] ** 0.5 * above[path].mT], 2))
    return torch.cat(fields, 1)


def activated(steps: Chain, path: str = "", before: str = "") -> Iterator[tuple[str, str]]:
    """Of every dense step right after an activation: the paths of what the activation sees and of the dense step."""
    last: Step | None = None
    seen = ""
    for here, step in steps.located(path):
        if isinstance(step, Skip):
            yield from activated(step.branch, f"{here}.branch", before)
        elif isinstance(step, Elementwise):
            seen = before
        elif isinstance(step, Dense) and isinstance(last, Elementwise):
            yield seen, here
        last, before = step, here


def coupled_orders(network: Network, drawn: Draw, run: Forward) -> dict[str, Tensor]:
    """c_I, c_1 of shape (S, L-1), l = 1..L-1, for chains whose every hidden layer is batch normalized."""
    _, samples, outputs = run.raw.shape
    layers = hidden_layers(network, drawn, run)
    c_i = run.raw.new_zeros(len(run.raw), len(layers))
    c_1 = torch.zeros_like(c_i)
    source = CoupledBackward(layers, drawn.weights[-1], samples)
    for k in range(outputs):
        for number, at_u in _signals(source, range(k * samples, (k + 1) * samples)):
            c_i[:, number - 1] += at_u.square().sum((1, 2, 3))
            c_1[:, number - 1] += at_u.sum(3).square().sum((1, 2))
    scale = 1 / (outputs * (samples - 1))
    return {"c_I": scale * c_i, "c_1": scale * c_1}


def _signals(source: CoupledBackward, rows: range) -> Iterator[tuple[int, Tensor]]:
    """(l, d f_r / d u^l) for every hidden layer, (S,M_l,T,R)."""
    for number, at_h in source.below(rows):
        yield number, source.layers[number - 1].pull(at_h)
    yield len(source.layers), source.top(rows)


def _overlaps(h: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over samples of |h_t|^2/M and mean over pairs t != s of h_t . h_s/M, for h (B,T,1,M)."""
    samples, units = h.shape[1], h.shape[3]
    squares = h.square().sum((1, 2, 3))
    total = h.sum(1).square().sum((1, 2))
    return squares / (samples * units), (total - squares) / (units * samples * (samples - 1))
