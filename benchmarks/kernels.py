"""Kernels of given inputs, beside neural_tangents.stax: one command, one table, eight architectures.

python -m benchmarks.kernels     # in an environment with jax, neural-tangents, sympy, scipy and mpmath; no torch
"""

import numpy as np

from fimcheck import theory

SIGMA_W2, SIGMA_B2, SAMPLES, DIMENSION = 1.7, 0.3, 12, 8


def dense() -> tuple:
    """A dense step in the NTK parametrization."""
    return "dense", {"param": "ntk"}, ()


def step(name: str, *branches: tuple) -> tuple:
    """A step without parameters of its own."""
    return name, {}, branches


def networks() -> dict[str, tuple[tuple, list]]:
    """Ours as a description, and the same layers of stax."""
    from neural_tangents import stax  # type: ignore[import-not-found]

    def fc() -> tuple:
        return stax.Dense(1, W_std=SIGMA_W2**0.5, b_std=SIGMA_B2**0.5)

    def skip(*layers: tuple) -> tuple:
        return stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), stax.serial(*layers)), stax.FanInSum())

    def gate(one: tuple, two: tuple) -> tuple:
        return stax.serial(stax.FanOut(2), stax.parallel(one, two), stax.FanInProd())

    relu, erf, sine = step("relu"), step("erf"), step("sin")
    block = step("skip", (step("layer"), relu, dense()))
    their_block = skip(stax.LayerNorm(), stax.Relu(), fc())
    gated = step("gate", (dense(), relu, dense()), (dense(),))
    return {
        "relu chain": ((dense(), relu, dense(), relu, dense()), [fc(), stax.Relu(), fc(), stax.Relu(), fc()]),
        "erf chain": ((dense(), erf, dense(), erf, dense()), [fc(), stax.Erf(), fc(), stax.Erf(), fc()]),
        "sin chain": ((dense(), sine, dense(), sine, dense()), [fc(), stax.Sin(), fc(), stax.Sin(), fc()]),
        "gelu, relu": ((dense(), step("gelu"), dense(), relu, dense()), [fc(), stax.Gelu(), fc(), stax.Relu(), fc()]),
        "abs, erf": ((dense(), step("abs"), dense(), erf, dense()), [fc(), stax.Abs(), fc(), stax.Erf(), fc()]),
        "residual": (
            (dense(), *2 * (step("skip", (relu, dense())),), relu, dense()),
            [fc(), skip(stax.Relu(), fc()), skip(stax.Relu(), fc()), stax.Relu(), fc()],
        ),
        "pre-norm residual": (
            (dense(), block, block, step("layer"), relu, dense()),
            [fc(), their_block, their_block, stax.LayerNorm(), stax.Relu(), fc()],
        ),
        "gate": (
            (dense(), gated, dense()),
            [fc(), gate(stax.serial(fc(), stax.Relu(), fc()), stax.serial(fc())), fc()],
        ),
    }


def ours(description: tuple, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """K of the outputs and their tangent overlap, (T, T) each."""
    values = {"sigma_w2": SIGMA_W2, "sigma_b2": SIGMA_B2, "gamma": 1, "beta": 0}
    net = theory.compose(description, inputs=theory.GivenInputs(kernel), **values)
    found = theory.numeric_order_parameters(net)
    tangent = np.array(found.kappa2, float) * float(net.alpha)
    return np.array(found.output.other, float), tangent


def main() -> None:
    """Compare and print."""
    import jax  # type: ignore[import-not-found]
    from neural_tangents import stax  # type: ignore[import-not-found]

    jax.config.update("jax_enable_x64", True)
    points = np.random.default_rng(0).normal(size=(SAMPLES, DIMENSION))
    points /= np.sqrt((points**2).mean(axis=1, keepdims=True))
    for title, (description, layers) in networks().items():
        *_, kernel_fn = stax.serial(*layers)
        theirs = kernel_fn(points, points, ("nngp", "ntk"))
        K, tangent = ours(description, points @ points.T / DIMENSION)
        off = [np.abs(a / np.asarray(b) - 1).max() for a, b in ((K, theirs.nngp), (tangent, theirs.ntk))]
        print(f"{title:20s} largest relative difference: K {off[0]:.1e}, tangent overlap {off[1]:.1e}")


if __name__ == "__main__":
    main()
