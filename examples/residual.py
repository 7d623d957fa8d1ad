"""A residual branch: u^l = z^l + gamma u^{l-1}, z^l = W^l phi(u^{l-1}) + b^l; gamma is its weight."""

import numerics
import theory


class Residual(theory.HiddenRule):
    """The branch adds gamma^2 times the overlaps below, forward and backward."""

    def skip(self, at):
        return at.gamma


def residual(z, gamma, beta, before=None):
    return z if before is None else z + gamma * before


theory.add_normalization("residual", Residual())
numerics.add_normalization("residual", residual)
