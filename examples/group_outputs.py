"""Group normalization of the outputs: the C outputs of a sample in two halves, each standardized on its own."""

import numpy as np

from fimcheck import numerics, theory

GROUPS = 2


def jacobian(outputs, last_gamma):
    """d normalized_k(t) / d raw_j(t), written by hand: gamma/sd (I - 1 1^T/n - z z^T/n) within a group of n outputs."""
    classes, samples = outputs.shape
    n = classes // GROUPS
    full = np.zeros((classes, samples, classes, samples))
    for t in range(samples):
        for start in range(0, classes, n):
            own = slice(start, start + n)
            sd = outputs[own, t].std()
            z = (outputs[own, t] - outputs[own, t].mean()) / sd
            full[own, t, own, t] = last_gamma / sd * (np.eye(n) - 1 / n - np.outer(z, z) / n)
    return full.reshape(outputs.size, outputs.size)


def group(outputs, gamma):
    parts = outputs.unflatten(-1, (GROUPS, -1))
    centered = parts - parts.mean(-1, keepdim=True)
    return (gamma * centered / centered.square().mean(-1, keepdim=True).sqrt()).flatten(-2)


theory.add_output_normalization("group", jacobian)
numerics.add_output_normalization("group", group)
