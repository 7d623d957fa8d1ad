"""A torch model with a width: how it is built, what it is fed and trained with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from fimcheck.verify.claims.extension import ExtensionError, place, run_code
from fimcheck.verify.draws.pool import Pool, completed

Build = Callable[[int], nn.Module]
Batch = Callable[..., Tensor]
Result = TypeVar("Result")
Loss = Literal["squared", "softmax"]
Said = Callable[[str], None]
FEWEST_WIDTHS = 5
"""An exponent, its correction and a test of the fit without the smallest width."""
Trainer = Callable[[nn.Module, float], torch.optim.Optimizer]


class ModelError(ValueError):
    """A model that cannot be asked; the message names the file and the line where there is one."""


@dataclass(frozen=True)
class Model:
    """What is asked about.

    build(width): the module, drawn at random. batch(samples, generator), or batch(samples, generator, width) where
    the inputs widen with the model: inputs (samples, ...). widths: those to measure at, if the file names them.
    optimizer(module, rate): what trains it, plain Adam or gradient descent if None. exponents: by the name of a module
    the exponents of the width that its outputs at the start and their change have, where they are not 0.
    path: the file that it comes from, from which other processes build it too; data: the file of its inputs.
    """

    build: Build
    batch: Batch
    optimizer: Trainer | None = None
    exponents: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    widths: tuple[int, ...] | None = None
    path: Path | None = None
    data: Path | None = None

    def module(self, width: int, seed: int) -> nn.Module:
        """The module of this width in double precision, drawn from the seed."""
        with self.errors(f"build({width})", self.build):
            torch.manual_seed(seed)
            made = self.build(width)
        if not isinstance(made, nn.Module):
            raise ModelError(f"{self.where(self.build)}: build({width}) returned {type(made).__name__}, not a module")
        return made.double()

    def inputs(self, samples: int, width: int, seed: int) -> Tensor:
        """Inputs drawn from the seed; those that are not whole numbers in double precision."""
        generator = torch.Generator().manual_seed(seed)
        with self.errors(f"batch({samples})", self.batch):
            made = self.batch(samples, generator, *([width] if _takes(self.batch, 3) else ()))
        if not isinstance(made, Tensor) or made.ndim < 1 or len(made) != samples:
            what = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
            raise ModelError(f"{self.where(self.batch)}: batch({samples}) returned {what}; it must be ({samples}, ...)")
        return made.double() if made.is_floating_point() else made

    def errors(self, what: str, function: Callable[..., Any] | None = None) -> _Errors:
        """Turns what the model's own code raises into one line with its place."""
        return _Errors(self, what, function)

    def where(self, function: Callable[..., Any] | None) -> str:
        """FILE:LINE of a function."""
        code = getattr(function, "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if code else str(self.path or "the model")


@dataclass(frozen=True)
class _Errors:
    model: Model
    what: str
    function: Callable[..., Any] | None

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ModelError):
            where = self.model.where(self.function)
            if self.model.path is not None:
                found = place(error, self.model.path)
                where = found if found != str(self.model.path) else where
            first = (str(error).splitlines() or [""])[0]
            raise ModelError(f"{where}: {self.what} raised {type(error).__name__}: {first}") from error


def run_file(path: Path) -> ModuleType:
    """What a Python file defines; its code is run. Every failure is a ModelError with its line."""
    path = path.resolve()
    if path.suffix != ".py" or not path.is_file():
        raise ModelError(f"{path}: it must be a Python file that exists; name one")
    try:
        return run_code(path, compile(path.read_bytes(), str(path), "exec", dont_inherit=True))
    except ExtensionError as error:
        raise ModelError(f"{place(error.__cause__ or error, path)}: {error}") from error
    except SyntaxError as error:
        raise ModelError(f"{path}:{error.lineno}: not valid Python, {error.msg}; correct it") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"{place(error, path)}: running the file raised {type(error).__name__}: {error}") from error


