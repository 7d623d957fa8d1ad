"""The derivative of the last normalization, applied to the dual matrix from both sides.

It is J = gain (I - U U^T), U the one or two directions that are removed. With A = g U and B = A - U (U^T A)/2 the
product without the gains is g - U B^T - B U^T, because g is symmetric: g is read once and written once.
"""

import torch
from torch import Tensor

from numerics.normalizations import SAMPLES, Derivative


def project(g: Tensor, last: Derivative) -> None:
    """J g J in place, for symmetric g of shape (S,C,T,C,T) and J acting on outputs (S,T,C)."""
    seeds, outputs, samples = g.shape[:3]
    length = samples if last.axis == SAMPLES else outputs
    u = _removed(last, g.new_ones(seeds, samples, outputs)).transpose(1, 2) / length**0.5
    subtract = _subtract_over_samples if last.axis == SAMPLES else _subtract_over_classes
    subtract(g, u)
    if last.gain is not None:
        scale = last.gain.mT
        g.mul_(scale[:, :, :, None, None] * scale[:, None, None])


def _removed(last: Derivative, ones: Tensor) -> Tensor:
    """The directions that J sends to zero, of length n each along the axis: (S,T,C,directions)."""
    return torch.stack([ones] if last.z is None else [ones, last.z], dim=-1)


def _subtract_over_samples(g: Tensor, u: Tensor) -> None:
    """The directions are vectors over samples, one set a class: u (S,C,T,directions)."""
    a = torch.stack([g[:, :, :, j] @ u[:, j, None] for j in range(g.shape[3])], dim=3)
    b = a - (u @ (u.mT @ a.flatten(3))).view_as(a) / 2
    for j in range(g.shape[3]):
        own = u[:, j, None].expand_as(u)
        g[:, :, :, j] -= torch.cat([u, b[:, :, :, j]], -1) @ torch.cat([b[:, j].transpose(1, 2), own], -1).mT


def _subtract_over_classes(g: Tensor, u: Tensor) -> None:
    """The directions are vectors over classes, one set a sample: u (S,C,T,directions)."""
    directions = u.unbind(-1)
    a = [torch.zeros_like(g[:, :, :, 0]) for _ in directions]
    for j in range(g.shape[3]):
        for v, x in zip(directions, a, strict=True):
            x.addcmul_(g[:, :, :, j], v[:, None, None, j])
    b = [x.clone() for x in a]
    for v in directions:
        for x, y in zip(a, b, strict=True):
            y.addcmul_(v.unsqueeze(3), (v.unsqueeze(3) * x).sum(1, keepdim=True), value=-0.5)
    for j in range(g.shape[3]):
        for v, y in zip(directions, b, strict=True):
            g[:, :, :, j].addcmul_(v.unsqueeze(3), y[:, j, None].mT, value=-1)
            g[:, :, :, j].addcmul_(y, v[:, None, None, j], value=-1)
