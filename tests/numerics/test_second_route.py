"""Modules of every kind against brute force, or refused by the name of the parameter that autograd gets wrong."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from fimcheck import numerics
from fimcheck.numerics import module_difference, modules, spectrum
from fimcheck.numerics.activations import FUNCTIONS
from fimcheck.numerics.module_difference import Moving

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

T = 6


def brute_force(module: nn.Module, inputs: Tensor) -> Tensor:
    """All eigenvalues from one backward pass after the other, every output differentiated on its own."""
    outputs = module(inputs.clone())
    outputs = outputs.unsqueeze(1) if outputs.ndim == 1 else outputs
    parameters = [p for p in module.parameters() if p.requires_grad]
    rows = []
    for output in outputs.flatten():
        gradients = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
        parts = []
        for p, g in zip(parameters, gradients, strict=True):
            g = torch.zeros_like(p) if g is None else g.to_dense() if g.is_sparse else g
            parts.append((torch.view_as_real(g) if g.is_complex() else g).double().flatten())
        rows.append(torch.cat(parts))
    j = torch.stack(rows)
    return torch.linalg.eigvalsh(j @ j.T / len(outputs)).flip(0)


class Net(nn.Module):
    """Two layers; what lies between them is a subclass's own, as is what it prepares once its type is set."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)

    def prepare(self) -> None: ...

    def between(self, h: Tensor) -> Tensor:
        return torch.tanh(h)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.between(self.a(x)))


class Doubled(Function):
    """tanh with a right derivative, by a loop that vmap cannot take."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        out = torch.zeros_like(y)
        for place in range(y.shape[1]):
            out[:, place] = g[:, place] * (1 - y[:, place].square())
        return out


class Forgets(Function):
    """tanh with the slope 1 - |tanh|."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return g * (1 - y.abs())


class Rounded(Function):
    """Steps of a tenth, with the slope of a clamp: straight through."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(-1, 1).round(decimals=1)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g * (x.abs() < 1)


class Fires(Function):
    """A spike with a surrogate slope."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g / (1 + x.square())


def between(what: Callable[[Tensor], Tensor]) -> type[Net]:
    class Between(Net):
        def between(self, h: Tensor) -> Tensor:
            return what(h)

    return Between


class Checkpointed(Net):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.middle, self.reentrant = nn.Sequential(nn.Linear(4, 4), nn.Tanh()), reentrant

    def forward(self, x: Tensor) -> Tensor:
        first = checkpoint(self.middle, x, use_reentrant=self.reentrant)
        return self.b(torch.tanh(self.a(first)))


def hooked() -> nn.Module:
    """A forward hook reaches a weight of another layer by its closure."""
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    weight: Any = net[0].weight
    net[1].register_forward_hook(lambda _, __, out: out @ weight)
    return net


class Steered(Net):
    """A hook on the gradient of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a.register_full_backward_hook(lambda _, into, __: into)
        self.b.register_full_backward_hook(lambda _, into, __: tuple(2 * g for g in into if g is not None))


class Keeps(Net):
    def between(self, h: Tensor) -> Tensor:
        self.kept = torch.tanh(h)
        return self.kept


class Caches(Net):
    """Makes its scale once and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.cache = nn.Parameter(torch.ones(5)), None

    def between(self, h: Tensor) -> Tensor:
        self.cache = self.gain.exp() if self.cache is None else self.cache
        return torch.tanh(h) * self.cache


