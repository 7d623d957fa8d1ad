"""Drawing networks and inputs: one seed is one network, the same everywhere."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from numerics.network import RandomNetwork

DTYPES = {"float64": torch.float64, "float32": torch.float32}
# Named in every record: a draw is (generator, seed, order of the numbers).
GENERATOR = "numpy.random.SFC64, standard_normal in float64, W^1 b^1 ... W^L b^L then inputs"


@dataclass(frozen=True)
class Draw:
    """A batch of S sampled networks with their inputs.

    weights[l-1]: (S, M_l, M_{l-1}); biases[l-1]: (S, M_l); inputs: (S, T, M_0).
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    inputs: Tensor


def draw(
    network: RandomNetwork,
    samples: int,
    seeds: Sequence[int],
    dtype: str = "float64",
    device: str = "cpu",
    inputs: Tensor | None = None,
) -> Draw:
    """Sample one network per seed, with T = ``samples`` standard normal inputs each.

    Numbers are drawn on the CPU in float64, weights first, so a seed's network depends neither on T, nor
    on the other seeds, the dtype or the device; float32 is the same draw rounded. Seeds are whole numbers
    in [0, 2^63). numpy's generator is used and not torch's, which keeps only the low 32 bits of a seed.
    ``inputs`` of shape (T, M_0) takes the place of the drawn inputs, the same for every seed.
    """
    if not isinstance(network, RandomNetwork):
        raise TypeError(f"{type(network).__name__}: a composed network is drawn by numerics.composed.draw")
    network.check_samples(samples)
    check_seeds(seeds)
    check_place(dtype, device)
    if inputs is not None and tuple(inputs.shape) != (samples, network.widths[0]):
        raise ValueError(
            f"inputs of shape {tuple(inputs.shape)}: must be (samples, M_0) = ({samples}, {network.widths[0]})"
        )
    pairs = list(zip(network.widths[1:], network.widths[:-1], strict=True))
    drawn = samples * network.widths[0] if inputs is None else 0
    total = sum(out * (into + 1) for out, into in pairs) + drawn
    numbers = torch.empty(len(seeds), total, dtype=torch.float64)
    fill(numbers.numpy(), seeds)

    weights, biases, start = [], [], 0
    for out, into in pairs:
        raw = numbers[:, start : start + out * into].view(-1, out, into)
        start += out * into
        weights.append(_scaled(raw, network))
        biases.append(numbers[:, start : start + out].mul_(network.sigma_b2**0.5))
        start += out
    own = numbers[:, start:].view(len(seeds), -1, network.widths[0])
    h = own if inputs is None else inputs.expand(len(seeds), -1, -1)

    def place(t: Tensor) -> Tensor:
        return t.to(device=device, dtype=DTYPES[dtype])

    return Draw(tuple(map(place, weights)), tuple(map(place, biases)), place(h))


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise ``ValueError`` unless ``seeds`` holds at least one whole number, each in [0, 2^63)."""
    if len(seeds) == 0:
        raise ValueError("seeds is empty: give at least one whole number in [0, 2^63)")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
            raise ValueError(f"seed {seed!r}: a seed must be a whole number in [0, 2^63)")


def check_place(dtype: str, device: str) -> None:
    """Raise ``ValueError`` for an unknown dtype or a device that this machine lacks."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype = {dtype!r} is unknown: use one of {', '.join(DTYPES)}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises either
        raise ValueError(f"device = {device!r} cannot be used here ({error}): use 'cpu'") from error


def fill(numbers: np.ndarray, seeds: Sequence[int]) -> None:
    """Standard normal numbers of every seed into its row."""

    def fill_row(row: int) -> None:
        np.random.Generator(np.random.SFC64(int(seeds[row]))).standard_normal(out=numbers[row])

    # numpy fills without holding the interpreter, so threads share the work.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(fill_row, range(len(seeds))))


def _scaled(raw: Tensor, network: RandomNetwork) -> Tensor:
    out, into = raw.shape[1:]
    if network.weights == "gaussian":
        return raw.mul_((network.sigma_w2 / into) ** 0.5)
    tall = raw if out >= into else raw.mT
    q, r = torch.linalg.qr(tall)
    # Fixing the sign of the diagonal of R makes Q uniform (Mezzadri 2007).
    q = q * torch.sgn(torch.diagonal(r, dim1=-2, dim2=-1)).unsqueeze(-2)
    q = q if out >= into else q.mT
    return q * (network.sigma_w2 * max(out, into) / into) ** 0.5
