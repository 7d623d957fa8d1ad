"""Given inputs: a file of samples, or a builtin generator. They are the same at every width and for every network.

Inputs are scaled to mean square 1 over their entries, since the theory of given inputs needs equal norms.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np

GAUSSIAN = "gaussian"
GENERATORS = {
    "sphere": "sphere:D, uniform on the sphere in D dimensions",
    "spectrum": "spectrum:D:p, normal with covariance eigenvalues i^-p",
    "clusters": "clusters:D:a, two clusters at distance 2a of standard normal points",
}


class InputError(ValueError):
    """Inputs that cannot be used; the message names them, the rule they break and the remedy."""


def given_inputs(text: str, samples: int) -> np.ndarray:
    """The T = ``samples`` inputs (T, D) in float64 that a text names: a .npy or .csv file, or a generator."""
    found = _load(text) if text.endswith((".npy", ".csv")) else _generate(text, samples)
    if found.shape[0] != samples:
        raise InputError(f"inputs {text}: {found.shape[0]} samples, but T = {samples}; make T equal to their number")
    return found


@cache
def _load(text: str) -> np.ndarray:
    path = Path(text)
    try:
        found = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"inputs {text}: {error}; give a .npy or .csv file of T rows") from None
    if found.ndim != 2 or found.dtype.kind not in "fiub" or not np.isfinite(found).all():
        raise InputError(f"inputs {text}: shape {found.shape}, type {found.dtype}; give a finite real T x D matrix")
    return _scaled(found.astype(float), text)


def _generate(text: str, samples: int) -> np.ndarray:
    name, *arguments = text.split(":")
    try:
        dimension, *rest = (float(a) for a in arguments)
    except ValueError:
        dimension, rest = 0.0, []
    if name not in GENERATORS or dimension < 1 or dimension != int(dimension) or len(rest) != (name != "sphere"):
        known = "; ".join(GENERATORS.values())
        raise InputError(f"inputs {text!r}: known are {GAUSSIAN}, a .npy or .csv file, and {known}")
    D = int(dimension)
    seed = int.from_bytes(sha256(f"{text} T={samples}".encode()).digest()[:8], "big")
    points = np.random.Generator(np.random.SFC64(seed)).standard_normal((samples, D))
    if name == "spectrum":
        points *= np.arange(1, D + 1) ** (-rest[0] / 2)
    elif name == "clusters":
        points[:, 0] += rest[0] * np.where(np.arange(samples) % 2, 1.0, -1.0)
    return _scaled(points, text)


def _scaled(points: np.ndarray, text: str) -> np.ndarray:
    square = (points**2).mean(axis=1, keepdims=True)
    if not np.all(square > 0):
        raise InputError(f"inputs {text}: a sample of zeros cannot be scaled to unit mean square; leave it out")
    return points / np.sqrt(square)