class Number(Net):
    """Reads a parameter as a Python number."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.3))

    def between(self, h: Tensor) -> Tensor:
        return torch.tanh(h) * float(self.gain)


class Alias(Net):
    """Reads the storage of a weight past the parameter."""

    def prepare(self) -> None:
        self.alias = [self.a.weight.data]

    def between(self, h: Tensor) -> Tensor:
        return torch.tanh(h) + h * self.alias[0][0, 0]


class OneStorage(Net):
    """Two parameters in one piece of memory."""

    def prepare(self) -> None:
        self.c = nn.Parameter(self.a.bias.data)

    def between(self, h: Tensor) -> Tensor:
        return torch.tanh(h + self.c)


class View(Net):
    """Keeps a transposed view of its weight, with its graph."""

    def prepare(self) -> None:
        self.turned = self.a.weight.T

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(x @ self.turned + self.a.bias))


class Single(Net):
    """Runs in float32 only: a constant of that type."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = [torch.randn(5, 5)]

    def between(self, h: Tensor) -> Tensor:
        return torch.tanh(h) @ self.matrix[0]


class Coarse(Net):
    """Computes a part in float32 whatever the inputs are, as normalizations of large models do."""

    def between(self, h: Tensor) -> Tensor:
        return functional.layer_norm(h.float(), (5,)).to(h.dtype)


class Demanding(Net):
    def between(self, h: Tensor) -> Tensor:
        assert len(h) == T, "made for six samples"
        return torch.tanh(h) - 0.1 * torch.tanh(h[3])


class Masked(Net):
    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor([1.0, 0, 1, 1, 0]))

    def between(self, h: Tensor) -> Tensor:
        return torch.tanh(h) * self.mask + h


class Wave(nn.Module):
    """Complex weights, real outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, 3, dtype=torch.complex128))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(torch.complex128) @ self.w).abs()


class Pairs(nn.Module):
    """No layer that is recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.form, self.w = nn.Bilinear(4, 4, 3), nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.form(x, x) + torch.einsum("ti,ki->tk", x, self.w)


class Words(nn.Module):
    def __init__(self, **how) -> None:
        super().__init__()
        self.table, self.read = nn.Embedding(5, 4, **how), nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.read(torch.tanh(self.table(tokens)).sum(1))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x)))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.inner, self.read = kind(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.inner(x)[0][:, -1])


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.read = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.inner(x).mean(1))


