"""Mean-only batch normalization of the hidden layers, exact in T: u -> gamma (u - mean over the T samples) + beta."""

import numerics
import theory


class MeanOnly(theory.HiddenRule):
    """What phi sees stays Gaussian. Its samples are correlated by -1/(T - 1), and so are the signals that pass back."""

    couples_samples = True

    def pair(self, q, at):
        spread = at.gamma**2 * (q[0] - q[1])
        return spread * (1 - 1 / at.samples), -spread / at.samples, at.beta

    def backward(self, expect, slope, q, seen, upper, above, at):
        p, c, mean = seen
        scale = at.gamma**2 * at.sigma_w2
        one, two = scale * expect.same(slope, p, mean), scale * expect.pair(slope, p, c, mean)
        if above is None:  # the signal of one sample, projected orthogonally to (1, .., 1)
            return (one * (1 - 1 / at.samples), -two / at.samples), upper
        spread = one * (1 - 1 / at.samples) + two / at.samples  # of a signal that is orthogonal to it already
        return (spread * upper[0], spread * upper[1]), upper

    def overlaps(self, hq):
        return hq[0] - hq[1], hq[0] - hq[1]  # the backward signal is orthogonal to what all samples share


def mean_only(u, gamma, beta):
    return gamma * (u - u.mean(-2, keepdim=True)) + beta


theory.add_normalization("mean_only", MeanOnly())
numerics.add_normalization("mean_only", mean_only)