@cache
def load(path: Path, digest: str = "", data: Path | None = None) -> Model:
    """The model that a file defines with ``build`` and, unless there is a file of data, ``batch``; see `Model`.

    digest: SHA-256 that the file must have, if any: a worker refuses one that changed meanwhile.
    """
    found: Any = run_file(path)
    if digest and digest_of(path) != digest:
        raise ModelError(f"{path} changed while it was in use; start again")
    build: Any = getattr(found, "build", None)
    batch: Any = getattr(found, "batch", None)
    if not _takes(build, 1):
        raise ModelError(f"{path}: it must define build(width), which returns a torch.nn.Module")
    if data is not None:
        batch = _rows_of(data)
    elif not (_takes(batch, 2) or _takes(batch, 3)):
        raise ModelError(
            f"{path}: it must define batch(samples, generator), which returns inputs (samples, ...); or name a file of "
            "them with --data FILE.npy"
        )
    optimizer, exponents = getattr(found, "optimizer", None), getattr(found, "exponents", {})
    if not _are_exponents(exponents):
        raise ModelError(f'{path}: exponents = {exponents!r} must be like {{"head": (-0.5, 0.0)}}, size and change')
    widths: Any = getattr(found, "widths", None)
    if widths is not None and not (isinstance(widths, tuple | list) and all(isinstance(w, int) for w in widths)):
        raise ModelError(f"{path}: widths = {widths!r} must be whole numbers, such as (8, 16, 32, 64, 128)")
    named = None if widths is None else tuple(widths)
    return Model(build, batch, optimizer, exponents, named, path.resolve(), data)


def top_up(
    model: Model,
    work: Callable[..., Result],
    have: Mapping[int, list[Result]],
    counts: Mapping[int, int],
    arguments: Callable[[int, int], tuple[Any, ...]],
    pool: Pool | None,
    said: Said,
) -> None:
    """Draw networks of every width until ``have`` holds ``counts`` of them, in the order of their seeds 0, 1, ...
    whatever process was first: work(model, *arguments(width, seed)), the widest first.

    Other processes build the model from its file; one without a file is asked in this process.
    """
    if model.path is None:
        function, pool = partial(work, model), None
    else:
        function = partial(_of_file, work, model.path, digest_of(model.path), model.data)
    todo = [(width, seed) for width in reversed([*counts]) for seed in range(len(have[width]), counts[width])]
    found: dict[tuple[int, int], Result] = {}
    for key, outcome in completed(pool, ((key, partial(function, *arguments(*key))) for key in todo)):
        if isinstance(outcome, Exception):
            raise outcome
        found[key] = outcome
        said(f"width {key[0]}, network {key[1] + 1}")
    for width, seed in todo:
        have[width].append(found[width, seed])


def _of_file(work: Callable[..., Any], path: Path, digest: str, data: Path | None, *arguments: Any) -> Any:
    return work(load(path, digest, data), *arguments)


def enough(widths: Sequence[int]) -> tuple[int, ...]:
    """The widths in order; refused where they are too few for an exponent."""
    if len(set(widths)) < FEWEST_WIDTHS or min(widths) < 1:
        raise ModelError(
            f"widths {','.join(map(str, widths))}: {FEWEST_WIDTHS} or more different positive ones are needed to "
            "tell an exponent from its corrections"
        )
    return tuple(sorted(set(widths)))


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return sha256(path.read_bytes()).hexdigest()


def _takes(function: Any, count: int) -> bool:
    """Whether it is a function that can be called with so many arguments."""
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


def _are_exponents(value: Any) -> bool:
    def pair(v: Any) -> bool:
        return isinstance(v, tuple | list) and len(v) == 2 and all(isinstance(x, int | float) for x in v)

    return isinstance(value, Mapping) and all(isinstance(n, str) and pair(v) for n, v in value.items())


def _rows_of(file: Path) -> Batch:
    """Rows of an array in a file, drawn without repetition."""
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ModelError(f"--data {file}: {error}; give an .npy file with an array (N, ...)") from None
    if not isinstance(array, np.ndarray) or array.ndim < 1 or array.dtype.kind not in "fiu":
        raise ModelError(f"--data {file}: it must be one array of numbers (N, ...), as numpy.save writes it")
    if not np.isfinite(array).all():
        raise ModelError(f"--data {file}: it has numbers that are not finite; clean them first")
    rows = torch.as_tensor(array)

    def batch(samples: int, generator: torch.Generator) -> Tensor:
        if samples > len(rows):
            raise ModelError(f"--data {file}: {len(rows)} rows, and {samples} samples are asked for; take fewer")
        return rows[torch.randperm(len(rows), generator=generator)[:samples]]

    return batch