class Offsets(nn.Module):
    """A small output beside a large one, and far smaller than what it is the difference of, tied over the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.f, self.g = nn.Linear(4, 8), nn.Linear(8, 1), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        z = self.g(x + 3)
        return torch.cat([100 * self.f(torch.tanh(self.a(x))), z - z.mean(0)], 1)


def still(net: nn.Sequential) -> nn.Sequential:
    """Its units stand at 0 for a sample of zeros: kinks exactly there."""
    with torch.no_grad():
        net[0].bias.zero_()  # type: ignore[operator]
    return net


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 6, 6)), nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16, 3),
    )  # fmt: skip


def chain(*between: nn.Module, outputs: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), *between, nn.Linear(6, outputs))


def pruned() -> nn.Module:
    net = chain(nn.Tanh())
    prune.l1_unstructured(net[0], "weight", amount=0.5)
    return net


VECTORS = (T, 4)
RIGHT: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "chain": (lambda: chain(nn.Tanh()), VECTORS),
    "kinks": (lambda: chain(nn.ReLU(), nn.Linear(6, 6), nn.ReLU()), VECTORS),
    "one output": (lambda: nn.Sequential(chain(nn.SiLU(), outputs=1), nn.Flatten(0)), VECTORS),
    "many outputs": (lambda: chain(nn.Tanh(), outputs=20), VECTORS),
    "hook with a closure": (hooked, VECTORS),
    "tied": (Tied, VECTORS),
    "checkpoint": (lambda: Checkpointed(False), VECTORS),
    "custom backward": (between(Doubled.apply), VECTORS),
    "kept activation": (Keeps, VECTORS),
    "cache": (Caches, VECTORS),
    "padded embedding": (lambda: Words(padding_idx=2), (T, 3)),
    "sparse embedding": (lambda: Words(sparse=True), (T, 3)),
    "lstm": (lambda: Recurrent(nn.LSTM), (T, 5, 3)),
    "gru": (lambda: Recurrent(nn.GRU), (T, 5, 3)),
    "encoder, evaluated": (lambda: Encoder().eval(), (T, 5, 4)),
    "batch normalization": (lambda: chain(nn.BatchNorm1d(6), nn.ReLU()), VECTORS),
    "instance normalization": (
        lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Conv1d(2, 3, 1), nn.InstanceNorm1d(3, affine=True,
            track_running_stats=True), nn.Flatten(), nn.Linear(6, 2)), VECTORS,
    ),
    "batch normalization above the last weights": (
        lambda: nn.Sequential(chain(nn.Tanh(), outputs=6), nn.BatchNorm1d(6), nn.GLU(1)), VECTORS,
    ),
    "weight norm": (lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 2)), VECTORS),
    "orthogonal": (
        lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 2)), VECTORS,
    ),
    "pruned": (pruned, VECTORS),
    "convolutions": (convolutional, (T, 36)),
    "gates": (lambda: chain(nn.Linear(6, 12), nn.GLU(1)), VECTORS),
    "buffers": (Masked, VECTORS),
    "in place": (lambda: nn.Sequential(nn.ReLU(inplace=True), chain(nn.ELU(inplace=True))), VECTORS),
    "reads its batch": (Demanding, VECTORS),
    "no recorded layer": (Pairs, VECTORS),
    "view of a weight": (View, VECTORS),
    "part in float32": (Coarse, VECTORS),
    "float32 only": (Single, VECTORS),
    "complex": (Wave, VECTORS),
    "kinks at the parameters": (lambda: still(chain(nn.ReLU())), VECTORS),
    "steps": (between(Rounded.apply), VECTORS),
    "spikes": (between(Fires.apply), VECTORS),
    "steps by detach": (between(lambda h: h + (h.round(decimals=1) - h).detach()), VECTORS),
    "small beside large": (Offsets, VECTORS),
    "scripted": (lambda: torch.jit.script(chain(nn.Tanh())), VECTORS),
}  # fmt: skip
WRONG: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "re-entrant checkpoint": (
        lambda: Checkpointed(True),
        VECTORS,
        r"middle.0.weight, middle.0.bias|middle.0.bias, middle.0.weight",
    ),
    "wrong backward": (between(Forgets.apply), VECTORS, r"by a\.\w+, a\.\w+ is"),
    "stopped gradient": (between(lambda h: torch.tanh(h) + torch.sin(h).detach()), VECTORS, r"by a\.\w+, a\.\w+ is"),
    "gradients by frequency": (lambda: Words(scale_grad_by_freq=True), (T, 3), "by table.weight is"),
    "backward hook": (Steered, VECTORS, r"by a\.\w+, a\.\w+ is"),
    "number": (Number, VECTORS, "by gain is"),
    "alias": (Alias, VECTORS, "by a.weight is"),
    "one storage": (OneStorage, VECTORS, r"by (a.bias, c|c, a.bias) is"),
    "moved by its own run": (lambda: Words(max_norm=0.5), (T, 3), "parameter table.weight changes"),
}


def built(
    make: Callable[[], nn.Module], shape: tuple[int, ...], dtype: torch.dtype = torch.float64
) -> tuple[Any, Tensor]:
    torch.manual_seed(3)
    module: Any = make()
    module = module if isinstance(module, Single) or dtype == torch.float32 else module.double()
    if isinstance(module, Net):
        module.prepare()
    if isinstance(module, Words):
        return module, torch.randint(5, shape)
    inputs = torch.randn(
        shape, dtype=next(module.parameters()).dtype if not isinstance(module, Wave) else torch.float64
    )
    inputs[2] = 0
    return module, inputs


def state(module: nn.Module) -> dict:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("method", ["exact", "rows", "matrix-free"])
@pytest.mark.parametrize("name", RIGHT)
def test_modules_give_what_brute_force_gives(name: str, method: str) -> None:
    module, inputs = built(*RIGHT[name])
    before, given, attributes = state(module), inputs.clone(), set(vars(module))
    found = spectrum(module, inputs, method=method, count=4, probes=4)
    assert set(vars(module)) == attributes
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert torch.equal(inputs, given)
    assert all(p.grad is None for p in module.parameters())
    expected = brute_force(module, inputs)[:4].to(found.top)
    assert ((found.top - expected).abs() <= found.top_errors + 1e-12 * expected[0]).all(), (found.top, expected)
    assert (found.top_errors <= 1e-3 * expected[0]).all()
    assert found.distance < 1e-3


@pytest.mark.parametrize("name", WRONG)
def test_what_autograd_gets_wrong_is_refused_by_name(name: str) -> None:
    make, shape, says = WRONG[name]
    module, inputs = built(make, shape)
    before = state(module)
    with pytest.raises(ValueError, match=says):
        spectrum(module, inputs)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("name", ["re-entrant checkpoint", "wrong backward", "gradients by frequency", "number"])
def test_also_in_single_precision(name: str) -> None:
    make, shape, says = WRONG[name]
    with pytest.raises(ValueError, match=says):
        spectrum(*built(make, shape, torch.float32))


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("steps", "step functions of a.weight, a.bias"),
        ("spikes", "step functions of a.weight, a.bias"),
        ("steps by detach", "step functions of a.weight, a.bias"),
        ("kinks at the parameters", "a kink exactly at these parameters"),
    ],
)
def test_where_outputs_have_no_derivative_a_note_says_so(name: str, note: str) -> None:
    assert any(note in said for said in spectrum(*built(*RIGHT[name])).notes)


def test_a_wrong_derivative_beside_steps_is_refused() -> None:
    """What stands beside a straight-through estimator is examined without it."""

    class Both(Net):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            steps = Rounded.apply(self.first(x))
            return self.b(torch.tanh(self.a(x))) + Forgets.apply(self.a(x)).sum(1, keepdim=True) + steps[:, :3]

    with pytest.raises(ValueError, match=r"by .*a\.\w+"):
        spectrum(*built(Both, VECTORS))


def test_a_module_is_put_back_when_it_raises() -> None:
    class Breaks(Net):
        """Cannot bear other parameters than it has."""

        def between(self, h: Tensor) -> Tensor:
            self.trace = h
            if not torch.equal(self.a.weight, self.fixed[0]):
                raise ArithmeticError("moved")
            return torch.tanh(h)

        def prepare(self) -> None:
            self.fixed = [self.a.weight.detach().clone()]

    for dtype in (torch.float64, torch.float32):
        module, inputs = built(Breaks, VECTORS, dtype)
        before, data, attributes = state(module), module.a.weight.data_ptr(), set(vars(module))
        module.a.weight.grad = gradient = torch.ones_like(module.a.weight)
        with pytest.raises(ArithmeticError, match="moved"):
            spectrum(module, inputs)
        assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
        assert module.a.weight.grad is gradient
        assert module.a.weight.dtype == dtype
        assert module.a.weight.data_ptr() == data
        assert set(vars(module)) == attributes


def test_hooks_on_parameters_are_no_part_of_the_derivative() -> None:
    module, inputs = built(lambda: chain(nn.Tanh()), VECTORS)
    expected = brute_force(module, inputs)[0]
    calls = []
    module[0].weight.register_hook(lambda g: calls.append(0) or 2 * g)
    assert spectrum(module, inputs).lambda_max == pytest.approx(float(expected), rel=1e-10)
    assert not calls
    module(inputs).sum().backward()
    assert calls


def test_mutant_a_parameter_left_out_of_the_derivative() -> None:
    """<cotangent, J v> without the last parameter: every right module is refused, by its name."""
    real = module_difference.contracted

    def without(gradients: dict[str, Tensor], direction: dict[str, Tensor]) -> float:
        *most, last = direction
        return real(gradients, {name: direction[name] for name in (most or [last])})

    module, inputs = built(lambda: chain(nn.Tanh()), VECTORS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module_difference, "contracted", without)
        with pytest.raises(ValueError, match="not what autograd says"):
            spectrum(module, inputs)


def test_mutant_a_direction_that_leaves_a_parameter_out() -> None:
    """Layers that a checkpoint drops are believed where nothing moves along them."""
    real = Moving.direction
    make, shape, _ = WRONG["re-entrant checkpoint"]
    module, inputs = built(make, shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Moving, "direction", lambda *a: {n: v for n, v in real(*a).items() if not n.startswith("middle")})
        believed = spectrum(module, inputs).lambda_max
    module.reentrant = False
    assert believed != pytest.approx(float(brute_force(module, inputs)[0]), rel=0.01)


def test_mutant_a_difference_taken_on_a_copy() -> None:
    """What is reached past the module stays where it is: a right module is refused, and a wrong one believed."""
    real = Moving.__post_init__

    def on_a_copy(self: Moving) -> None:
        self.module = copy.deepcopy(self.module)
        self.parameters = {n: p for n, p in self.module.named_parameters() if n in self.parameters}
        real(self)

    module, inputs = built(hooked, VECTORS)
    expected = brute_force(module, inputs)[0]
    assert spectrum(module, inputs).lambda_max == pytest.approx(float(expected), rel=1e-10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Moving, "__post_init__", on_a_copy)
        with pytest.raises(ValueError, match="two backward passes"):
            spectrum(module, inputs)


class Tail(nn.Module):
    """Couples the samples of one small output, which no part of it is known to do."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.f, self.g = nn.Linear(4, 16), nn.Linear(16, 1), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        z = self.g(x)
        return torch.cat([100 * self.f(torch.tanh(self.a(x))), z - z.mean(0)], 1)


