"""How a torch module uses a parameter in one call, and the scalar products of the gradients by it.

Signals are derivatives of K outputs, or sums of outputs, by what a recorded call returned: (K, *shape of the result).
S is the number of samples that they tell apart: T where a sample's outputs depend on that sample alone, else 1, all
samples taken for one. Gradients are rows in the order k*S + s.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Use:
    """One parameter in one recorded call."""

    parameter: int
    """Its number among the module's parameters."""
    result: Tensor
    """What the call returned; signals are taken there."""

    @property
    def reads(self) -> tuple[Tensor, ...]:
        """Tensors of the forward pass that the gradients are made of."""
        return ()

    @property
    def entries(self) -> int:
        """Length of the axis of the parameter that ``rows`` cuts into parts."""
        raise NotImplementedError

    def rows(self, signal: Tensor, samples: int, part: slice) -> Tensor:
        """Gradients by a part of the parameter: (K*S, entries, rest)."""
        raise NotImplementedError

    def gram(self, left: Tensor, right: Tensor, samples: int, room: int) -> Tensor:
        """Scalar products of the gradients of two blocks of signals; room: how many numbers it may hold at once."""
        raise NotImplementedError


@dataclass(frozen=True)
class Shift(Use):
    """A parameter that is added after stretching it to ``shape``, as biases are."""

    shape: tuple[int, ...]

    @property
    def entries(self) -> int:
        return next((length for length in self.shape if length > 1), 1)

    def rows(self, signal: Tensor, samples: int, part: slice) -> Tensor:
        signal = self._scaled(signal)
        signal = signal.unflatten(1, (samples, -1)) if samples > 1 else signal.unsqueeze(1)
        axes = [axis for axis, length in enumerate(self.shape) if length == 1]
        summed = signal.sum([axis + 2 for axis in axes], keepdim=True) if axes else signal
        return summed.reshape(len(signal) * samples, self.entries, -1)[:, part]

    def gram(self, left: Tensor, right: Tensor, samples: int, room: int) -> Tensor:  # noqa: ARG002
        a = self.rows(left, samples, slice(None)).flatten(1)
        return a @ a.T if left is right else a @ self.rows(right, samples, slice(None)).flatten(1).T

    def _scaled(self, signal: Tensor) -> Tensor:
        return signal


@dataclass(frozen=True)
class Scale(Shift):
    """A parameter that multiplies ``factor`` after stretching it to ``shape``, as the scale of a normalization does."""

    factor: Tensor

    @property
    def reads(self) -> tuple[Tensor, ...]:
        return (self.factor,)

    def _scaled(self, signal: Tensor) -> Tensor:
        return signal * self.factor


ENTRY = 150
"""Multiplications of a matrix product that take as long as one entry that is written, weighted, read and summed."""


