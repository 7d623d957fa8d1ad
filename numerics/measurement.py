"""Measure a random network: raw draws of every quantity, one per seed, never only means."""

import platform
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from json import dumps, loads
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from fimcheck.numerics import orders, overlaps
from fimcheck.numerics.activations import ACTIVATIONS
from fimcheck.numerics.chain import RandomNetwork
from fimcheck.numerics.composition import Composition
from fimcheck.numerics.cost import prefers_matrix_free
from fimcheck.numerics.descent import stable_rates
from fimcheck.numerics.dual import gram_of
from fimcheck.numerics.eigenspace import alignment
from fimcheck.numerics.eigenvalues import TOP, eigenvalue_quantities, random_block, top_count, top_quantities
from fimcheck.numerics.krylov import Operator, default_tolerance, top_eigenvalues
from fimcheck.numerics.matrixfree import dual_operator
from fimcheck.numerics.memory import MEMORY, out_of_memory
from fimcheck.numerics.network import Network
from fimcheck.numerics.passes import Forward, forward
from fimcheck.numerics.quantities import MATRIX, OUTPUT_STATISTICS, QUANTITIES, SHARED, check
from fimcheck.numerics.sampling import GENERATOR, Draw, check_seeds, draw

# Seeds are computed together in groups whose working set stays within this many bytes: past the caches a
# larger group gains nothing.
GROUP = 2**25


@dataclass(frozen=True)
class Measurement:
    """Raw draws of some quantities of one network.

    draws[quantity] has one row per seed: (S,) for numbers, (S, layers) for order parameters, (S, T, C)
    for outputs and raw_outputs, (S, 8) for quantiles, (S, units, 1 + C) for shared. A draw whose network or matrix is
    not finite is nan, never dropped: see ``finite``.
    notes tells of anything done differently than asked, such as smaller groups of seeds for want of memory.
    versions names what the numbers were made with: python, numpy, torch, the generator and the number of
    threads.
    """

    network: Network
    samples: int
    seeds: tuple[int, ...]
    draws: dict[str, np.ndarray]
    dtype: str
    device: str
    versions: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def finite(self) -> np.ndarray:
        """For each seed, whether every number drawn is finite: (S,) booleans."""
        flags = [np.isfinite(d).reshape(len(self.seeds), -1).all(1) for d in self.draws.values()]
        return np.logical_and.reduce(flags)

    def to_record(self) -> dict:
        """A dictionary of plain JSON values that ``from_record`` turns back into an equal measurement.

        Numbers that are not finite become the strings nan, inf, -inf: JSON has none. Refuses a network
        whose activation is a function, which no record can hold.
        """
        if isinstance(self.network, RandomNetwork) and not isinstance(self.network.activation, str):
            raise ValueError(
                f"activation {self.network.phi.name} is a function and cannot be written to a record: "
                f"use one of {', '.join(ACTIVATIONS)}"
            )
        network = loads(dumps(asdict(cast(Any, self.network))))  # lists for tuples
        draws = {name: _plain(values.tolist()) for name, values in self.draws.items()}
        return {
            "network": network,
            "samples": self.samples,
            "seeds": list(self.seeds),
            "draws": draws,
            "dtype": self.dtype,
            "device": self.device,
            "versions": dict(self.versions),
            "notes": list(self.notes),
        }

    @classmethod
    def from_record(cls, record: dict) -> "Measurement":
        """The measurement that ``to_record`` wrote."""
        kind = Composition if "description" in record["network"] else RandomNetwork
        network = kind(**record["network"])
        draws = {name: np.array(values, dtype=np.float64) for name, values in record["draws"].items()}
        rest = {name: record[name] for name in ("samples", "dtype", "device", "versions")}
        return cls(network=network, seeds=tuple(record["seeds"]), draws=draws, notes=tuple(record["notes"]), **rest)


def measure(
    network: Network,
    samples: int,
    seeds: Sequence[int],
    quantities: Sequence[str],
    dtype: str = "float64",
    device: str = "cpu",
    inputs: Tensor | None = None,
    memory: int = MEMORY,
) -> Measurement:
    """Draw one network per seed, with ``samples`` (T) inputs each, and measure ``quantities`` of each.

    What they are: `numerics.quantities`. Only what they need is computed.

    ``inputs`` (T, M_0) replaces the Gaussian inputs. ``memory`` bounds, in bytes, the work under hidden
    batch normalization. Raises ``ValueError`` for a quantity this network does not have, and for bad
    seeds, samples, dtype or device.

    >>> net = numerics.RandomNetwork((64, 64, 64, 1), "relu", sigma_w2=2, sigma_b2=0.1)
    >>> found = numerics.measure(net, 10, range(3), ["m", "lambda_max"])
    >>> found.draws["lambda_max"].round(1)
    array([57.2, 70.9, 56.5])
    """
    if len(quantities) == 0:
        raise ValueError(f"quantities is empty: ask for some of {', '.join(QUANTITIES)}")
    for quantity in quantities:
        check(network, quantity)
    network.check_samples(samples)
    check_seeds(seeds)
    parts, notes = _in_groups(network, samples, seeds, quantities, dtype, device, inputs, memory)
    draws = {name: torch.cat([part[name] for part in parts]).double().cpu().numpy() for name in parts[0]}
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "generator": GENERATOR,
        "threads": str(torch.get_num_threads()),
    }
    return Measurement(network, samples, tuple(int(s) for s in seeds), draws, dtype, device, versions, notes)


