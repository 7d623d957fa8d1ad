"""The derivative of the last normalization, applied to the dual matrix from both sides.

It is J = gain (I - U U^T), U the one or two directions that are removed. With A = g U and B = A - U (U^T A)/2 the
product without the gains is g - U B^T - B U^T, because g is symmetric: two passes over g, one to make A.
"""

import torch
from torch import Tensor

from fimcheck.numerics.normalizations import SAMPLES, Derivative


def project(g: Tensor, last: Derivative) -> None:
    """J g J in place, for symmetric g of shape (S,C,T,C,T) and J acting on outputs (S,T,C)."""
    if last.axes == SAMPLES:
        _center_samples(g)
        if last.z is not None:
            _subtract_over_samples(g, last.z.mT.unsqueeze(-1) / g.shape[2] ** 0.5)
    else:
        _subtract_over_classes(g, _class_directions(g, last))
    if last.gain is not None:
        scale = last.gain.mT
        g.mul_(scale[:, :, :, None, None] * scale[:, None, None])


def _center_samples(g: Tensor) -> None:
    """Subtract the means over the samples of every class. Not by the rule above: they may be a thousand times what is
    left, and their rounding in single precision must not stay.
    """
    for j in range(g.shape[3]):
        strip = g[:, :, :, j]
        strip -= strip.mean(2, keepdim=True)
        strip -= strip.mean(3, keepdim=True)


def _subtract_over_samples(g: Tensor, u: Tensor) -> None:
    """The direction is a vector over samples, one a class: u (S,C,T,1)."""
    a = torch.stack([g[:, :, :, j] @ u[:, j, None] for j in range(g.shape[3])], dim=3)
    b = a - (u @ (u.mT @ a.flatten(3))).view_as(a) / 2
    for j in range(g.shape[3]):
        own = u[:, j, None].expand_as(u)
        g[:, :, :, j] -= torch.cat([u, b[:, :, :, j]], -1) @ torch.cat([b[:, j].transpose(1, 2), own], -1).mT


def _class_directions(g: Tensor, last: Derivative) -> list[Tensor]:
    """The directions that are removed at every sample, each (S,C,T)."""
    ones = g.new_ones(g.shape[:3])
    return [u / g.shape[1] ** 0.5 for u in ([ones] if last.z is None else [ones, last.z.mT])]


def _subtract_over_classes(g: Tensor, directions: list[Tensor]) -> None:
    """The directions are vectors over classes, one set a sample."""
    a = [torch.zeros_like(g[:, :, :, 0]) for _ in directions]
    for j in range(g.shape[3]):
        for u, x in zip(directions, a, strict=True):
            x.addcmul_(g[:, :, :, j], u[:, None, None, j])
    b = [x.clone() for x in a]
    for u in directions:
        for x, y in zip(a, b, strict=True):
            y.addcmul_(u.unsqueeze(3), (u.unsqueeze(3) * x).sum(1, keepdim=True), value=-0.5)
    for j in range(g.shape[3]):
        for u, y in zip(directions, b, strict=True):
            g[:, :, :, j].addcmul_(u.unsqueeze(3), y[:, j, None].mT, value=-1)
            g[:, :, :, j].addcmul_(y, u[:, None, None, j], value=-1)
