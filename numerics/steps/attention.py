"""Attention over positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fimcheck.numerics.steps.step import NetworkError, Rows, Shape, Signals, Step, Trace, Visit, register
from fimcheck.numerics.steps.weights import Dense


@register
@dataclass(frozen=True)
class Attention(Step):
    """u(n) = W_o sum_n' softmax_n'(q(n) . k(n') / d) W_v h(n'), d the number of units of q = W_q h and k = W_k h.

    All four matrices are square, without biases, and parameters; variances over the fan-in: sigma_w2 for value and
    output, 1 for query and key.
    """

    name: ClassVar[str] = "attention"

    units: int
    sigma_w2: float

    def shape(self, shape: Shape, path: str) -> Shape:
        """Kept; refuses a signal without positions."""
        if shape.positions < 2:
            raise NetworkError(f"step {path}: attention over one position; give the network positions")
        return shape

    @property
    def parts(self) -> dict[str, Dense]:
        """The four matrices."""
        return {
            name: Dense(self.units, 1.0 if name in ("query", "key") else self.sigma_w2, 0.0, biases=False)
            for name in ("query", "key", "value", "output")
        }

    def inner(self, shape: Shape, path: str) -> Iterator[tuple[Step, Shape, str]]:
        """The four matrices."""
        return ((part, shape, f"{path}.{name}") for name, part in self.parts.items())

    def at(self, x: Tensor, drawn: Mapping[str, Tensor], path: str) -> Trace:
        """Query, key, value; the mean under the softmax; output."""
        q, k, v = (self.parts[name].at(x, drawn, f"{path}.{name}") for name in ("query", "key", "value"))
        share = (q.value @ k.value.mT / self.units).softmax(-1)
        out = self.parts["output"].at(share @ v.value, drawn, f"{path}.output")
        P, kq, vv = share.unsqueeze(1), (q.value.unsqueeze(1), k.value.unsqueeze(1)), v.value.unsqueeze(1)

        def pull(rows: Rows, visit: Visit) -> Rows:
            mixed = out.pull(rows, visit)
            at_share = mixed.values @ vv.mT
            at_logit = P * (at_share - (at_share * P).sum(-1, keepdim=True)) / self.units
            parts = (
                (q, at_logit @ kq[1]), (k, at_logit.mT @ kq[0]), (v, P.mT @ mixed.values)
            )  # fmt: skip
            back = [trace.pull(mixed.with_values(values), visit) for trace, values in parts]
            return back[0].with_values(back[0].values + back[1].values + back[2].values)

        def push(tangent: Tensor, moved: Mapping[str, Tensor]) -> Tensor:
            dq, dk, dv = (trace.push(tangent, moved) for trace in (q, k, v))
            logit = (dq @ kq[1].mT + kq[0] @ dk.mT) / self.units
            shift = P * (logit - (logit * P).sum(-1, keepdim=True))
            return out.push(shift @ vv + P @ dv, moved)

        return Trace(out.value, pull, push)

    def slow(self, x: Tensor, given: Mapping[str, Tensor], path: str) -> Tensor:
        """By torch's scaled_dot_product_attention."""
        q, k, v = (self.parts[name].slow(x, given, f"{path}.{name}") for name in ("query", "key", "value"))
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=1 / self.units)
        return self.parts["output"].slow(mixed, given, f"{path}.output")

    def forward_operations(self, shape: Shape) -> int:
        """Four matrices, logits and mixing."""
        return self._mixing(shape) + super().forward_operations(shape)

    def gram_operations(self, shape: Shape, above: Signals, back: bool = True) -> tuple[int, Signals]:  # noqa: ARG002
        """Four matrices; the mixing has two products forward and four backward."""
        below = Signals(above.rows, above.spread)
        met = {name: above if name == "output" else below for name in self.parts}
        own = sum(part.gram_operations(shape, met[name])[0] for name, part in self.parts.items())
        return own + 2 * above.rows * self._mixing(shape), below

    def product_operations(self, shape: Shape, back: bool = True) -> int:
        """As above: the mixing has two products more in each direction."""
        return super().product_operations(shape, back) + 4 * self._mixing(shape)

    def _mixing(self, shape: Shape) -> int:
        return 4 * shape.samples * shape.positions**2 * shape.units
