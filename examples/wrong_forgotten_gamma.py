"""Deliberately wrong: RMS normalization whose rule forgets gamma^2 in the backward pass."""

import numerics
import theory


class Forgotten(theory.HiddenRule):
    def pair(self, q, at):
        return at.gamma**2, at.gamma**2 * q[1] / q[0], at.beta

    def gain(self, q, at):
        return 1 / q[0], 1 / q[0]  # the mistake: gamma^2/q_1 is right


def rms(u, gamma, beta):
    return gamma * u / u.square().mean(-1, keepdim=True).sqrt() + beta


theory.add_normalization("rms_forgotten", Forgotten())
numerics.add_normalization("rms_forgotten", rms)
