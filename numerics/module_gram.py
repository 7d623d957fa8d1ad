"""The exact dual matrix of a torch module from signals and inputs of its layers; no Jacobian is formed.

Where a sample's outputs depend on that sample alone it takes C backward passes, also where samples couple above the
last weights only, as under mean subtraction or batch normalization of the outputs; else C*T. Which of these holds is
not looked up: one after the other is tried, and what it gives is checked against plain autograd.
"""

import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fimcheck.numerics.memory import out_of_memory
from fimcheck.numerics.module_difference import Metric, outputs_of
from fimcheck.numerics.module_jacobian import HALF, Jacobian
from fimcheck.numerics.module_recorder import Recorder
from fimcheck.numerics.module_uses import Use, Weight

TOGETHER = 4
"""Samples whose gradients by the parameters left are taken at once: each takes a whole pass over the module."""


def gram_by_layers(plain: Jacobian, memory: int) -> tuple[Tensor | None, str]:
    """G (C*T, C*T), rows k*T + t; None, and why, for a module of which it cannot be had so, or not within memory."""
    total, why = len(plain.outputs), "its layers do not give it"
    if plain.outputs.dtype in HALF:
        return None, f"its layers give it in {plain.outputs.dtype} only"
    try:
        traced = trace(plain)
    except Exception as error:  # whatever a module may raise where calls are recorded
        return None, _because(error)
    batches = (p.training for p in plain.module.modules() if isinstance(p, nn.modules.batchnorm._BatchNorm))
    ways = [] if any(batches) else [lambda: traced.gram(total, memory)]
    for way in (*ways, lambda: traced.gram_through_last(memory), lambda: traced.gram(1, memory)):
        try:
            g = way()
        except Exception as error:  # no fault of a fast way is the user's: the next one is tried
            if out_of_memory(error):
                return None, f"{why} within memory"
            why = _because(error)
            continue
        if g is not None and plain.agrees(g / total):
            return g / total, ""
    return None, why


def _because(error: Exception) -> str:
    first, *_ = str(error).splitlines() or [""]
    return f"its layers do not give it ({type(error).__name__}: {first})"


