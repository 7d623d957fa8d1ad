"""What every activation and normalization must satisfy, ours and added ones alike, to be a definition at all.

It says nothing of the theory's order parameters; it makes sure that what is measured is what the file defines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import sympy as sp
import torch
from torch import Tensor

from fimcheck import theory
from fimcheck.numerics import outputs as torch_outputs
from fimcheck.numerics.activations import resolve_activation
from fimcheck.numerics.steps.elementwise import DEFINED
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.network.outputs import OUTPUTS
from fimcheck.theory.network.step import STEPS
from fimcheck.verify.claims.extension import SECONDS, time_limit
from fimcheck.verify.examine.subjects import GAMMA, Subject, signals, subjects

# Rounding of a sum of some hundred terms, relative to the largest; float32 in its own unit.
ROUNDING = 1e-11
STEP = 1e-3
# Beyond the reach of every signal whose variance is of order one.
POINTS = np.concatenate([np.linspace(-6.013, 6.017, 31), [-37.3, -12.1, 12.7, 38.9]])


@dataclass(frozen=True)
class Check:
    """One requirement, and what is wrong: an empty text where it is met."""

    subject: str
    requirement: str
    fault: str


def conformance(name: str, device: str = "cpu") -> Callable[[], None]:
    """A test function for pytest: ``test_my_norm = conformance("my_norm")`` examines everything of this name.

    >>> test = verify.conformance("tanh")
    >>> test()
    """

    def test() -> None:
        faults = [f"{c.subject}: {c.requirement}: {c.fault}" for c in checks(name, device) if c.fault]
        assert not faults, "\n".join(faults)

    return test


def checks(name: str, device: str = "cpu") -> Iterator[Check]:
    """Every requirement on the activation and the normalizations of this name, up to the first that is not met."""
    found = list(subjects(name))
    if not found:
        raise ValueError(f"{name!r} is neither an activation nor a normalization; add it first")
    for subject in found:
        requirements = dict(_REQUIREMENTS)
        if subject.role == "activation":
            requirements |= {"agrees with its expression": _agrees, "elementwise": _elementwise}
        else:
            requirements["derivative"] = _derivative
        if subject.role == "step" and subject.name in STEPS:
            requirements["theory and definition mix samples alike"] = _mixes
        if subject.name in OUTPUTS and OUTPUTS[subject.name].added and subject.role == "output normalization":
            requirements["Jacobian of theory equals that of the definition"] = _same_jacobian
        for requirement, try_it in requirements.items():
            with time_limit(SECONDS, f"{name}, {requirement}"):
                fault = try_it(subject, device)
            yield Check(f"{subject.role} {name}", requirement, fault)
            if fault:
                break  # what comes after takes it for granted


def _shape(subject: Subject, device: str) -> str:
    for shape in subject.shapes:
        found = subject.call(*signals(subject, shape, device))
        kept = -1 if subject.role == "step" else len(shape)  # a step may change the number of units
        if not isinstance(found, Tensor) or tuple(found.shape)[:kept] != shape[:kept]:
            return f"signals of shape {shape} become {getattr(found, 'shape', type(found).__name__)}"
    return ""


def _repeats(subject: Subject, device: str) -> str:
    at = signals(subject, subject.shapes[0], device)
    one, two = (subject.call(*(s.clone() for s in at)) for _ in range(2))
    same = torch.equal(one.nan_to_num(), two.nan_to_num())  # whether they are finite is asked next
    return "" if same else "two calls on the same signals differ: it must not draw random numbers"


def _pure(subject: Subject, device: str) -> str:
    at = signals(subject, subject.shapes[0], device)
    kept = [s.clone() for s in at]
    state, default = torch.get_rng_state(), torch.get_default_dtype()
    subject.call(*at)
    if not all(torch.equal(a, b) for a, b in zip(at, kept, strict=True)):
        return "it changes its argument: work on a copy, without operations in place"
    if not torch.equal(state, torch.get_rng_state()):
        return "it uses torch's global random numbers"
    return "" if torch.get_default_dtype() == default else "it changes torch's default dtype"


def _kind(subject: Subject, device: str) -> str:
    for dtype in (torch.float64, torch.float32):
        at = [s.to(dtype) for s in signals(subject, subject.shapes[0], device)]
        found = subject.call(*at)
        if found.dtype != dtype or found.device != at[0].device:
            return f"a signal of {dtype} on {at[0].device} becomes {found.dtype} on {found.device}"
    return ""


def _separate(subject: Subject, device: str) -> str:
    at = signals(subject, subject.shapes[0], device)
    together = subject.call(*at)
    apart = torch.stack([subject.call(*(s[i] for s in at)) for i in range(len(at[0]))])
    far = _far(together, apart)
    return "" if far <= ROUNDING else f"a network's result depends on the others in the batch, by {far:.1g}"


def _mixes(subject: Subject, device: str) -> str:  # noqa: ARG001
    stated, found = STEPS[subject.name].couples_samples, DEFINED[subject.name].couples
    words = "mixes samples" if found else "does not mix samples"
    return "" if stated == found else f"the definition {words}, and its theory says couples_samples = {stated}"


def _derivative(subject: Subject, device: str) -> str:
    """Along a random direction against central differences, whose own error two steps tell."""
    for shape in subject.shapes:
        at, along = signals(subject, shape, device), signals(subject, shape, device, 1)
        weight = signals(subject, shape, device, 2)[0][..., : subject.call(*at).shape[-1]]
        pulled = subject.pull(weight, at)
        stated = sum(float((p * d).sum()) for p, d in zip(pulled, along, strict=True))

        coarse, fine = (_difference(subject, at, along, weight, step) for step in (STEP, STEP / 2))
        size = float((weight.abs() * subject.call(*at).abs()).sum())
        far = abs((4 * fine - coarse) / 3 - stated)
        if not far <= abs(fine - coarse) + size * ROUNDING / STEP:
            return f"autograd gives {stated:.8g} along a direction, differences {fine:.8g}: is part of it detached?"
    return ""


def _difference(
    subject: Subject, at: tuple[Tensor, ...], along: tuple[Tensor, ...], weight: Tensor, step: float
) -> float:
    high, low = (subject.call(*(s + move * d for s, d in zip(at, along, strict=True))) for move in (step, -step))
    return float(((high - low) * weight).sum()) / (2 * step)


def _finite(subject: Subject, device: str) -> str:
    for scale in (1e-2, 1.0, 10.0):
        at = tuple(scale * s for s in signals(subject, subject.shapes[0], device))
        found = subject.call(*at)
        pulled = subject.pull(torch.ones_like(found), at)
        for what, values in (("values", found), ("derivatives", torch.stack(pulled))):
            bad = int((~values.isfinite()).sum())
            if bad:
                return f"{bad} of {values.numel()} {what} are not finite for finite signals of size {scale:g}"
    return ""


def _keeps_nan(subject: Subject, device: str) -> str:
    at = signals(subject, subject.shapes[0], device)
    at[0][(0,) * at[0].ndim] = float("nan")
    return "" if bool(subject.call(*at).isnan().any()) else "a signal that is not a number comes out finite"


def _agrees(subject: Subject, device: str) -> str:
    phi, torch_phi = theory.activation(subject.name).phi, resolve_activation(subject.name)
    points = [p for p in POINTS if all(abs(p - float(b)) > 1e-3 for b in phi.breaks)]
    at = torch.tensor(points, dtype=torch.float64, device=device)
    for what, exact, found in (
        ("phi", phi, torch_phi.value(at)),
        ("phi'", phi.derivative(), torch_phi.slope(at)),
    ):
        for point, value in zip(points, found.tolist(), strict=True):
            wanted = _exactly(exact, point)
            if not abs(value - wanted) <= ROUNDING * max(1.0, abs(wanted)):
                return f"{what}({point:.4g}) is {value:.10g} in torch and {wanted:.10g} by its expression"
    return ""


def _exactly(f: Function, point: float) -> float:
    branch = f.branches[sum(point >= float(b) for b in f.breaks)]
    return float(sp.N(branch.subs(theory.symbols.x, sp.Float(point, 40)), 25))


def _elementwise(subject: Subject, device: str) -> str:
    (at,) = signals(subject, subject.shapes[0], device)
    far = _far(subject.call(at), subject.call(at.flatten()).view(at.shape))
    return "" if far <= ROUNDING else "its result depends on the arrangement of the entries"


def _same_jacobian(subject: Subject, device: str) -> str:
    for shape in subject.shapes:
        outputs = signals(subject, shape, device)[0]
        found = torch_outputs.OUTPUTS[subject.name].apply(outputs, GAMMA)[2]
        assert found is not None
        for one, matrix in zip(outputs.cpu().numpy(), found.cpu().numpy(), strict=True):
            jacobian = OUTPUTS[subject.name].jacobian
            assert jacobian is not None
            stated = np.asarray(jacobian(one.T, GAMMA), dtype=float)
            if stated.shape != matrix.shape:
                return f"theory's has shape {stated.shape}, the definition's {matrix.shape}"
            far = float(np.abs(stated - matrix).max() / np.abs(matrix).max())
            if not far <= ROUNDING:
                return f"they differ by {far:.2g} of the largest entry at outputs of shape {shape[1:]}"
    return ""


def _far(a: Tensor, b: Tensor) -> float:
    """Largest difference relative to the largest entry; infinite where it is not a number."""
    far = float((a - b).abs().max() / a.abs().max())
    return far if far == far else float("inf")


_REQUIREMENTS: dict[str, Callable[[Subject, str], str]] = {
    "keeps the shape": _shape,
    "deterministic": _repeats,
    "pure": _pure,
    "finite": _finite,
    "keeps dtype and device": _kind,
    "each network on its own": _separate,
    "keeps nan": _keeps_nan,
}
