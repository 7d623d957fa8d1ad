"""The mean of the largest of many eigenvalues where a spectrum ends, in units of its scale there.

Alone it is that of Tracy and Widom. A term of finite rank pulls one eigenvalue out of the bulk, or nearly: with w its
distance from doing so on the same scale, positive before and negative after, the distribution function F(x, w) of the
largest solves F_x + (2/beta) F_ww + (x - w^2) F_w = 0 (Bloemendal and Virag 2013, theorem 1.7). For large w it is the
law of Tracy and Widom; for negative w the mean is w^2 + O(1/w).
"""

from functools import lru_cache

import numpy as np
from scipy import integrate, special

MEAN, SD, GAP = -1.2065335745820, 1.2680340480, 2.0558943283
"""Of the real symmetric Tracy-Widom law (Tracy and Widom 1996), and the mean gap to the second largest (values by
Bornemann 2010)."""

FARTHEST, POINTS = 10.0, 1001
"""The grid of w, from minus to plus."""

FIRST, LAST, STRIDE = 40.0, -9.0, 0.025
"""The grid of x, downwards: from where F is known to where it is 0."""

SURELY = 4.0
"""-w from which the mean is that of an eigenvalue apart: w^2 + 1/(2 |w|)."""


def mean_near(w: float) -> float:
    """The mean at w; inf: no term of finite rank.

    >>> round(tracy_widom.mean_near(np.inf), 3), round(tracy_widom.mean_near(0.0), 3)
    (-1.207, 0.046)
    """
    if w > 0.9 * FARTHEST:
        return MEAN + 1 / w - 0.5 / w**3
    if w < -SURELY:
        return w**2 + 0.5 / abs(w)
    return float(np.interp(w, *means()))


@lru_cache(maxsize=2)
def means(beta: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """w and the mean at each, to 1e-4 for -w < `SURELY`; beta: 1 for real symmetric matrices, 2 for Hermitian ones."""
    w = np.linspace(-FARTHEST, FARTHEST, POINTS)
    step = w[1] - w[0]

    def downwards(minus_x: float, chance: np.ndarray) -> np.ndarray:
        padded = np.concatenate([[0.0], chance, [2 * chance[-1] - chance[-2]]])  # nothing comes from the right
        slope = (padded[2:] - padded[:-2]) / (2 * step)
        bend = (padded[2:] - 2 * chance + padded[:-2]) / step**2
        return 2 / beta * bend - (minus_x + w**2) * slope

    x = np.arange(FIRST, LAST - STRIDE / 2, -STRIDE)
    # At large x a chance to cross an unstable point, from the linear equation next to it.
    begin = special.ndtr((w + np.sqrt(FIRST)) * FIRST**0.25 * np.sqrt(beta))
    found = integrate.solve_ivp(
        downwards, (-FIRST, -LAST), begin, method="LSODA", t_eval=-x, lband=1, uband=1, rtol=1e-8, atol=1e-10
    )
    return w, FIRST + np.asarray(integrate.simpson(found.y, x=x, axis=1))  # x falls
