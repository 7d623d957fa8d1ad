"""Steps with weights: dense, convolution, attention."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fimcheck.numerics.steps.step import Meeting, NetworkError, Rows, Shape, Signals, Step, Trace, Visit, register

WEIGHTS = ("gaussian", "orthogonal", "uniform", "sparse")
PARAMETRIZATIONS = ("standard", "ntk")
KEPT = 0.25
"""Share of the weights of a sparse step that are not zero."""


@register
@dataclass(frozen=True)
class Dense(Step):
    """u = W h + b, ``units`` units; W_ij of variance sigma_w2 over the fan-in, b_i of variance sigma_b2.

    param: "standard", or "ntk": parameters of variance one, W = sqrt(sigma_w2/fan-in) w and b = sqrt(sigma_b2) beta.
    rate: factor on the squared gradient. weights: gaussian, orthogonal (Haar), uniform, or sparse (three weights of
    four are zero). trained: whether the weights, and the biases, are among the parameters.
    """

    name: ClassVar[str] = "dense"

    units: int
    sigma_w2: float
    sigma_b2: float
    param: str = "standard"
    rate: float = 1.0
    weights_: str = "gaussian"
    biases: bool = True

    def __post_init__(self) -> None:
        for name, value, known in (
            ("weights", self.weights_, WEIGHTS), ("param", self.param, PARAMETRIZATIONS)
        ):  # fmt: skip
            if value not in known:
                raise NetworkError(f"{self.name}: {name} = {value!r} is unknown: use one of {', '.join(known)}")

    def shape(self, shape: Shape, path: str) -> Shape:  # noqa: ARG002
        """Its own units."""
        return Shape(shape.samples, shape.positions, self.units)

    def fan_in(self, shape: Shape) -> int:
        """Weights of a unit."""
        return shape.units

    def draws(self, shape: Shape, path: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Weights and biases."""
        yield f"{path}.W", (self.units, self.fan_in(shape))
        yield f"{path}.b", (self.units,)

    def weights(self, shape: Shape) -> int:
        """Weights and biases."""
        return self.units * (self.fan_in(shape) + int(self.biases))

    def scaled(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """W (S, units, fan-in) and b (S, units) from standard normal numbers, which may be overwritten."""
        return law(weight, self.weights_).mul_(self.scale(weight)), bias.mul_(self.sigma_b2**0.5)

    def scale(self, weight: Tensor) -> float:
        """Standard deviation of a weight."""
        return (self.sigma_w2 / weight.shape[-1]) ** 0.5

    def trained(self, drawn: Mapping[str, Tensor], path: str) -> Iterator[tuple[str, Tensor]]:
        """Its parameters: W and b, or in the NTK parametrization what their factors multiply."""
        weight, bias = drawn[f"{path}.W"], drawn[f"{path}.b"]
        if self.param == "ntk":
            weight = weight / self.scale(weight)
            bias = bias / self.sigma_b2**0.5 if self.sigma_b2 else bias
        yield f"{path}.W", weight
        yield f"{path}.b", bias

    def patches(self, x: Tensor) -> Tensor:
        """What the weights of one unit meet at each place, (S, T, N, fan-in)."""
        return x

    def unpatched(self, rows: Tensor, units: int) -> Tensor:  # noqa: ARG002
        """The transpose of `patches`, on the last two axes."""
        return rows

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:
        """Weights times what they meet."""
        weight, bias = drawn[f"{path}.W"], drawn[f"{path}.b"]
        inputs, units = self.patches(x), x.shape[-1]
        value = torch.baddbmm(bias.unsqueeze(1), inputs.flatten(1, 2), weight.mT).view(*inputs.shape[:3], self.units)
        ntk = self.param == "ntk"
        share = self.rate * (self.scale(weight) ** 2 if ntk else 1.0)
        own_bias = self.rate * (self.sigma_b2 if ntk else 1.0) if self.biases else 0.0

        def report(rows: Rows, visit: Visit) -> None:
            visit(Meeting(path, inputs, rows, share, own_bias))

        def pull(rows: Rows, visit: Visit) -> Rows:
            report(rows, visit)
            back = (rows.values.flatten(1, 3) @ weight).view(*rows.values.shape[:4], -1)
            return rows.with_values(self.unpatched(back, units))

        def push(tangent: Tensor, moved: Mapping[str, Tensor]) -> Tensor:
            met = self.patches(tangent)
            forward = (met.flatten(1, 3) @ weight.mT).view(*met.shape[:4], self.units)
            return forward + moved[path] if path in moved else forward

        return Trace(value, pull, push, report=report)

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:
        """By torch.nn.functional.linear; an ntk weight is a parameter of variance one with its factor in front."""
        weight, bias = given[f"{path}.W"], given[f"{path}.b"]
        if self.param == "ntk":
            weight, bias = weight * (self.sigma_w2 / weight.shape[-1]) ** 0.5, bias * self.sigma_b2**0.5
        return torch.nn.functional.linear(self.met_slowly(x), weight, bias)

    def met_slowly(self, x: Tensor) -> Tensor:
        """`patches` of one network, (T, N, fan-in), written another way."""
        return x

    def forward_operations(self, shape: Shape) -> int:
        """Weights times what they meet."""
        return 2 * shape.samples * shape.positions * self.fan_in(shape) * self.units

    def gram_operations(self, shape: Shape, above: Signals, back: bool = True) -> tuple[int, Signals]:
        """Overlaps of the inputs, of the signals, and the signals times the weights."""
        places, fan_in, units, rows = shape.samples * shape.positions, self.fan_in(shape), self.units, above.rows
        own = shape.positions if above.alike else places  # at how many places a signal is stored
        count = 2 * rows * own * fan_in * units if back else 0
        if not above.spread:
            return count + 2 * places**2 * fan_in + own**2 * rows * (rows + 1) * units, above
        if fan_in + 1 < places:
            return count + 2 * rows * (fan_in + 1) * units * (places + rows), above
        return count + 2 * places**2 * fan_in + 2 * rows * places * units * (places + rows), above

    def product_operations(self, shape: Shape, back: bool = True) -> int:
        """Signals back and tangents forward, and between them what the weights moved."""
        places = shape.samples * shape.positions
        moved = 2 * places * self.units * min(places, 2 * self.fan_in(shape))
        return moved + (2 * self.forward_operations(shape) if back else 0)


def law(raw: Tensor, weights: str) -> Tensor:
    """Standard normal numbers (S, out, in) turned into weights of unit variance of the given law."""
    if weights == "gaussian":
        return raw
    if weights == "uniform":
        return (2 * torch.special.ndtr(raw) - 1) * math.sqrt(3)
    if weights == "sparse":
        # The sign and size of a kept weight are normal again: its rank among the kept ones, taken as a probability.
        level = torch.special.ndtr(raw)
        kept = (level < KEPT / 2) | (level > 1 - KEPT / 2)
        inside = torch.where(level < 0.5, level, level - (1 - KEPT)) / KEPT
        return torch.where(kept, torch.special.ndtri(inside.clamp(1e-300, 1 - 1e-16)), 0.0) / math.sqrt(KEPT)
    out, into = raw.shape[-2:]
    q, r = torch.linalg.qr(raw if out >= into else raw.mT)
    # Fixing the sign of the diagonal of R makes Q uniform (Mezzadri 2007).
    q = q * torch.sgn(torch.diagonal(r, dim1=-2, dim2=-1)).unsqueeze(-2)
    return (q if out >= into else q.mT) * max(out, into) ** 0.5


@register
@dataclass(frozen=True)
class Convolution(Dense):
    """A circular convolution over positions with ``taps`` taps; tap j meets position n + j - (taps - 1) // 2."""

    name: ClassVar[str] = "conv"

    taps: int = 3

    def shape(self, shape: Shape, path: str) -> Shape:
        """As dense; refuses a signal with fewer positions than taps."""
        if shape.positions < max(2, self.taps):
            raise NetworkError(
                f"step {path}: conv with {self.taps} taps over {shape.positions} positions; give as many positions "
                "as taps"
            )
        return super().shape(shape, path)

    def fan_in(self, shape: Shape) -> int:
        """Units times taps."""
        return shape.units * self.taps

    @property
    def shifts(self) -> list[int]:
        """How far each tap looks."""
        return [tap - (self.taps - 1) // 2 for tap in range(self.taps)]

    def patches(self, x: Tensor) -> Tensor:
        """Signals of all taps side by side."""
        return torch.cat([x.roll(-shift, -2) for shift in self.shifts], -1)

    def unpatched(self, rows: Tensor, units: int) -> Tensor:
        """Every tap's share back where it came from."""
        parts = rows.split(units, -1)
        return sum(
            (part.roll(shift, -2) for part, shift in zip(parts, self.shifts, strict=True)), torch.zeros_like(parts[0])
        )

    def met_slowly(self, x: Tensor) -> Tensor:
        """Position by position."""
        N = x.shape[-2]
        places = [[(n + shift) % N for shift in self.shifts] for n in range(N)]
        return torch.stack([torch.cat([x[..., p, :] for p in at], -1) for at in places], -2)
