"""What becomes of the raw outputs (..., samples, classes): built-in normalizations, the softmax metric, added ones.

Each knows what it leaves of the dual matrix, and everything else that the engine asks of it.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fimcheck.numerics.normalizations import SAMPLES, UNITS, Axes, Derivative, standardize

Function = Callable[[Tensor, float], Tensor]
Normalized = tuple[Tensor, Derivative | None, Tensor | None]


@dataclass(frozen=True)
class Output:
    """The outputs as they are.

    fewest_outputs, fewest_samples: C and T below which nothing is left. removed: directions over the samples that
    lambda_perp leaves out, the constant one and those that the normalization takes away. scaled: whether it has a
    scale, which may be a parameter. missing: quantities that do not exist under it, with the reason.
    """

    name: str = "none"

    fewest_outputs: ClassVar[int] = 1
    fewest_samples: ClassVar[int] = 2
    removed: ClassVar[int] = 1
    scaled: ClassVar[bool] = False
    added: ClassVar[bool] = False
    missing: ClassVar[Mapping[str, str]] = {}

    def apply(self, raw: Tensor, gamma: float) -> Normalized:  # noqa: ARG002
        """The normalized outputs and their derivative by the raw ones: as a `Derivative` (None for the identity), or as
        a matrix (S, C*T, C*T), rows and columns k*T + t.
        """
        return raw, None, None

    def slow(self, raw: Tensor, gamma: float | Tensor, beta: float | Tensor) -> Tensor:  # noqa: ARG002
        """The normalized outputs (T, C) once more, from torch's own functions."""
        return raw

    def statistics(self, gain: Tensor, gamma: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Numbers of the output statistics, from gamma/sd (S, ...)."""
        return {}

    def operations(self, samples: int, classes: int) -> int:  # noqa: ARG002
        """Multiplications and additions of the matrix products that it costs."""
        return 0


class Mean(Output):
    """Minus the mean over the samples."""

    missing: ClassVar[Mapping[str, str]] = {
        "alignment": "the gradients of the normalized outputs have mean zero; ask for lambda_max"
    }

    def apply(self, raw: Tensor, gamma: float) -> Normalized:  # noqa: ARG002
        """Centered."""
        return raw - raw.mean(SAMPLES, keepdim=True), Derivative(SAMPLES), None

    def slow(self, raw: Tensor, gamma: float | Tensor, beta: float | Tensor) -> Tensor:  # noqa: ARG002
        """Centered."""
        return raw - raw.mean(0, keepdim=True)


class Standardized(Output):
    """gamma times the outputs standardized along some axes."""

    axes: ClassVar[Axes]
    scaled = True

    def apply(self, raw: Tensor, gamma: float) -> Normalized:
        """Standardized."""
        return *standardize(raw, self.axes, gamma), None


class Batch(Standardized):
    """Over the samples, each class on its own."""

    axes = SAMPLES
    fewest_samples = 3
    removed = 2
    missing = Mean.missing

    def slow(self, raw: Tensor, gamma: float | Tensor, beta: float | Tensor) -> Tensor:
        """By var_mean: torch's batch_norm refuses eps = 0."""
        variance, mean = torch.var_mean(raw, 0, correction=0, keepdim=True)
        return gamma * (raw - mean) / variance.sqrt() + beta

    def statistics(self, gain: Tensor, gamma: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Means of gamma^2/sd^2 and of its square over the classes, and the largest."""
        inverse = gain.square().flatten(1)
        return {"Q1": inverse.mean(1), "Q2": inverse.square().mean(1), "Qmax": inverse.amax(1)}

    def operations(self, samples: int, classes: int) -> int:
        """Of the projection."""
        return 6 * (classes * samples) ** 2 + 4 * classes**2 * samples


class Layer(Standardized):
    """Over the classes, each sample on its own."""

    axes = UNITS
    fewest_outputs = 3
    missing = dict.fromkeys(
        ("lambda_1", "lambda_perp"),
        "layer normalization of the outputs leaves no common direction; ask for lambda_max or lambda_top",
    )

    def slow(self, raw: Tensor, gamma: float | Tensor, beta: float | Tensor) -> Tensor:
        """By torch's layer_norm."""
        return gamma * torch.nn.functional.layer_norm(raw, raw.shape[1:], eps=0.0) + beta

    def statistics(self, gain: Tensor, gamma: float) -> dict[str, Tensor]:
        """Mean of 1/sd^2 over the samples."""
        return {"R1": gain.square().flatten(1).mean(1) / gamma**2}


class MatrixOutput(Output):
    """Outputs whose derivative is a matrix over classes and samples."""

    def operations(self, samples: int, classes: int) -> int:
        """The matrix from both sides."""
        return 4 * (classes * samples) ** 3


class Softmax(MatrixOutput):
    """The outputs as they are, in the metric of a softmax."""

    fewest_outputs = 2

    def apply(self, raw: Tensor, gamma: float) -> Normalized:  # noqa: ARG002
        """The symmetric root of diag p - p p^T at every sample takes the place of the derivative.

        The Fisher matrix of a softmax p is J^T (diag p - p p^T) J / T over the samples.
        """
        seeds, samples, classes = raw.shape
        p = raw.softmax(-1)
        values, vectors = torch.linalg.eigh(torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2))
        root = (vectors * values.clamp_min(0).sqrt().unsqueeze(-2)) @ vectors.mT
        full = raw.new_zeros(seeds, classes, samples, classes, samples)
        t = torch.arange(samples, device=raw.device)
        full[:, :, t, :, t] = root.transpose(0, 1)
        return raw, None, full.view(seeds, classes * samples, -1)


@dataclass(frozen=True)
class Added(MatrixOutput):
    """Any differentiable torch function ``f(outputs, gamma)``, differentiated by autograd."""

    function: Function = lambda raw, gamma: gamma * raw

    added: ClassVar[bool] = True

    def __call__(self, raw: Tensor, gamma: float) -> Tensor:
        """The normalized outputs."""
        return self.function(raw, gamma)

    def slow(self, raw: Tensor, gamma: float | Tensor, beta: float | Tensor) -> Tensor:  # noqa: ARG002
        """The function."""
        assert isinstance(gamma, float)
        return self.function(raw, gamma)

    def apply(self, raw: Tensor, gamma: float) -> Normalized:
        """The function, with its Jacobian."""
        seeds, samples, count = raw.shape
        value, pull, *_ = torch.func.vjp(lambda raw: self(raw, gamma), raw)
        rows = torch.eye(count * samples, dtype=raw.dtype, device=raw.device)
        signal = rows.view(-1, count, samples).mT.unsqueeze(1).expand(-1, seeds, -1, -1)
        (found,) = torch.func.vmap(pull)(signal.contiguous())
        return value, None, found.transpose(0, 1).mT.flatten(2)


OUTPUTS: dict[str, Output] = {
    one.name: one for one in (Output(), Mean("mean"), Batch("batch"), Layer("layer"), Softmax("softmax"))
}


def add_output_normalization(name: str, function: Function) -> None:
    """Add a normalization of the outputs under a new name; function: see `Added`.

    >>> numerics.add_output_normalization("centred", lambda f, gamma: gamma * (f - f.mean(-2, keepdim=True)))
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"normalization name {name!r}: it must be one word, since settings name it; use letters")
    if name in OUTPUTS:
        raise ValueError(f"normalization {name!r} exists already; choose another name")
    try:
        parameters = list(inspect.signature(function).parameters)
    except TypeError:
        raise ValueError(f"normalization {name!r}: its definition {function!r} is not a function; give one") from None
    if len(parameters) != 2:
        raise ValueError(f"normalization {name!r}: its definition takes {parameters}; it must take (outputs, gamma)")
    OUTPUTS[name] = Added(name, function)
