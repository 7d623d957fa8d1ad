"""The dual matrix from a module's layers equals that from rows of the Jacobian, for modules of every kind."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fimcheck.numerics import module_gram, modules, spectrum
from fimcheck.numerics.module_difference import held
from fimcheck.numerics.module_jacobian import Jacobian, linearize
from fimcheck.numerics.module_uses import Lookup, Scale, Shift, Weight

T = 6


class Block(nn.Module):
    """Pre-norm attention with hand-made heads, and a feed-forward branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        samples, places, width = x.shape
        q, k, v = self.qkv(self.first(x)).view(samples, places, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(heads.transpose(1, 2).reshape(samples, places, width))
        return x + self.feed(self.second(x))


class Language(nn.Module):
    """Tokens in, scores of the next one out; positions without a sample axis, the table used twice if ``tied``."""

    def __init__(self, tied: bool, padding: int | None = None) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(5, 8, padding_idx=padding), nn.Parameter(torch.randn(4, 8))
        self.block, self.read = Block(8), nn.Linear(8, 5, bias=False)
        if tied:
            self.read.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.read(self.block(self.table(tokens) + self.places)[:, -1])


class Placed(nn.Module):
    """A table of places that is looked up once for all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.places, self.read = nn.Linear(8, 8), nn.Embedding(7, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(torch.tanh(self.table(x) + self.places(torch.arange(7))).mean(1))


class Residual(nn.Module):
    """Adds in place, as common residual networks do; two strides, groups and a padding by name."""

    def __init__(self, normalize: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding="same", bias=False)
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Conv2d(4, 4, (3, 1), padding=(1, 0))
        self.first, self.second = normalize(4), normalize(4)
        self.down, self.read = nn.Conv2d(4, 6, 3, stride=2, dilation=2, padding=2), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = functional.relu(self.first(self.one(x)), inplace=True)
        y = self.second(self.two(y))
        y += x
        return self.read(self.down(functional.relu_(y)).mean((2, 3)))


class Attention(nn.Module):
    """Torch's own attention, whose projections are used out of sight."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.read = nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.inner(x).mean(1))


class Scaled(nn.Linear):
    """A readout with a multiplier inside, as in mu-P, and a parameter used by itself."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 2)
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input * self.gain / 7)


class Centered(nn.Module):
    """Couples samples although no part of it is known to."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Neighbours(nn.Module):
    """One sample's output depends on one other sample, and only there."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:-1], x[-1:] + x[-2:-1].square()])


def chain(*hidden: nn.Module, last: tuple[nn.Module, ...] = ()) -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 16), *hidden, nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3), *last)


def series(places: int = 12) -> nn.Sequential:
    body = (
        nn.Conv1d(3, 6, 3, 2, 1, padding_mode="circular"),
        nn.GroupNorm(2, 6),
        nn.ReLU(),
        nn.Conv1d(6, 4, 1, groups=2),
    )
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(4 * places, 2))


def recurrent() -> nn.Module:
    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.read = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.read(self.inner(x)[0][:, -1])

    return Read()


VECTORS, PICTURES, SEQUENCES = (T, 5), (T, 2, 6, 6), (T, 7, 8)
MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "chain": (chain, VECTORS),
    "layer normalization": (lambda: chain(nn.LayerNorm(16)), VECTORS),
    "batch normalization, hidden": (lambda: chain(nn.BatchNorm1d(16)), VECTORS),
    "batch normalization, last": (lambda: chain(last=(nn.BatchNorm1d(3),)), VECTORS),
    "batch normalization, evaluated": (lambda: chain(nn.BatchNorm1d(16)).eval(), VECTORS),
    "mean subtraction": (lambda: chain(last=(Centered(),)), VECTORS),
    "one pair coupled": (lambda: chain(last=(Neighbours(),)), VECTORS),
    "residual, batch": (lambda: Residual(nn.BatchNorm2d), PICTURES),
    "residual, group": (lambda: Residual(lambda c: nn.GroupNorm(2, c)), PICTURES),
    "one-dimensional convolutions": (series, (T, 3, 12 * 2)),
    "transformer": (lambda: Language(False), (T, 4)),
    "transformer, tied": (lambda: Language(True), (T, 4)),
    "transformer, tied and padded": (lambda: Language(True, padding=2), (T, 4)),
    "torch's attention": (Attention, SEQUENCES),
    "places looked up once": (Placed, SEQUENCES),
    "readout with a multiplier": (lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), Scaled(8)), VECTORS),
    "recurrent": (recurrent, (T, 5, 3)),
    "wide and few places": (
        lambda: nn.Sequential(nn.Unflatten(1, (2, 40)), nn.Linear(40, 9), nn.GELU(), nn.Flatten(), nn.Linear(18, 2)),
        (T, 80),
    ),
}


def made(name: str) -> tuple[nn.Module, Tensor]:
    """The module, its normalizations moved from where they start, and inputs."""
    torch.manual_seed(1)
    make, shape = MODULES[name]
    module = make().double()
    with torch.no_grad():
        for p in module.parameters():
            if p.ndim == 1:
                p.add_(torch.randn_like(p), alpha=0.3)
    if isinstance(module, Language):
        return module, torch.randint(5, shape)
    return module, torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("loss", ["squared", "softmax"])
@pytest.mark.parametrize("name", MODULES)
def test_layers_give_what_rows_of_the_jacobian_give(name: str, loss: str) -> None:
    module, inputs = made(name)
    before = copy.deepcopy(module.state_dict())
    rows = spectrum(module, inputs, loss=loss, method="rows")
    assert rows.eigenvalues is not None
    for memory in (2**31, 2000 * 8):
        found = spectrum(module, inputs, loss=loss, memory=memory)
        if memory == 2**31:
            assert found.notes == ()
        torch.testing.assert_close(found.eigenvalues, rows.eigenvalues, rtol=1e-10, atol=1e-12 * rows.lambda_max)
        assert found.m == pytest.approx(rows.m, rel=1e-10)
        assert found.s == pytest.approx(rows.s, rel=1e-10)
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key]), "the caller's module is not touched"


def passes(name: str) -> list[int]:
    """How many cotangents were taken back from all the way up, way by way, until the result was right."""
    module, inputs = made(name)
    counts: list[int] = []
    real = module_gram.Trace.gram

    def counting(self, samples: int, memory: int) -> Tensor | None:
        counts.append(self.outputs.numel() // samples)
        return real(self, samples, memory)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module_gram.Trace, "gram", counting)
        spectrum(module, inputs)
    return counts


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chain", [3]),
        ("residual, group", [3]),
        ("transformer, tied", [5]),
        ("batch normalization, evaluated", [3]),
        ("batch normalization, last", [3]),
        ("mean subtraction", [3, 3]),
        ("one pair coupled", [3, 3]),
        ("batch normalization, hidden", [3 * T]),
        ("residual, batch", [3 * T]),
        ("recurrent", [2, 2 * T]),  # not coupled, but torch does not run it sample by sample
    ],
)
def test_samples_are_taken_apart_as_far_as_they_do_not_couple(name: str, expected: list[int]) -> None:
    assert passes(name) == expected


@pytest.mark.parametrize(
    ("name", "use", "method"),
    [
        ("chain", Weight, "gram"),
        ("chain", Shift, "rows"),
        ("layer normalization", Scale, "_scaled"),
        ("transformer", Lookup, "gram"),
        ("transformer, tied", Lookup, "rows"),
        ("transformer, tied", Weight, "rows"),
    ],
)
def test_a_wrong_part_is_noticed_and_rows_take_over(name: str, use: type, method: str) -> None:
    """Mutants: a part of the structured route is off by a millionth."""
    module, inputs = made(name)
    expected = spectrum(module, inputs, method="rows").eigenvalues
    real = getattr(use, method)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(use, method, lambda self, *words: real(self, *words) * (1 + 1e-6))
        found = spectrum(module, inputs)
    assert "rows of the Jacobian" in found.notes[0]
    torch.testing.assert_close(found.eigenvalues, expected, rtol=1e-10, atol=1e-12)


def test_want_of_memory_and_faults_leave_it_to_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    module, inputs = made("chain")
    monkeypatch.setattr(Weight, "gram", full)
    assert "rows of the Jacobian" in spectrum(module, inputs).notes[0]
    monkeypatch.setattr(Weight, "gram", lambda *_: 1 / 0)
    assert "ZeroDivisionError" in spectrum(module, inputs).notes[0]


def test_no_parameter_is_seen_twice_or_forgotten() -> None:
    """What is recorded is cut off, what is not is left: together every parameter that the outputs use."""
    for name in MODULES:
        module, inputs = made(name)
        with held(module):
            plain = linearize(module, inputs)
            traced = module_gram.trace(plain)
        recorded = {list(plain.parameters)[number] for number in traced.uses}
        assert recorded | set(traced.left) == set(plain.parameters), name
        assert not recorded & set(traced.left), name
    assert isinstance(plain, Jacobian)
    assert modules.METHODS[0] == "exact"
