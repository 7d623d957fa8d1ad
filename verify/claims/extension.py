"""Loading a theory extension: one Python file that adds activations, normalizations and claims by name.

Loading a file runs its code; nothing is looked for or loaded that was not named.
"""

from __future__ import annotations

import ast
import inspect
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import sympy as sp
import torch
from torch import Tensor

from fimcheck import numerics, theory
from fimcheck.numerics import activations as torch_activations
from fimcheck.numerics import outputs as torch_outputs
from fimcheck.numerics.steps.elementwise import DEFINED
from fimcheck.theory.gaussian import activations
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.network import outputs as theory_outputs
from fimcheck.theory.network.chain import hidden_names
from fimcheck.theory.network.step import STEPS
from fimcheck.verify.claims import networks, paper
from fimcheck.verify.claims.claim import at_unit_width
from fimcheck.verify.claims.kinds import order_parameters

FOLDERS = ("theory", "numerics", "verify")
SECONDS = 60
"""Time that loading a file, or one call of what it defines, may take."""


class ExtensionError(ValueError):
    """A theory extension that cannot be used; the message names the file and the line."""


@dataclass(frozen=True)
class Extension:
    """A file that was loaded: path, SHA-256 of its bytes, and the names that it added.

    generated: activations whose torch function was made from their expression.
    """

    path: Path
    sha256: str
    activations: tuple[str, ...]
    hidden: tuple[str, ...]
    outputs: tuple[str, ...]
    claims: tuple[str, ...]
    generated: tuple[str, ...]

    def forget(self) -> None:
        """Take the names away again, so that another file may use them."""
        own = self.activations, self.hidden, self.outputs
        _remove([*(names for names in own for _ in ("theory", "numerics")), self.claims])
        IN_USE.pop(str(self.path), None)

    def line(self, name: str) -> str:
        """FILE:LINE of the definition of a name, or where the name is first written; FILE where neither is found."""
        for registry in (DEFINED, torch_outputs.OUTPUTS):
            code = getattr(getattr(registry.get(name), "function", None), "__code__", None)
            if code is not None and code.co_filename == str(self.path):
                return f"{self.path}:{code.co_firstlineno}"
        return _line(self.path, name)


IN_USE: dict[str, Extension] = {}
# What can be added by name; the first three both to theory and to numerics.
REGISTRIES: tuple[dict[str, Any], ...] = (
    activations.BUILTIN,
    torch_activations.FUNCTIONS,
    STEPS,
    DEFINED,
    theory_outputs.OUTPUTS,
    torch_outputs.OUTPUTS,
    paper.CLAIMS,
)


def load(path: Path, seconds: float = SECONDS) -> Extension:
    """Run an extension file and check that theory and numerics both know what it adds.

    Raises ExtensionError, and adds nothing, for a file that is missing, malformed, fails, takes longer than
    ``seconds``, or adds a name to one side only. An activation of the theory alone is not an error: its torch
    function is made from its expression.
    """
    path = path.resolve()
    if path.suffix != ".py" or not path.is_file():
        raise ExtensionError(f"extension {path}: it must be a Python file that exists; name one")
    if str(path) in IN_USE:
        raise ExtensionError(f"extension {path} is in use already; load it once")
    source = path.read_bytes()
    before = [set(registry) for registry in REGISTRIES]

    def added() -> list[set[str]]:
        return [set(registry) - names for registry, names in zip(REGISTRIES, before, strict=True)]

    try:
        _run(path, source, seconds)
        if not any(added()):
            raise ExtensionError(f"{path}: it adds nothing; call add_activation, add_step or add_claim")
        generated = _both_sides(path, added())
    except BaseException:
        _remove(added())
        raise
    active, _, hidden, _, outputs, _, claim_ids = (tuple(sorted(names)) for names in added())
    extension = Extension(path, sha256(source).hexdigest(), active, hidden, outputs, claim_ids, generated)
    IN_USE[str(path)] = extension
    return extension


def files_in_use() -> tuple[tuple[str, str], ...]:
    """Path and SHA-256 of every extension in use, for `load_in_worker`."""
    return tuple((path, extension.sha256) for path, extension in IN_USE.items())


