"""Ours and the peers: each takes a work and its draw and returns what a run computes as a function.

The function's result is the eigenvalues it found, descending, in the units of F = (1/T) sum grad grad^T.
Peers are given the network as a torch module in training mode, and are imported only when run.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.works import Built, Work, inputs, module
from fimcheck.numerics import Draw, gram, spectrum
from fimcheck.numerics.eigenvalues import eigenvalue_quantities, largest
from fimcheck.numerics.krylov import default_tolerance, top_eigenvalues
from fimcheck.numerics.matrixfree import dual_operator

Run = Callable[[], Tensor]


def _of_matrix(work: Work, g: Tensor) -> Tensor:
    """What a peer's user does with the dual matrix: the same last step as ours."""
    if work.wanted == "spectrum":
        return torch.linalg.eigvalsh(g).flip(0)
    return largest(g.unsqueeze(0), 1)[0]


def ours(work: Work, drawn: Draw | Built) -> Run:
    """The exact dual matrix of numerics."""
    if isinstance(drawn, Built):
        return lambda: _eigenvalues(drawn)

    def run() -> Tensor:
        g = gram(work.network, drawn)
        if work.wanted == "spectrum":
            return torch.linalg.eigvalsh(g)[0].flip(0)
        if work.wanted == "moments":
            return eigenvalue_quantities(work.network, g, {"m", "s", "lambda_max"})["lambda_max"]
        return largest(g, 1)[0]

    return run


def _eigenvalues(built: Built) -> Tensor:
    found = spectrum(built.module, built.inputs).eigenvalues
    assert found is not None
    return found


def ours_matrix_free(work: Work, drawn: Draw | Built) -> Run:
    """Products of numerics, lambda_max only."""
    if isinstance(drawn, Built):
        raise NotImplementedError("networks of numerics only")
    network = work.network

    def run() -> Tensor:
        start = torch.randn(1, work.samples * work.outputs, 1).to(drawn.inputs)
        tolerance = default_tolerance(start.dtype)
        return top_eigenvalues(dual_operator(network, drawn), start, 1, tolerance).values[0]

    return run


def jacrev(work: Work, drawn: Draw | Built) -> Run:
    """torch.func.jacrev, the whole Jacobian."""
    net, x = module(work, drawn), inputs(work, drawn)
    parameters = {name: p.detach() for name, p in net.named_parameters()}

    def run() -> Tensor:
        blocks = torch.func.jacrev(lambda p: torch.func.functional_call(net, p, (x,)))(parameters)
        g = torch.zeros(work.samples * work.outputs, work.samples * work.outputs)
        for block in blocks.values():
            rows = block.flatten(0, 1).flatten(1)
            g += rows @ rows.T
        return _of_matrix(work, g / work.samples)

    return run


def nngeometry(work: Work, drawn: Draw | Built) -> Run:
    """Its Gram matrix."""
    from nngeometry.gram import GramMatrix  # type: ignore[import-not-found]
    from torch.utils.data import DataLoader, TensorDataset

    net, x = module(work, drawn), inputs(work, drawn)

    def run() -> Tensor:
        loader = DataLoader(TensorDataset(x.clone()), batch_size=work.samples)
        data = GramMatrix(net, loader, function=lambda *d: net(d[0])).data
        return _of_matrix(work, data.reshape(x.shape[0] * work.outputs, -1) / work.samples)

    return run


def vivit(work: Work, drawn: Draw | Built) -> Run:
    """BackPACK with ViViT's eigenvalues of the generalized Gauss-Newton matrix."""
    from backpack import backpack, extend  # type: ignore[import-not-found]
    from vivit.linalg.eigvalsh import EigvalshComputation  # type: ignore[import-not-found]

    def symeig(a: Tensor, eigenvectors: bool = False, upper: bool = True) -> tuple[Tensor, None]:
        assert not eigenvectors
        return torch.linalg.eigvalsh(a, UPLO="U" if upper else "L"), None

    torch.Tensor.symeig = symeig  # type: ignore[assignment]  # removed from torch, still called by ViViT
    net, loss = extend(module(work, drawn)), extend(nn.MSELoss())
    x = inputs(work, drawn)

    def run() -> Tensor:
        computation = EigvalshComputation()
        group = {"params": list(net.parameters())}
        outputs = net(x)
        hook = computation.get_extension_hook([group])
        with backpack(computation.get_extension(), extension_hook=hook):
            loss(outputs, torch.zeros_like(outputs)).backward()
        # Mean squared error over T and C has the Hessian 2/(T C).
        return computation.get_result(group).detach().flip(0) * work.outputs / 2

    return run


