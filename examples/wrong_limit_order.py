"""Deliberately wrong: mean-only batch normalization over T samples with the constants of T -> infinity."""

import numerics
import theory


class TooEarly(theory.HiddenRule):
    couples_samples = True

    def pair(self, q, at):
        return at.gamma**2 * (q[0] - q[1]), 0 * q[0], at.beta  # the mistake: over T samples (q_1 - q_2)(1 - 1/T)

    def gain(self, q, at):
        return at.gamma**2, 0

    def overlaps(self, hq):
        return hq[0] - hq[1], hq[0] - hq[1]


def mean_only(u, gamma, beta):
    return gamma * (u - u.mean(-2, keepdim=True)) + beta


theory.add_normalization("mean_only_limit", TooEarly())
numerics.add_normalization("mean_only_limit", mean_only)
