"""How the Fisher spectrum of a model goes with its width, with samples fixed and in proportion to the width."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fimcheck import numerics
from fimcheck.verify.draws.pool import Pool
from fimcheck.verify.models.model import Loss, Model, ModelError, Said, enough, top_up
from fimcheck.verify.rule.regression import Array
from fimcheck.verify.sweep.exponent import Exponent, judge
from fimcheck.verify.sweep.laws import Cells

QUANTITIES = ("lambda_max", "m", "s")
WIDTHS, GROWN = (32, 64, 128, 256, 512, 1024), (16, 32, 64, 128, 256, 512, 768)
SAMPLES, RHO, NETWORKS = 16, 2.0, 640
FIRST_NETWORKS, GROWTH = 10, 1.25
SHARE = 16
"""No width has more than this many times the networks of the widest: narrow ones are cheap, and tell corrections."""
WANTED = 0.05
"""Half of the interval of lambda_max's exponent at which no more networks are drawn."""
MOST_ROWS = 4096
"""Rows of a dual matrix whose eigenvalues are all computed; beyond, the largest ones matrix-free."""
GAP = 2.0
"""Outliers are the eigenvalues above the widest relative gap of the leading half, if it is at least this wide."""
TOLD = 0.1
"""An exponent above this is growth."""


@dataclass(frozen=True)
class Case:
    """T samples, or T = M/rho."""

    samples: int | None
    rho: float | None
    widths: tuple[int, ...]

    def samples_at(self, width: int) -> int:
        """Number of samples at this width."""
        return self.samples or round(width / (self.rho or 1))

    def __str__(self) -> str:
        return f"T = {self.samples}" if self.samples else f"T = M/{self.rho:g}"


@dataclass(frozen=True)
class Drawn:
    """What one network of one width has: numbers by quantity, the number of outliers, the share of every parameter in
    the leading eigenvector, and the number of parameters."""

    numbers: dict[str, float]
    outliers: int | None
    shares: dict[str, float]
    parameters: int


@dataclass(frozen=True)
class Growth:
    """What was found in one case: the exponents of the width by quantity, means by quantity (widths,) with their
    standard errors, mean numbers of outliers (widths,), and the shares of parameters at the largest width."""

    case: Case
    networks: int
    exponents: dict[str, Exponent]
    means: dict[str, Array]
    errors: dict[str, Array]
    outliers: Array
    shares: dict[str, float]

    @property
    def verdict(self) -> str:
        """ "sharp", "bounded" or "open"."""
        return verdict(self.exponents["lambda_max"])

    @property
    def rate(self) -> float:
        """The largest stable learning rate of gradient descent at the largest width, 2 over the mean lambda_max."""
        return 2 / float(self.means["lambda_max"][-1])

    def record(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "samples": str(self.case),
            "widths": list(self.case.widths),
            "networks": self.networks,
            "verdict": self.verdict,
            "exponents": {n: {"low": e.low, "high": e.high, "reason": e.reason} for n, e in self.exponents.items()},
            "means": {name: values.tolist() for name, values in self.means.items()},
            "errors": {name: values.tolist() for name, values in self.errors.items()},
            "outliers": self.outliers.tolist(),
            "shares": self.shares,
            "largest_stable_rate": self.rate,
        }


def verdict(found: Exponent) -> str:
    """Whether a quantity grows with the width: "sharp", "bounded" or "open"."""
    if found.low > TOLD:
        return "sharp"
    return "bounded" if found.high <= TOLD else "open"  # of what is not known both are false


def cases(
    widths: Sequence[int] | None = None,
    samples: int = SAMPLES,
    rho: float = RHO,
    fixed: bool = True,
    grown: bool = True,
) -> list[Case]:
    """Samples fixed, samples in proportion, or both."""
    for what, value in (("samples", samples), ("rho", rho)):
        if not (np.isfinite(value) and value > 0):
            raise ModelError(f"{what} = {value}: it must be positive")
    ways = [(samples, None, WIDTHS)] * fixed + [(None, rho, GROWN)] * grown
    made = [Case(t, r, enough(widths or usual)) for t, r, usual in ways]
    for case in made:
        if case.samples_at(case.widths[0]) < 1:
            raise ModelError(f"rho = {rho}: no sample is left at width {case.widths[0]}; take a smaller one")
    return made


