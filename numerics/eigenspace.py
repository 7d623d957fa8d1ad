"""How far the top eigenspace of the Fisher matrix is spanned by the mean gradients of the classes."""

import torch
from torch import Tensor


def alignment(g: Tensor, outputs: int) -> Tensor:
    """Mean squared cosine of the principal angles between the C leading eigenvectors of F and the span of the
    C mean gradients sum_t grad f_k(t), from the dual matrix G (S, C*T, C*T), C = ``outputs``: (S,), from 0 to 1.

    With G v = lambda v the eigenvector of F is J^T v / sqrt(lambda T), and the mean gradients are J^T A, A the
    indicator columns of the classes: both live in the row space of J, where G gives every scalar product.
    """
    finite = g.isfinite().flatten(1).all(1)
    values, vectors = torch.linalg.eigh(g.where(finite[:, None, None], 0.0))
    top, scale = vectors[:, :, -outputs:], values[:, -outputs:].clamp_min(0).sqrt()
    samples = g.shape[1] // outputs
    classes = torch.eye(outputs, dtype=g.dtype, device=g.device).repeat_interleave(samples, 0)
    products = scale.unsqueeze(2) * (top.mT @ classes)
    gram = classes.mT @ g @ classes
    gram = gram.where(finite[:, None, None], torch.eye(outputs, dtype=g.dtype, device=g.device))
    share = (products @ torch.linalg.solve(gram, products.mT)).diagonal(dim1=1, dim2=2).sum(1) / outputs
    return share.where(finite, float("nan"))