def test_a_small_block_of_outputs_is_checked_on_its_own_scale() -> None:
    """In float32 the samples of the small output are coupled: the way that takes them apart must be refused."""
    torch.manual_seed(0)
    module, inputs = Tail(), torch.randn(12, 4)
    twin = copy.deepcopy(module).double()
    right = brute_force(twin, inputs.double())[:16]
    found = spectrum(module, inputs, count=16)
    torch.testing.assert_close(found.top.double(), right, rtol=1e-3, atol=0)
    # Mutant: one scale for all outputs.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module_difference, "_scale", lambda values: torch.full_like(values, float(values.norm())))
        believed = spectrum(module, inputs, count=16)
    assert not torch.allclose(believed.top.double(), right, rtol=0.1, atol=0)


FINE = [name for name in RIGHT if name not in ("complex", "view of a weight", "hook with a closure", "float32 only",
        "weight norm", "pruned", "scripted", "steps", "spikes", "steps by detach", "part in float32")]  # fmt: skip


def single(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A module in float32, inputs, and its eigenvalues in float64."""
    module, inputs = built(*RIGHT[name], torch.float32)
    twin = copy.deepcopy(module).double()
    return module, inputs, brute_force(twin, inputs.double() if inputs.is_floating_point() else inputs)


@pytest.mark.parametrize("name", FINE)
def test_every_eigenvalue_is_within_its_error_in_single_precision(name: str) -> None:
    module, inputs, right = single(name)
    found = spectrum(module, inputs)
    assert found.eigenvalues is not None
    assert found.errors is not None
    assert ((found.eigenvalues.double() - right.clamp(min=0)).abs() <= found.errors).all()
    assert (found.eigenvalues >= 0).all()
    assert found.errors[0] <= 1e-4 * right[0]
    assert abs(found.m - float(right.sum()) / found.parameters) <= found.m_error
    assert abs(found.s - float(right.square().sum()) / found.parameters) <= found.s_error


def test_mutant_errors_without_rounding() -> None:
    """Eigenvalues of 1e-8 of the largest, some of them negative: their errors hold only with that of rounding."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    inputs = torch.randn(40, 3)
    right = brute_force(copy.deepcopy(module).double(), inputs.double()).clamp(min=0)
    found = spectrum(module, inputs)
    assert found.eigenvalues is not None
    assert found.errors is not None
    assert ((found.eigenvalues - right).abs() <= found.errors).all()
    assert found.errors[-1] < 1e-4 * found.lambda_max
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modules.Rounding, "least", 0.0)
        with pytest.raises(ValueError, match="though it is a Gram matrix"):
            spectrum(module, inputs)


