"""The two questions as assertions, for tests and notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fimcheck.verify.models import coordinates, shown
from fimcheck.verify.models.coordinates import Check, check
from fimcheck.verify.models.model import Batch, Build, Loss, Model, Trainer
from fimcheck.verify.models.sharpness import NETWORKS, QUANTITIES, RHO, Growth, cases, growth, verdict


def assert_bounded(
    build: Build,
    batch: Batch,
    quantity: str = "lambda_max",
    *,
    samples: int | None = None,
    rho: float = RHO,
    loss: Loss = "squared",
    widths: tuple[int, ...] | None = None,
    networks: int = NETWORKS,
) -> Growth:
    """Assert that a quantity of the Fisher matrix of build(width) does not grow with the width.

    quantity: lambda_max, m or s. samples: their number, or None for T = width/rho. See `Model` for build and batch, and
    `fimcheck sharpness --help` for the rest. Raises AssertionError if it grows, or if that cannot be told.
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"quantity {quantity!r}: it is one of {', '.join(QUANTITIES)}")
    fixed = samples is not None
    (case,) = cases(widths, samples or 1, rho, fixed=fixed, grown=not fixed)
    found = growth(Model(build, batch), case, loss, networks)
    exponent = found.exponents[quantity]
    said = verdict(exponent)
    if said == "sharp":
        raise AssertionError(f"{quantity} with {case} grows with the width, like {shown.power(exponent)}")
    if said == "open":
        why = exponent.reason or f"it goes like {shown.power(exponent)}"
        raise AssertionError(f"{quantity} with {case} is not bounded for certain: {why}")
    return found


def coordinate_check(
    build: Build,
    batch: Batch,
    *,
    optimizer: str = "adam",
    lr: float = 1e-2,
    steps: int = 3,
    loss: Loss = "squared",
    widths: tuple[int, ...] | None = None,
    samples: int = 16,
    networks: int = coordinates.NETWORKS,
    trainer: Trainer | None = None,
    exponents: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> Check:
    """Assert that what every module of build(width) gives, and how it changes in training, keeps its size.

    trainer(module, lr): the optimizer, where it is not plain Adam or gradient descent. exponents: see `Model`. Raises
    AssertionError that names the first module to break.
    """
    found = check(Model(build, batch, trainer, exponents), widths, samples, steps, optimizer, lr, loss, networks)
    if not found.agrees:
        raise AssertionError(shown.broken(found))
    return found