def _in_groups(
    network: Network,
    samples: int,
    seeds: Sequence[int],
    quantities: Sequence[str],
    dtype: str,
    device: str,
    inputs: Tensor | None,
    memory: int,
) -> tuple[list[dict[str, Tensor]], tuple[str, ...]]:
    """The draws of a group of seeds at a time, and what was done differently for want of memory."""
    group = max(1, GROUP // _bytes_per_seed(network, samples))
    parts, notes, start = [], (), 0
    while start < len(seeds):
        try:
            drawn = draw(network, samples, seeds[start : start + group], dtype, device, inputs)
            parts.append(_measure_group(network, drawn, quantities, memory))
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error) or (group == 1 and memory < 2**20):
                raise
            group, memory = (group // 2, memory) if group > 1 else (1, memory // 2)
            notes = (f"out of memory: {group} seeds at a time, work within {memory} bytes",)
            continue
        start += group
    return parts, notes


def _measure_group(network: Network, drawn: Draw, quantities: Sequence[str], memory: int) -> dict[str, Tensor]:
    run = forward(network, drawn)
    values: dict[str, Tensor] = {"outputs": run.outputs, "raw_outputs": run.raw}
    wanted = set(quantities)
    if wanted & set(orders.FORWARD_ORDERS):
        values |= orders.forward_orders(network, run)
    if wanted & set(orders.BACKWARD_ORDERS):
        values |= orders.backward_orders(network, run)
    if wanted & set(orders.COUPLED_ORDERS):
        values |= orders.coupled_orders(network, drawn, run)
    if SHARED in wanted:
        values[SHARED] = orders.shared_fields(network, drawn, run)
    if wanted & {"K", "mean"}:
        values |= overlaps.forward_overlaps(network, run)
    if "tq" in wanted:
        values |= overlaps.backward_overlaps(network, run)
    if "Th" in wanted:
        values |= overlaps.tangent_overlaps(network, drawn, run)
    if wanted & set(OUTPUT_STATISTICS):
        assert run.last is not None
        assert run.last.gain is not None
        values |= network.output.statistics(run.last.gain, network.last_gamma)
    matrix, found = wanted & set(MATRIX), None
    if matrix and "alignment" not in wanted:
        found = _matrix_free(network, run, lambda: dual_operator(network, drawn, run), matrix)
    if found is not None:
        values |= found
    elif matrix or "alignment" in wanted:
        g = gram_of(network, drawn, run, memory)
        values |= eigenvalue_quantities(network, g, matrix)
        if "alignment" in wanted:
            values["alignment"] = alignment(g, network.outputs)
    if "stable_rate" in wanted:
        values["stable_rate"] = stable_rates(network, drawn)
    return {name: values[name] for name in quantities}


def _matrix_free(
    network: Network,
    run: Forward,
    operator: Callable[[], Operator],
    wanted: AbstractSet[str],
) -> dict[str, Tensor] | None:
    """lambda_max, lambda_top and gap without the matrix, if only they are wanted, it is cheaper and it
    converges.
    """
    samples, count = run.outputs.shape[1], top_count(wanted, network.outputs)
    rows = network.outputs * samples
    if not wanted <= TOP or count >= rows or not prefers_matrix_free(network, samples, count):
        return None
    if not bool(run.outputs.isfinite().all()):
        return None
    start = random_block(run.outputs, rows, count)
    found = top_eigenvalues(operator(), start, count, default_tolerance(start.dtype))
    return top_quantities(found.values, network.outputs) if found.converged else None


def _bytes_per_seed(network: Network, samples: int) -> int:
    """A rough size of one seed's work: its weights, its matrix and its backward signals."""
    rows = network.outputs * samples
    places, units = samples * network.positions, max(dense.units for dense in network.dense.values())
    signals = places * max(units, network.inputs) * network.outputs * (samples if network.couples_samples else 1)
    return 8 * (network.parameters + 2 * rows**2 + 3 * signals + 2 * places**2)


def _plain(values: object) -> object:
    """Nested lists with every number that is not finite as a string."""
    if isinstance(values, list):
        return [_plain(v) for v in values]
    return values if not isinstance(values, float) or np.isfinite(values) else str(values)