def measure(model: Model, width: int, samples: int, seed: int, loss: Loss) -> Drawn:
    """One network: built, fed and measured."""
    module, inputs = model.module(width, seed), model.inputs(samples, width, seed)
    with model.errors(f"the model of width {width} on {samples} inputs", model.build):
        found = numerics.spectrum(module, inputs, loss=loss, method=_method(module, inputs), seed=seed)
    numbers = {"lambda_max": found.lambda_max, "m": found.m, "s": found.s}
    for name, value in numbers.items():
        if not np.isfinite(value):
            raise ModelError(
                f"{model.where(model.build)}: {name} of width {width} is {value}: outputs or their derivatives "
                "overflow or divide by zero"
            )
    outliers = None if found.eigenvalues is None else _outliers(found.eigenvalues.numpy())
    return Drawn(numbers, outliers, found.shares, found.parameters)


def _method(module: nn.Module, inputs: Tensor) -> str:
    with torch.no_grad():
        outputs = module(inputs[:2])
    return "exact" if outputs.numel() / 2 * len(inputs) <= MOST_ROWS else "matrix-free"


def _outliers(eigenvalues: Array) -> int:
    leading = eigenvalues[: len(eigenvalues) // 2 + 1]
    leading = leading[leading > 1e-12 * leading[0]]
    if len(leading) < 2:
        return len(leading)
    ratios = leading[:-1] / leading[1:]
    return int(ratios.argmax()) + 1 if ratios.max() >= GAP else 0


def growth(
    model: Model,
    case: Case,
    loss: Loss = "squared",
    networks: int = NETWORKS,
    pool: Pool | None = None,
    said: Said = lambda _: None,
) -> Growth:
    """Draw networks of every width, some more at every look, until the exponent of lambda_max is known to 0.05 or
    ``networks`` of the widest are drawn. A look ends it by the width of the interval alone, never by its place.
    """
    have: dict[int, list[Drawn]] = {width: [] for width in case.widths}
    found = None
    for counts in looks(case.widths, networks):
        top_up(
            model,
            measure,
            have,
            counts,
            lambda width, seed: (width, case.samples_at(width), seed, loss),
            pool,
            lambda text: said(f"{case}: {text}"),
        )
        _check_widths(model, have)
        found = _judge(case, have)
        if known(found.exponents["lambda_max"]):
            break
    assert found is not None
    return found


def looks(widths: Sequence[int], networks: int = NETWORKS) -> Iterator[dict[int, int]]:
    """How many networks of every width each look has, up to ``networks`` of the widest."""
    shares = [min(SHARE, int((widths[-1] / width) ** 1.5)) for width in widths]
    count = min(FIRST_NETWORKS, networks)
    while True:
        yield dict(zip(widths, (count * share for share in shares), strict=True))
        if count >= networks:
            return
        count = min(math.ceil(GROWTH * count), networks)


def known(found: Exponent) -> bool:
    """Whether the interval is so narrow that no more networks are drawn."""
    return bool(np.isfinite(found.low)) and found.high - found.low <= 2 * WANTED


def _check_widths(model: Model, have: dict[int, list[Drawn]]) -> None:
    sizes = {width: found[0].parameters for width, found in have.items()}
    if len(set(sizes.values())) == 1:
        widths = ", ".join(map(str, sizes))
        raise ModelError(
            f"{model.where(model.build)}: build makes {sizes[min(sizes)]} parameters at the widths {widths} alike: it "
            "ignores the width; make the layers as wide as it says"
        )


def _judge(case: Case, have: dict[int, list[Drawn]]) -> Growth:
    exponents, means, errors = {}, {}, {}
    counts = np.array([len(found) for found in have.values()], dtype=float)
    widths = np.array(case.widths, dtype=float)
    for name in QUANTITIES:
        values = [np.array([d.numbers[name] for d in found]) for found in have.values()]
        means[name] = np.array([v.mean() for v in values])
        errors[name] = np.array([v.std(ddof=1) for v in values]) / np.sqrt(counts)
        cells = Cells(widths, widths, means[name], errors[name], counts)
        exponents[name] = judge(cells, name, "M", str(case))
    counted = [[math.nan if d.outliers is None else d.outliers for d in found] for found in have.values()]
    outliers = np.array([sum(found) / len(found) for found in counted], dtype=np.float64)
    last = have[case.widths[-1]]
    shares = {name: float(np.mean([d.shares[name] for d in last])) for name in last[0].shares}
    return Growth(case, int(counts[-1]), exponents, means, errors, outliers, shares)
