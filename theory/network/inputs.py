"""Given inputs: T samples of equal norm, known to the theory by their overlaps."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class GivenInputs:
    """kernel: overlaps x_s . x_t / d of T inputs in d dimensions, with ones on the diagonal."""

    kernel: np.ndarray

    def __post_init__(self) -> None:
        kernel = np.array(self.kernel, float)
        T = len(kernel)
        if kernel.shape != (T, T) or T < 2 or not np.all(np.isfinite(kernel)) or not np.allclose(kernel, kernel.T):
            raise ValueError(f"inputs: overlaps of shape {kernel.shape}; give a symmetric finite T x T matrix, T >= 2.")
        if not np.allclose(np.diag(kernel), 1, rtol=0, atol=1e-9):
            raise ValueError("inputs: their norms differ; scale every input to mean square 1 over its entries.")
        kernel = np.clip((kernel + kernel.T) / 2, -1, 1)
        np.fill_diagonal(kernel, 1.0)
        if (smallest := np.linalg.eigvalsh(kernel)[0]) < -1e-9 * T:
            raise ValueError(
                f"inputs: their overlaps have the negative eigenvalue {smallest:.3g}, which no inputs can have; give "
                "x_s . x_t / d of T inputs."
            )
        kernel.setflags(write=False)
        object.__setattr__(self, "kernel", kernel)

    @property
    def samples(self) -> int:
        """T."""
        return len(self.kernel)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GivenInputs) and np.array_equal(self.kernel, other.kernel)

    def __hash__(self) -> int:
        return hash(self.kernel.tobytes())