@dataclass(frozen=True)
class Trace:
    """A module that was run once under the recorder, on the inputs and with the metric of ``plain``.

    outputs (T,C); results: where signals are taken; uses: those of every parameter that was cut off from the graph;
    left: the parameters that the graph still reaches.
    """

    plain: Jacobian
    outputs: Tensor
    results: tuple[Tensor, ...]
    uses: dict[int, list[Use]]
    left: dict[str, Tensor]

    @torch.no_grad()
    def gram(self, samples: int, memory: int) -> Tensor | None:
        """J J^T (C*T, C*T), rows k*T + t; samples: T if samples do not couple, else 1. None where it cannot be."""
        if samples > 1:
            shared = {id(r) for r in self.results if len(r) % samples}
            if shared:
                return self._without(shared).gram(samples, memory)
        eye = torch.eye(self.outputs.numel() // samples, dtype=self.outputs.dtype, device=self.outputs.device)
        rows = eye.repeat_interleave(samples, 1)  # all samples at once where they do not couple
        g = self.outputs.new_zeros(self.outputs.numel(), self.outputs.numel())
        if samples > 1 and self.left:
            by_left = self._rows_left(memory)
            if by_left is None:
                return None
            g = by_left @ by_left.T
        block = self._block(memory)
        parts = [slice(start, min(start + block, len(eye))) for start in range(0, len(eye), block)]
        for number, part in enumerate(parts):
            own = self._signals(rows[part], samples)
            for other in parts[: number + 1]:
                against = own if other == part else self._signals(rows[other], samples)
                product = self._products(own, against, samples, memory // (4 * eye.element_size()))
                at, to = (slice(p.start * samples, p.stop * samples) for p in (part, other))
                g[at, to] += product
                if other != part:
                    g[to, at] += product.T
        return g

    @torch.no_grad()
    def gram_through_last(self, memory: int) -> Tensor | None:
        """The same where samples couple only above what the last weights give, u: the dual matrix of u between the
        derivatives of the outputs by u. None where it cannot be or does not pay."""
        (total, classes), places = self.outputs.shape, {id(result): n for n, result in enumerate(self.results)}
        weights = [places[id(use.result)] for uses in self.uses.values() for use in uses if isinstance(use, Weight)]
        if not weights or self.left:
            return None
        last = max(weights)
        u, by_last = self.results[last], {n: [places[id(v.result)] <= last for v in vs] for n, vs in self.uses.items()}
        split = any(any(below) and not all(below) for below in by_last.values())
        if split or len(u) != total or u.numel() > 4 * classes * total:
            return None
        below, above = ({n: uses for n, uses in self.uses.items() if all(by_last[n]) == side} for side in (True, False))
        with torch.enable_grad():
            units = replace(self.plain, outputs=u.flatten(1), metric=Metric(None))
            head = Trace(units, units.outputs, self.results[: last + 1], below, {})
            if not head._apart():
                return None
        tail = replace(self, results=self.results[last:], uses=above)
        inner = head.gram(total, memory)
        signals = tail._signals(torch.eye(classes * total).to(u), 1)
        if inner is None or signals[0] is None:
            return None
        by_u = signals[0].flatten(2).mT.flatten(1)
        return by_u @ inner @ by_u.T + tail._products(signals, signals, 1, memory // (4 * u.element_size()))

    def _without(self, shared: set[int]) -> "Trace":
        """The same with the parameters among the left ones whose results have no rows of their own for every sample, as
        places have that are embedded once for all samples."""
        names = list(self.plain.parameters)
        apart = {number for number, uses in self.uses.items() if any(id(use.result) in shared for use in uses)}
        left = {names[number]: self.plain.parameters[names[number]] for number in apart}
        uses = {number: uses for number, uses in self.uses.items() if number not in apart}
        known = {id(use.result) for every in uses.values() for use in every}
        results = tuple(result for result in self.results if id(result) in known)
        return replace(self, results=results, uses=uses, left=self.left | left)

    def _block(self, memory: int) -> int:
        """How many cotangents at once, so that the signals of two blocks and what makes them fit."""
        size = sum(t.numel() for t in (*self.results, *self.left.values()))
        return max(1, memory // (6 * size * self.outputs.element_size()))

    def _signals(self, rows: Tensor, samples: int) -> list[Tensor | None]:
        """Derivatives of ``rows`` (K, C*T) of the outputs by all results, then by the parameters left where samples
        couple."""
        cotangents = self.plain.to_outputs(rows)
        by = [*self.results, *(self.left.values() if samples == 1 else ())]
        if len(cotangents) == 1:
            one = torch.autograd.grad(self.outputs, by, cotangents[0], retain_graph=True, allow_unused=True)
            return [None if signal is None else signal.unsqueeze(0) for signal in one]
        found: list[Tensor | None] = [None] * len(by)

        def pull(cotangent: Tensor) -> dict[int, Tensor]:
            signals = torch.autograd.grad(self.outputs, by, cotangent, retain_graph=True, allow_unused=True)
            return {number: signal for number, signal in enumerate(signals) if signal is not None}

        with warnings.catch_warnings():  # of operations that torch takes one by one
            warnings.simplefilter("ignore", UserWarning)
            for number, signal in torch.func.vmap(pull)(cotangents).items():
                found[number] = signal
        return found

    def _apart(self) -> bool:
        """Whether the first sample's outputs leave the signals of the others at zero, where samples have rows."""
        total = len(self.outputs)
        rows = [result for result in self.results if len(result) == total]
        signals = torch.autograd.grad(self.outputs[0].sum(), rows, retain_graph=True, allow_unused=True)
        return not any(signal is not None and bool(signal[1:].any()) for signal in signals)

    def _products(self, own: list[Tensor | None], against: list[Tensor | None], samples: int, room: int) -> Tensor:
        known = {id(result): number for number, result in enumerate(self.results)}
        k, other = (next(len(s) for s in signals if s is not None) * samples for signals in (own, against))
        g = self.outputs.new_zeros(k, other)
        for uses in self.uses.values():
            found = [(use, own[known[id(use.result)]], against[known[id(use.result)]]) for use in uses]
            pairs = [(use, a, a if own is against else b) for use, a, b in found if a is not None and b is not None]
            if len(pairs) == 1:
                use, a, b = pairs[0]
                g += use.gram(a, b, samples, room)
            elif pairs:
                g += _shared(pairs, samples, room)
        for a, b in zip(own[len(self.results) :], against[len(self.results) :], strict=True):
            if a is not None and b is not None:
                g += a.flatten(1) @ b.flatten(1).T
        return g

    def _rows_left(self, memory: int) -> Tensor | None:
        """Gradients by the parameters left, sample by sample: (C*T, their number). None where they are too many, or
        where the module does not run on one sample alone."""
        size = sum(p.numel() for p in self.left.values()) * self.outputs.numel()
        if 4 * size * self.outputs.element_size() > memory:
            return None

        def one(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
            return torch.func.functional_call(self.plain.module, parameters, (x.unsqueeze(0),)).flatten()

        values = {name: p.detach() for name, p in self.left.items()}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                found = torch.func.vmap(torch.func.jacrev(one), (None, 0), chunk_size=TOGETHER)(
                    values, self.plain.inputs
                )
        except Exception:  # whatever a module may raise on one sample
            return None
        rows = torch.cat([part.flatten(2) for part in found.values()], 2)  # (T, C, their number)
        rows = self.plain.metric.weighted(rows.permute(2, 0, 1)).permute(1, 2, 0)
        return rows.transpose(0, 1).flatten(0, 1)


def _shared(pairs: list[tuple[Use, Tensor, Tensor]], samples: int, room: int) -> Tensor:
    """Scalar products of the gradients by a parameter that several calls use: their gradients are added first."""
    use, a, b = pairs[0]
    rows = (len(a) + len(b)) * samples
    width = use.rows(a[:1], samples, slice(0, 1)).shape[2]
    step = max(1, room // (rows * width))
    g = a.new_zeros(len(a) * samples, len(b) * samples)
    for start in range(0, use.entries, step):
        part = slice(start, start + step)
        left = sum((use.rows(a, samples, part).flatten(1) for use, a, _ in pairs), a.new_zeros(()))
        right = left if a is b else sum((use.rows(b, samples, part).flatten(1) for use, _, b in pairs), b.new_zeros(()))
        g += left @ right.T
    return g


def trace(plain: Jacobian) -> Trace:
    """Run the module once more, under the recorder."""
    numbers = {id(p): number for number, p in enumerate(plain.parameters.values())}
    for copy in (False, True):
        recorder = Recorder(numbers, copy)
        try:
            with torch.enable_grad(), recorder:
                outputs = outputs_of(plain.module, plain.inputs)
        except RuntimeError:  # a result that is changed in place
            if copy:
                raise
            continue
        if not recorder.changed:
            break
    results = tuple({id(use.result): use.result for use in recorder.uses}.values())
    uses = defaultdict(list)
    for use in recorder.uses:
        uses[use.parameter].append(use)
    reached = {id(leaf) for leaf in _leaves(outputs)}
    left = {name: p for name, p in plain.parameters.items() if id(p) in reached}
    return Trace(plain, outputs, results, uses, left)


def _leaves(outputs: Tensor) -> Iterator[Tensor]:
    """The leaves that the graph of the outputs reaches."""
    seen, waiting = set(), [outputs.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            yield leaf
        waiting += [following for following, _ in node.next_functions]
