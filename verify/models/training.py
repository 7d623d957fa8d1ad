"""Training a model for some steps, and what its modules give on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fimcheck.verify.models.model import Loss, Model, ModelError

OPTIMIZERS = ("adam", "sgd")
Sizes = dict[tuple[str, int], float]
"""Root mean squares by module and step."""
OUTPUT = "(output)"
SOFTMAX = "softmax"


class _Watched(TorchFunctionMode):
    """Notes what every module gives, and what every softmax is given, while the model runs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.found: dict[str, Tensor] = {}
        self._inside: list[str] = []
        self._module = module

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.softmax, torch.nn.functional.softmax, Tensor.softmax):
            self._note(f"{self._inside[-1] if self._inside else ''}.{SOFTMAX}".lstrip("."), args[0])
        elif func is torch.nn.functional.scaled_dot_product_attention:
            query, key, scale = args[0], args[1], kwargs.get("scale")
            scale = query.shape[-1] ** -0.5 if scale is None else scale
            with torch.no_grad():
                logits = query @ key.mT * scale
            self._note(f"{self._inside[-1] if self._inside else ''}.{SOFTMAX}".lstrip("."), logits)
        return func(*args, **kwargs)

    def _note(self, name: str, value: Any) -> None:
        value = next((v for v in value if isinstance(v, Tensor)), None) if isinstance(value, tuple) else value
        if isinstance(value, Tensor) and value.is_floating_point():
            number = 2
            while (unique := name if name not in self.found else f"{name}#{number}") in self.found:
                number += 1
            self.found[unique] = value.detach().clone()

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Calls of every module but the model itself."""
        handles = []
        for name, part in self._module.named_modules():
            handles.append(part.register_forward_pre_hook(lambda *_, name=name: self._inside.append(name)))
            handles.append(part.register_forward_hook(lambda _m, _i, out, name=name: self._left(name, out)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _left(self, name: str, out: Any) -> None:
        self._inside.pop()
        self._note(name or OUTPUT, out)


def _run(module: nn.Module, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    watched = _Watched(module)
    with watched.hooks(), watched:
        outputs = module(inputs)
    return outputs, watched.found


def train(
    model: Model, width: int, seed: int, samples: int, steps: int, optimizer: str, rate: float, loss: Loss
) -> Sizes:
    """One network, trained for some steps on one batch with random targets: the root mean square of what every module
    gives at step 0, and of its change since then after every step."""
    module, inputs = model.module(width, seed), model.inputs(samples, width, seed)
    generator = torch.Generator().manual_seed(seed)
    with model.errors(f"training the model of width {width}", model.build):
        _check_pure(module)
        trained = _optimizer(model, module, optimizer, rate)
        found: Sizes = {}
        start: dict[str, Tensor] = {}
        for step in range(steps + 1):
            outputs, now = _run(module, inputs)
            start = start or now
            for name, value in now.items():
                if name in start and start[name].shape == value.shape:
                    change = value if step == 0 else value - start[name]
                    found[name, step] = float(change.square().mean().sqrt())
            if step == 0:
                targets = _targets(outputs, loss, generator)
            if step < steps:
                trained.zero_grad()
                _loss(outputs, targets, loss).backward()
                trained.step()
    return found


def _check_pure(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.training and part.p > 0:
            raise ModelError(f"module {name} is dropout with p = {part.p}: its changes are noise; set p = 0")


def _targets(outputs: Tensor, loss: Loss, generator: torch.Generator) -> Tensor:
    if loss == "softmax":
        return torch.randint(outputs.shape[-1], outputs.shape[:-1], generator=generator)
    return torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype)


def _loss(outputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    if loss == "softmax":
        return nn.functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())
    return (outputs - targets).square().mean()


def _optimizer(model: Model, module: nn.Module, name: str, rate: float) -> torch.optim.Optimizer:
    """The model's own, that of the package mup where its parameters know their widths, or torch's."""
    if model.optimizer is not None:
        return model.optimizer(module, rate)
    if any(hasattr(p, "infshape") for p in module.parameters()):
        import mup  # pyright: ignore[reportMissingImports]  # what made the model knows how to train it

        return {"adam": mup.MuAdam, "sgd": mup.MuSGD}[name](module.parameters(), lr=rate)
    return {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[name](module.parameters(), lr=rate)
