"""Drawing networks and inputs: one seed is one network, the same everywhere."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fimcheck.numerics.network import Network

DTYPES = {"float64": torch.float64, "float32": torch.float32}
# Named in every record: a draw is (generator, seed, order of the numbers).
GENERATOR = "numpy.random.SFC64, standard_normal in float64, W^1 b^1 ... W^L b^L then inputs"


@dataclass(frozen=True)
class Draw:
    """A batch of S sampled networks with their inputs.

    numbers: by path of a step and name: weights W (S, units, fan-in), biases b (S, units), and what else a step draws.
    inputs: (S, T, M_0), or (S, T, N, M_0) for a composition.
    """

    numbers: Mapping[str, Tensor]
    inputs: Tensor

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """Weights of all steps in order: weights[l-1] of a chain is (S, M_l, M_{l-1})."""
        return tuple(value for name, value in self.numbers.items() if name.endswith(".W"))

    @property
    def biases(self) -> tuple[Tensor, ...]:
        """Biases of all steps in order: biases[l-1] of a chain is (S, M_l)."""
        return tuple(value for name, value in self.numbers.items() if name.endswith(".b"))


def draw(
    network: Network,
    samples: int,
    seeds: Sequence[int],
    dtype: str = "float64",
    device: str = "cpu",
    inputs: Tensor | None = None,
) -> Draw:
    """Sample one network per seed, with T = ``samples`` standard normal inputs each.

    Numbers are drawn on the CPU in float64, weights first, then inputs, then masks, so a seed's network depends neither
    on T, nor on the other seeds, the dtype or the device; float32 is the same draw rounded. Seeds are whole numbers
    in [0, 2^63). numpy's generator is used and not torch's, which keeps only the low 32 bits of a seed.
    ``inputs`` (without the axis of the seeds) takes the place of the drawn inputs, the same for every seed.

    >>> net = numerics.RandomNetwork((8, 16, 16, 1), "relu")
    >>> numerics.draw(net, 5, [0, 1]).inputs.shape
    torch.Size([2, 5, 8])
    """
    network.check_samples(samples)
    check_seeds(seeds)
    check_place(dtype, device)
    shape = network.input_shape(samples)
    if inputs is not None and math.prod(inputs.shape) != math.prod(shape):
        raise ValueError(f"inputs of shape {tuple(inputs.shape)}: must be {shape}, samples first and M_0 last")
    wanted = list(network.steps.draws(network.start(samples), ""))
    masks = [w for w in wanted if w[0].endswith(".mask")]
    order = [w for w in wanted if w not in masks] + ([("inputs", shape)] if inputs is None else []) + masks
    sizes = [math.prod(s) for _, s in order]
    raw = torch.empty(len(seeds), sum(sizes), dtype=torch.float64)
    fill(raw.numpy(), seeds)
    numbers = {n: part.view(-1, *s) for (n, s), part in zip(order, raw.split(sizes, 1), strict=True)}
    for path, dense in network.dense.items():
        names = f"{path}.W", f"{path}.b"
        numbers |= zip(names, dense.scaled(*(numbers[n] for n in names)), strict=True)
    placed = {name: value.to(device=device, dtype=DTYPES[dtype]) for name, value in numbers.items()}
    if inputs is None:
        return Draw(placed, placed.pop("inputs"))
    h = inputs.view(shape).expand(len(seeds), *shape)
    return Draw(placed, h.to(device=device, dtype=DTYPES[dtype]))


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

    rows, threads = range(len(seeds)), torch.get_num_threads()
    if threads == 1:
        for row in rows:
            fill_row(row)
        return
    # numpy fills without holding the interpreter, so threads share the work.
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill_row, rows))