@dataclass(frozen=True)
class Weight(Use):
    """A matrix that maps inputs (T, positions, groups, units) to the result, whose units are its axis ``axis``."""

    source: Tensor
    read: Callable[[Tensor], Tensor]
    """From the source to the inputs."""
    axis: int
    groups: int

    @property
    def reads(self) -> tuple[Tensor, ...]:
        return (self.source,)

    @property
    def entries(self) -> int:
        return self.result.shape[self.axis]

    def rows(self, signal: Tensor, samples: int, part: slice) -> Tensor:
        a, x = self._signal(signal, samples), self._inputs(samples)
        if self.groups == 1:
            return torch.einsum("ksno,sni->ksoi", a[..., 0, part], x[:, :, 0]).flatten(0, 1)
        return torch.einsum("ksngo,sngi->ksgoi", a, x).flatten(2, 3)[:, :, part].flatten(0, 1)

    def gram(self, left: Tensor, right: Tensor, samples: int, room: int) -> Tensor:
        a, x = self._signal(left, samples), self._inputs(samples)
        b = a if left is right else self._signal(right, samples)
        places = x.shape[0] * x.shape[1]
        k, s, n, _, o = a.shape
        if n > 1 and x.shape[-1] > places:  # the same scalar products from as many units as there are places
            x = _shorter(x)
        i, kernel = x.shape[-1], len(b) * places
        by_kernel = k * places * kernel * (o + (ENTRY if n > 1 else 0)) + places**2 * i
        by_rows = (k + len(b)) * places * o * i + k * s * len(b) * s * o * i
        g = a.new_zeros(k * s, len(b) * s)
        for group in range(self.groups):
            ag, bg, xg = a[..., group, :], b[..., group, :], x[..., group, :]
            if by_kernel <= by_rows:
                ag = ag.contiguous()
                g += _through_kernel(ag, ag if left is right else bg, xg, room)
            else:
                g += _through_rows(ag, bg, xg, room, left is right)
        return g

    def _signal(self, signal: Tensor, samples: int) -> Tensor:
        """(K, S, positions, groups, units out); positions lie side by side in memory where the result's axes do so."""
        if self.axis < 0:
            return signal.reshape(len(signal), samples, -1, self.groups, signal.shape[-1] // self.groups)
        units = signal.movedim(self.axis + 1, 2)  # (K, T, units, ...)
        units = units.transpose(1, 2).unsqueeze(1) if samples == 1 else units
        flat = units.reshape(len(signal), samples, self.groups, signal.shape[self.axis + 1] // self.groups, -1)
        return flat.permute(0, 1, 4, 2, 3)

    def _inputs(self, samples: int) -> Tensor:
        x = self.read(self.source)
        return x.reshape(samples, -1, *x.shape[2:])


def _shorter(x: Tensor) -> Tensor:
    """Inputs (S, N, groups, S*N) with the scalar products of x (S, N, groups, more units)."""
    flat = x.flatten(0, 1).movedim(1, 0).mT  # (groups, units, places)
    return torch.linalg.qr(flat, mode="r").R.mT.movedim(0, 1).unflatten(0, x.shape[:2])


def _through_kernel(a: Tensor, b: Tensor, x: Tensor, room: int) -> Tensor:
    """sum_{n,m} (a_n . b_m)(x_n . x_m) for a (K,S,N,o), b (K',S,N,o) and x (S,N,i): (K*S, K'*S)."""
    (k, s, n, o), other = a.shape, b.flatten(0, 2)
    kernel = (x.flatten(0, 1) @ x.flatten(0, 1).T).view(s, n, s, n)
    g = a.new_empty(k, s, len(b), s)
    step = max(1, min(s, room // (n * len(other))))
    for number in range(k):
        for start in range(0, s, step):
            part = slice(start, start + step)
            product = (a[number, part].reshape(-1, o) @ other.T).view(-1, n, len(b), s, n)
            if n == 1:
                g[number, part] = product[:, 0, :, :, 0] * kernel[part, 0, :, 0].unsqueeze(1)
            else:
                torch.sum(product * kernel[part].unsqueeze(2), (1, 4), out=g[number, part])
    return g.view(k * s, -1)


def _through_rows(a: Tensor, b: Tensor, x: Tensor, room: int, same: bool) -> Tensor:
    """The same through the gradients a_n x_n^T, as many units of the result at once as there is room for."""
    (k, s, _, o), i = a.shape, x.shape[-1]
    g = a.new_zeros(k * s, len(b) * s)
    step = max(1, min(o, room // ((k + (0 if same else len(b))) * s * i)))
    for start in range(0, o, step):
        part = slice(start, start + step)
        rows = _rows(a[..., part], x)
        others = rows if same else _rows(b[..., part], x)
        g.addmm_(rows, others.T)
    return g


def _rows(a: Tensor, x: Tensor) -> Tensor:
    """Gradients a_n x_n^T summed over n, of a (K,S,N,o) and x (S,N,i): (K*S, o*i)."""
    return torch.einsum("ksno,sni->ksoi", a, x).flatten(0, 1).flatten(1)


@dataclass(frozen=True)
class Lookup(Use):
    """A table of ``length`` rows whose row ``index`` (T, ...) is returned at each place, -1 for none that is learnt."""

    index: Tensor
    length: int

    @property
    def reads(self) -> tuple[Tensor, ...]:
        return (self.index,)

    @property
    def entries(self) -> int:
        return self.length

    def rows(self, signal: Tensor, samples: int, part: slice) -> Tensor:
        start, stop, _ = part.indices(self.length)
        index = self.index.reshape(samples, -1)
        here = (index >= start) & (index < stop)
        values = signal.reshape(len(signal), samples, index.shape[1], -1)
        rows = signal.new_zeros(len(signal), samples, stop - start, values.shape[-1])
        sample, place = here.nonzero(as_tuple=True)
        rows.index_put_(
            (torch.arange(len(signal))[:, None], sample, index[sample, place] - start),
            values[:, sample, place],
            accumulate=True,
        )
        return rows.flatten(0, 1)

    def gram(self, left: Tensor, right: Tensor, samples: int, room: int) -> Tensor:
        used, index = self.index.unique(return_inverse=True)
        none = int(used[0] < 0)
        small = Lookup(self.parameter, self.result, index - none, len(used) - none)
        size = left.shape[-1] * samples * (len(left) + len(right))
        step = max(1, room // size)
        g = left.new_zeros(len(left) * samples, len(right) * samples)
        for start in range(0, small.length, step):
            part = slice(start, start + step)
            a = small.rows(left, samples, part).flatten(1)
            g += a @ (a if left is right else small.rows(right, samples, part).flatten(1)).T
        return g
