"""Signals of networks so wide that no weights are drawn: what every other step does to them, measured cheaply.

Given its inputs, the units of a dense step with Gaussian weights are independent Gaussian vectors over the places whose
covariance is the overlap of the inputs; so are, to leading order in the width, the derivatives behind it. Both are
drawn from that law, by the measured overlap. All other steps are as in any network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from fimcheck.numerics.composition import Composition
from fimcheck.numerics.overlaps import backward_overlaps, forward_overlaps, tangent_overlaps
from fimcheck.numerics.passes import Forward, backward
from fimcheck.numerics.sampling import Draw
from fimcheck.numerics.steps.attention import Attention
from fimcheck.numerics.steps.combine import Chain, Gate, Skip
from fimcheck.numerics.steps.step import Meeting, Rows, Step, Trace, Visit
from fimcheck.numerics.steps.weights import Convolution, Dense

JITTER = 1e-12
"""Relative to the largest variance: overlaps of places that hang on each other have no Cholesky factor without it."""


def wide_overlaps(network: Composition, samples: int, networks: int, seed: int) -> dict[str, Tensor]:
    """K, mean, tq and Th, as `numerics.measure` gives them, of so many networks with their dense steps drawn by law.

    The cost of a network goes like its width, not like the square. One seed is one batch of networks.
    """
    generator = torch.Generator().manual_seed(seed)
    given = {field.name: getattr(network, field.name) for field in fields(network)}
    wide = _Wide(**given, generator=generator)
    *_, (top, last) = wide.dense.items()
    fan_in = next(at for path, _, at in wide.steps.leaves(wide.start(samples), "") if path == top).units
    wanted = {name: shape for name, shape in wide.steps.draws(wide.start(samples), "") if name.endswith(".mask")}
    wanted |= {f"{top}.W": (network.outputs, fan_in), f"{top}.b": (network.outputs,)}
    numbers = {n: torch.randn(networks, *s, dtype=torch.float64, generator=generator) for n, s in wanted.items()}
    scaled = last.scaled(numbers[f"{top}.W"], numbers[f"{top}.b"])
    numbers |= dict(zip((f"{top}.W", f"{top}.b"), scaled, strict=True))
    shape = (networks, samples, network.positions, network.inputs)
    x = torch.randn(shape, dtype=torch.float64, generator=generator)
    trace = wide.steps.at(x, numbers, "")
    raw = trace.value.squeeze(2)
    run = Forward(x, trace, raw, raw, None)
    met: list[Meeting] = []
    backward(run, met.append)

    def again(rows: Rows, visit: Visit) -> Rows:
        """The same derivatives once more: another pass would draw others."""
        for meeting in met:
            visit(meeting)
        return rows

    run = replace(run, trace=replace(trace, pull=again))
    return {
        **forward_overlaps(wide, run),
        **backward_overlaps(wide, run),
        **tangent_overlaps(wide, Draw(numbers, x), run),
    }


@dataclass(frozen=True)
class _Wide(Composition):
    """A composition whose steps with weights, but for the outputs', draw no matrix."""

    generator: torch.Generator | None = None

    def _steps(self) -> Chain:
        *below, top = super()._steps().steps
        return Chain((*(self._without(step) for step in below), top))

    def _without(self, step: Step) -> Step:
        if isinstance(step, Chain):
            return Chain(tuple(map(self._without, step.steps)))
        if isinstance(step, Skip):
            return replace(step, branch=self._without(step.branch))
        if isinstance(step, Gate):
            return replace(step, first=self._without(step.first), second=self._without(step.second))
        kinds = {Dense: _Dense, Convolution: _Convolution, Attention: _Attention}
        if type(step) not in kinds:
            return step
        return kinds[type(step)](**{f.name: getattr(step, f.name) for f in fields(step)}, generator=self.generator)


@dataclass(frozen=True)
class _Drawn(Dense):
    """Dense weights of which only what they do to the signals at hand is drawn, forward and backward on its own."""

    generator: torch.Generator | None = None

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:  # noqa: ARG002
        """Units with the overlap of what they meet."""
        inputs, units = self.patches(x), x.shape[-1]
        fan_in = inputs.shape[-1]
        square = self.sigma_w2 / fan_in
        bias = self.sigma_b2**0.5 * self._normal(x, len(x), 1, self.units)
        value = self._mixed(inputs.flatten(1, 2), square, self.units) + bias
        ntk = self.param == "ntk"
        weight, own_bias = (square, self.sigma_b2) if ntk else (1.0, 1.0)

        def report(rows: Rows, visit: Visit) -> None:
            visit(Meeting(path, inputs, rows, self.rate * weight, self.rate * own_bias if self.biases else 0.0))

        def pull(rows: Rows, visit: Visit) -> Rows:
            report(rows, visit)
            back = self._mixed(rows.values.flatten(1, 3), square, fan_in).view(*rows.values.shape[:4], -1)
            return rows.with_values(self.unpatched(back, units))

        def push(tangent: Tensor, moved: Mapping[str, Tensor]) -> Tensor:
            raise NotImplementedError("tangents need the weights")

        return Trace(value.view(*inputs.shape[:3], -1), pull, push, report=report)

    def _mixed(self, signals: Tensor, square: float, units: int) -> Tensor:
        """Signals (S, places, units) times a matrix of variance ``square`` that is seen nowhere else."""
        overlap = square * signals @ signals.mT
        largest = overlap.diagonal(dim1=1, dim2=2).amax(1).clamp_min(torch.finfo(overlap.dtype).tiny)
        eye = torch.eye(overlap.shape[1], dtype=overlap.dtype)
        root = torch.linalg.cholesky(overlap + JITTER * largest.view(-1, 1, 1) * eye)
        return root @ self._normal(signals, *overlap.shape[:2], units)

    def _normal(self, like: Tensor, *shape: int) -> Tensor:
        """Normal numbers of single precision, which take half the time and are fine enough for an average."""
        return torch.randn(shape, generator=self.generator).to(like.dtype)


@dataclass(frozen=True)
class _Dense(_Drawn):
    pass


@dataclass(frozen=True)
class _Convolution(_Drawn, Convolution):
    pass


@dataclass(frozen=True)
class _Attention(Attention):
    generator: torch.Generator | None = None

    @property
    def parts(self) -> dict[str, Dense]:
        """The four matrices."""
        return {
            name: _Dense(**{f.name: getattr(part, f.name) for f in fields(part)}, generator=self.generator)
            for name, part in super().parts.items()
        }