def test_numbers_that_overflow_are_not_shown_as_zeros() -> None:
    class Times(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.inner, self.factor = chain(nn.Tanh()), factor

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * self.inner(x)

    module, inputs = built(lambda: Times(1e20), VECTORS, torch.float32)
    assert spectrum(module, inputs).top.isnan().all()
    module, inputs = built(lambda: Times(1e-20), VECTORS, torch.float32)
    found = spectrum(module, inputs)
    right = brute_force(copy.deepcopy(module).double(), inputs.double())
    assert abs(found.lambda_max - float(right[0])) <= found.top_errors[0]


def test_half_precision_has_eigenvalues_with_their_errors() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        module, inputs = built(lambda: chain(nn.ReLU()), VECTORS, torch.float32)
        module, inputs = module.to(dtype), inputs.to(dtype)
        right = brute_force(copy.deepcopy(module).double(), inputs.double())
        for method in ("exact", "rows", "matrix-free"):
            found = spectrum(module, inputs, method=method, count=3)
            assert ((found.top.double() - right[:3]).abs() <= found.top_errors).all()


def test_a_loss_whose_metric_vanishes_is_refused() -> None:
    module, inputs = built(lambda: chain(nn.Tanh(), outputs=1), VECTORS)
    with pytest.raises(ValueError, match="second logit of 0"):
        spectrum(module, inputs, loss="softmax")

    class Second(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = module

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.one(x), torch.zeros(len(x), 1, dtype=x.dtype)], 1)

    p = module(inputs).detach().sigmoid()
    expected = spectrum(Second(), inputs, loss="softmax")
    by_hand = brute_force_weighted(module, inputs, (p * (1 - p)).sqrt())
    for found in (expected, spectrum(module, inputs, loss="logistic")):
        assert found.eigenvalues is not None
        torch.testing.assert_close(found.eigenvalues[: len(by_hand)], by_hand, rtol=1e-9, atol=1e-12)
    for loss, outputs in (("softmax", 3), ("logistic", 3)):
        sure, inputs = built(lambda outputs=outputs: chain(nn.Tanh(), outputs=outputs), VECTORS, torch.float32)
        with torch.no_grad():
            sure[-1].bias.copy_(torch.tensor([1e3, 2e3, -3e3]))
        with pytest.raises(ValueError, match="every probability is 0 or 1"):
            spectrum(sure, inputs, loss=loss)


def brute_force_weighted(module: nn.Module, inputs: Tensor, weight: Tensor) -> Tensor:
    """Eigenvalues with the outputs' gradients times ``weight``, which is no function of the parameters here."""

    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * weight

    return brute_force(Weighted(), inputs)


def test_a_derivative_that_a_user_gives_is_compared_with_the_values() -> None:
    with pytest.raises(ValueError, match="derivative is not that of its values"):
        numerics.add_activation("wrong_slope", torch.sin, lambda x: torch.cos(x) + 1e-3)
    with pytest.raises(ValueError, match="derivative is not that of its values"):
        numerics.add_activation("wrong_backward", Forgets.apply)
    with pytest.raises(ValueError, match="derivative is not that of its values"):
        numerics.add_step("wrong_step", lambda z: z + torch.sin(z).detach())
    for name in ("wrong_slope", "wrong_backward", "wrong_step"):
        assert name not in FUNCTIONS
    try:
        numerics.add_activation("bent", lambda x: x.abs().clamp(max=1.5))
    finally:
        FUNCTIONS.pop("bent")