def curvlinops(work: Work, drawn: Draw | Built) -> Run:
    """Jacobian products on the identity; its Gauss-Newton operator with scipy's eigsh for lambda_max."""
    from curvlinops import (  # type: ignore[import-not-found]
        GGNLinearOperator,
        JacobianLinearOperator,
        TransposedJacobianLinearOperator,
    )
    from scipy.sparse.linalg import eigsh

    net, x = module(work, drawn), inputs(work, drawn)
    parameters, data = list(net.parameters()), [(x, torch.zeros(work.samples, work.outputs).to(x))]

    def top() -> Tensor:
        operator = GGNLinearOperator(net, nn.MSELoss(reduction="sum"), parameters, data, check_deterministic=False)
        value = eigsh(operator.to_scipy(), k=1, tol=1e-5, return_eigenvectors=False)  # type: ignore[arg-type]
        return torch.as_tensor(value) / (2 * work.samples)

    def all_of_them() -> Tensor:
        right = TransposedJacobianLinearOperator(net, parameters, data, check_deterministic=False)
        left = JacobianLinearOperator(net, parameters, data, check_deterministic=False)
        g = left @ (right @ torch.eye(work.samples * work.outputs).to(x))
        return _of_matrix(work, g.detach() / work.samples)

    return top if work.wanted == "lambda_max" else all_of_them


def asdl(work: Work, drawn: Draw | Built) -> Run:
    """ASDL's implicit kernel."""
    from asdl.kernel import empirical_implicit_ntk  # type: ignore[import-not-found]

    net, x = module(work, drawn), inputs(work, drawn)

    def run() -> Tensor:
        g = empirical_implicit_ntk(net, x).detach().permute(2, 0, 3, 1)
        return _of_matrix(work, g.reshape(work.samples * work.outputs, -1) / work.samples)

    return run


def pyhessian(work: Work, drawn: Draw | Built) -> Run:
    """Power iteration on the Hessian at zero residual, where it is the Fisher matrix; lambda_max only."""
    from pyhessian import hessian  # type: ignore[import-not-found]

    net, x = module(work, drawn), inputs(work, drawn)
    targets, loss = net(x).detach(), nn.MSELoss(reduction="sum")

    def run() -> Tensor:
        values, _ = hessian(net, loss, data=(x, targets), cuda=False).eigenvalues(maxIter=300, tol=1e-5)
        return torch.tensor(values) / (2 * work.samples)

    return run


def neural_tangents(work: Work, drawn: Draw | Built) -> Run:
    """Its empirical kernel by structured derivatives, without vmap over samples where they couple."""
    import jax  # type: ignore[import-not-found]
    import jax.numpy as jnp  # type: ignore[import-not-found]
    import neural_tangents as nt  # type: ignore[import-not-found]

    jax.config.update("jax_enable_x64", drawn.inputs.dtype == torch.float64)
    if isinstance(drawn, Built) or work.steps:
        raise NotImplementedError("chains only")
    weights = [jnp.asarray(w[0].numpy()) for w in drawn.weights]
    x = jnp.asarray(drawn.inputs[0].numpy())

    def normalized(name: str, u):
        if name == "none":
            return u
        axis = 1 if name == "layer" else 0
        u = u - u.mean(axis, keepdims=True)
        return u if name == "mean" else u / jnp.sqrt((u**2).mean(axis, keepdims=True))

    def apply(parameters, h, **_):
        for weight in parameters[:-1]:
            h = jax.nn.relu(normalized(work.hidden, h @ weight.T))
        return normalized(work.last, h @ parameters[-1].T)

    coupled = work.hidden == "batch" or work.last in ("mean", "batch")
    kernel = jax.jit(
        nt.empirical_ntk_fn(
            apply,
            trace_axes=(),
            vmap_axes=None if coupled else 0,
            implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES,
        )
    )

    def run() -> Tensor:
        g = torch.from_numpy(jax.device_get(kernel(x, None, weights)).copy()).permute(2, 0, 3, 1)
        return _of_matrix(work, g.reshape(work.samples * work.outputs, -1) / work.samples)

    return run


CONTENDERS: dict[str, Callable[[Work, Draw | Built], Run]] = {
    "ours": ours,
    "ours, matrix-free": ours_matrix_free,
    "jacrev": jacrev,
    "nngeometry": nngeometry,
    "ViViT": vivit,
    "curvlinops": curvlinops,
    "ASDL": asdl,
    "PyHessian": pyhessian,
    "neural-tangents": neural_tangents,
}
TOP_ONLY = {"ours, matrix-free", "PyHessian"}