def load_in_worker(files: tuple[tuple[str, str], ...]) -> None:
    """Load what the parent process has in use, unless this process has it; refuse a file that changed since."""
    for path, expected in files:
        found = IN_USE.get(path) or load(Path(path))
        if found.sha256 != expected:
            raise ExtensionError(f"{path} changed while it was in use; start again")


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Stop what takes longer, with an ExtensionError that says where it was.

    By an alarm signal, so only in the main thread and where the system has one; code that never returns to Python,
    such as one huge operation of torch, is stopped only when it does.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"no result after {seconds:g} seconds")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except TimeoutError as error:
        raise ExtensionError(f"{what}: {error}; is there an infinite loop?") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def place(error: BaseException, path: Path) -> str:
    """FILE:LINE of the innermost line of the file that an exception passed through, or FILE."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def run_code(path: Path, code: CodeType, seconds: float = SECONDS) -> ModuleType:
    """The module that the compiled code of a user's file makes, within a time limit; what it raises is passed on."""
    module = ModuleType(f"fimcheck_file_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        with time_limit(seconds, str(path)):
            exec(code, module.__dict__)
    except ModuleNotFoundError as error:
        if error.name in FOLDERS:  # their names until version 0.1
            error.msg += f"; write from fimcheck import {error.name}"
        raise
    return module


def _run(path: Path, source: bytes, seconds: float) -> None:
    try:
        code = compile(source, str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ExtensionError(f"{path}{f':{line}' if line else ''}: not valid Python, {error}; correct it") from error
    try:
        run_code(path, code, seconds)
    except ExtensionError as error:
        raise ExtensionError(f"{place(error.__cause__ or error, path)}: {error}") from error
    except (Exception, SystemExit) as error:
        text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ExtensionError(f"{place(error, path)}: {text}") from error


def _both_sides(path: Path, added: list[set[str]]) -> tuple[str, ...]:
    """Refuse a name that one side lacks; make the torch function of activations that have none, and name these."""
    active, torch_active, hidden, torch_hidden, outputs, torch_outputs, claim_ids = added
    for what, ours, theirs in (
        ("step", hidden, torch_hidden),
        ("output_normalization", outputs, torch_outputs),
    ):
        for one, other, names in (("theory", "numerics", ours - theirs), ("numerics", "theory", theirs - ours)):
            for name in sorted(names):
                raise ExtensionError(
                    f"{_line(path, name)}: {what.replace('_', ' ')} {name!r} is added to {one} and not to {other}; "
                    f"call {other}.add_{what}({name!r}, ...) too"
                )
    for name in sorted(torch_active - active):
        raise ExtensionError(
            f"{_line(path, name)}: activation {name!r} is added to numerics and not to theory; call "
            f"theory.add_activation({name!r}, expression) too"
        )
    for id in sorted(claim_ids):
        claim = paper.CLAIMS[id]
        try:
            inspect.signature(claim.prediction).bind(None, None)
        except TypeError:
            raise ExtensionError(
                f"{_line(path, id)}: claim {id!r}: prediction takes {inspect.signature(claim.prediction)}; it must "
                "take (setting, wide=None), wide a network in place of the setting's"
            ) from None
        for name, known in ((claim.hidden, hidden_names()), (claim.last, theory_outputs.names())):
            if name not in known:
                raise ExtensionError(
                    f"{_line(path, id)}: claim {id!r} is about the normalization {name!r}, which nothing adds; use one "
                    f"of {', '.join(known)}"
                )
    missing = tuple(sorted(active - torch_active))
    for name in missing:
        phi = theory.activation(name).phi
        numerics.add_activation(name, in_torch(phi), in_torch(phi.derivative()))
    return missing


def in_torch(f: Function) -> Callable[[Tensor], Tensor]:
    """The regular part of a function for torch: each branch sees points of its own interval alone, so that one which is
    not defined elsewhere, such as (-x)^(3/2), spoils neither the value nor its derivative there.
    """
    breaks = [float(b) for b in f.breaks]
    branches = [sp.lambdify(theory.symbols.x, _with_numbers(b), "torch") for b in f.branches]
    ends = [breaks[0] - 1, *breaks, breaks[-1] + 1] if breaks else [0.0, 0.0]
    inside = [(low + high) / 2 for low, high in pairwise(ends)]

    def value(u: Tensor) -> Tensor:
        interval = torch.bucketize(u.detach(), u.new_tensor(breaks), right=True)
        total = torch.zeros_like(u)
        for i, (branch, point) in enumerate(zip(branches, inside, strict=True)):
            own = interval == i
            total = torch.where(own, branch(torch.where(own, u, point)), total)
        return total

    return value


def _with_numbers(branch: sp.Expr) -> sp.Basic:
    """Constants such as sqrt(2) as decimal numbers: torch takes no exact ones."""

    def is_exact(e: sp.Basic) -> bool:
        return isinstance(e, sp.Expr) and e.is_number and not e.is_Integer and not e.is_Float

    return branch.replace(is_exact, lambda e: sp.Float(e, 17))


def _line(path: Path, name: str) -> str:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Constant) and node.value == name:
            return f"{path}:{node.lineno}"
    return str(path)


def _remove(added: Iterable[Iterable[str]]) -> None:
    for registry, names in zip(REGISTRIES, added, strict=True):
        for name in tuple(names):
            registry.pop(name, None)
    for remembered in (order_parameters, at_unit_width, activations.named, networks.wide):
        remembered.cache_clear()
