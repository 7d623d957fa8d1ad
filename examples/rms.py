"""RMS normalization of the hidden layers: u -> gamma u / rms(u) + beta over units, the mean not subtracted."""

import numerics
import theory


class RMS(theory.HiddenRule):
    """As the width grows, the mean square of a sample's units tends to q_1."""

    def pair(self, q, at):
        return at.gamma**2, at.gamma**2 * q[1] / q[0], at.beta

    def gain(self, q, at):
        return at.gamma**2 / q[0], at.gamma**2 / q[0]


def rms(u, gamma, beta):
    return gamma * u / u.square().mean(-1, keepdim=True).sqrt() + beta


theory.add_normalization("rms", RMS())
numerics.add_normalization("rms", rms)
