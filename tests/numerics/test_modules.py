"""spectrum(module, inputs): against the network route, against the full Jacobian, and what is refused."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fimcheck.numerics import RandomNetwork, draw, measure, spectrum
from fimcheck.numerics.module_jacobian import Jacobian


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 3),
        nn.BatchNorm1d(3),
    ).double()


def images() -> Tensor:
    return torch.randn(7, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def slow_eigenvalues(net: nn.Module, inputs: Tensor, softmax: bool) -> Tensor:
    """Nonzero eigenvalues from the P x P Fisher matrix, a backward pass per output."""
    net = copy.deepcopy(net)
    outputs = net(inputs)
    parameters = list(net.parameters())
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(y, parameters, retain_graph=True)])
        for y in outputs.flatten()
    ]
    j = torch.stack(rows).view(*outputs.shape, -1)
    p = outputs.detach().softmax(1)
    weight = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1) if softmax else torch.eye(outputs.shape[1]).double()
    fisher = torch.einsum("tkp,tkj,tjq->pq", j, weight.expand(len(inputs), -1, -1), j) / len(inputs)
    return torch.linalg.eigvalsh(fisher).flip(0)[: outputs.numel()]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("loss", ["squared", "softmax"])
def test_exact_and_matrix_free_equal_the_fisher_matrix(loss: str, training: bool) -> None:
    net, inputs = convolutional().train(training), images()
    slow = slow_eigenvalues(net, inputs, loss == "softmax")
    state = {name: value.clone() for name, value in net.state_dict().items()}
    exact = spectrum(net, inputs, loss=loss, count=2)
    assert exact.eigenvalues is not None
    torch.testing.assert_close(exact.eigenvalues, slow, rtol=1e-10, atol=1e-12 * float(slow[0]))
    free = spectrum(net, inputs, loss=loss, method="matrix-free", count=2)
    torch.testing.assert_close(free.top, slow[:2], rtol=1e-10, atol=0)
    assert exact.m == pytest.approx(float(slow.sum()) / exact.parameters, rel=1e-10)
    assert exact.s == pytest.approx(float(slow.square().sum()) / exact.parameters, rel=1e-10)
    for name, value in net.state_dict().items():
        assert torch.equal(value, state[name])
    assert all(p.grad is None for p in net.parameters())


def test_random_traces_are_right_on_average() -> None:
    net, inputs = convolutional(), images()
    exact = spectrum(net, inputs)
    # One estimate from few probes is skewed; the mean of 60 is not.
    found = [spectrum(net, inputs, method="matrix-free", probes=8, seed=seed) for seed in range(60)]
    for name in ("m", "s"):
        values = torch.tensor([getattr(f, name) for f in found])
        assert abs(values.mean() - getattr(exact, name)) < 4 * values.std() / 60**0.5
        errors = torch.tensor([getattr(f, f"{name}_error") for f in found])
        assert 0.6 < errors.square().mean().sqrt() / values.std() < 1.6


def test_training_and_evaluation_mode_differ() -> None:
    net = convolutional()
    assert spectrum(net, images()).lambda_max != pytest.approx(spectrum(net.eval(), images()).lambda_max, rel=0.1)


def test_a_module_gives_what_the_network_route_gives() -> None:
    network = RandomNetwork((5, 9, 8, 2), "relu", sigma_b2=0.1)
    drawn = draw(network, 6, [3])
    linear = [nn.Linear(5, 9), nn.Linear(9, 8), nn.Linear(8, 2)]
    net = nn.Sequential(linear[0], nn.ReLU(), linear[1], nn.ReLU(), linear[2]).double()
    with torch.no_grad():
        for layer, weight, bias in zip(linear, drawn.weights, drawn.biases, strict=True):
            layer.weight.copy_(weight[0])
            layer.bias.copy_(bias[0])
    found, expected = spectrum(net, drawn.inputs[0]), measure(network, 6, [3], ["m", "s", "lambda_max"]).draws
    for name in expected:
        assert getattr(found, name) == pytest.approx(expected[name][0], rel=1e-11)


def test_parameters_without_gradient_and_unused_ones() -> None:
    net, inputs = convolutional(), images()
    next(net.parameters()).requires_grad_(False)
    net.register_parameter("unused", nn.Parameter(torch.zeros(5, dtype=torch.float64)))
    found = spectrum(net, inputs)
    assert found.parameters == sum(p.numel() for p in net.parameters()) - 27
    free = spectrum(net, inputs, method="matrix-free")
    assert free.lambda_max == pytest.approx(found.lambda_max, rel=1e-10)


def test_one_output_may_come_without_its_axis() -> None:
    net = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)).double()
    assert spectrum(net, torch.eye(4).double()).outputs == 1


def test_little_memory_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    net, inputs = convolutional(), images()
    whole, blocks = spectrum(net, inputs, method="rows"), spectrum(net, inputs, method="rows", memory=40000)
    assert whole.eigenvalues is not None
    torch.testing.assert_close(blocks.eigenvalues, whole.eigenvalues, rtol=1e-11, atol=1e-14)
    real, sizes = Jacobian.rows, []

    def failing(self, v: Tensor) -> Tensor:
        sizes.append(len(v))
        if len(v) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return real(self, v)

    monkeypatch.setattr(Jacobian, "rows", failing)
    halved = spectrum(net, inputs, method="rows")
    assert "out of memory" in halved.notes[0]
    assert sizes[0] == 21
    torch.testing.assert_close(halved.eigenvalues, whole.eigenvalues, rtol=1e-11, atol=1e-14)


class Counting(nn.Module):
    """Changes its own buffer, as a module with a history does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(x) * self.calls


class Noisy(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + torch.randn(len(input), 2)


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.3)), r"dropout with p = 0.3 in training mode"),
        (Counting(), "buffer calls changes"),
        (Noisy(4, 2), "different outputs"),
        (nn.Flatten(), "no parameter"),
        (nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3))), r"outputs of shape \(5, 2, 3\)"),
    ],
)
def test_modules_without_one_fisher_matrix_are_refused(net: nn.Module, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        spectrum(net, torch.ones(5, 4))


def test_dropout_in_evaluation_mode_is_fine() -> None:
    net = nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.3)).eval()
    assert spectrum(net, torch.ones(5, 4)).lambda_max > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"loss": "hinge"}, "loss = 'hinge' is unknown"),
        ({"method": "fast"}, "method = 'fast' is unknown"),
        ({"count": 0}, "count = 0"),
        ({"probes": 3}, "probes = 3"),
    ],
)
def test_bad_options_are_refused(arguments: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        spectrum(nn.Linear(4, 2), torch.ones(5, 4), **arguments)


def test_matrix_free_density_is_the_share_of_exact_eigenvalues() -> None:
    """Within three of its own standard errors, at levels that leave some eigenvalues on either side."""
    net, inputs = convolutional(), images()
    exact = spectrum(net, inputs).eigenvalues
    density = spectrum(net, inputs, method="matrix-free", probes=64, density_steps=21).density
    assert exact is not None
    assert density is not None
    for rank in (3, 8, 14):
        level = float(exact[rank - 1 : rank + 1].mean())
        found = density.below(level)
        share = 1 - rank / len(exact)
        assert abs(float(found.value) - share) < 3 * float(found.error)
        # Mutant: off by a tenth of the eigenvalues.
        assert abs(float(found.value) - share - 0.1) > float(found.error)
    with pytest.raises(ValueError, match="density_steps"):
        spectrum(net, inputs, density_steps=5)


def test_shares_are_those_of_the_leading_eigenvector() -> None:
    """Against the eigenvector of the P x P Fisher matrix."""
    net, inputs = convolutional(), images()
    parameters = dict(net.named_parameters())
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(y, [*parameters.values()], retain_graph=True)])
        for y in net(inputs).flatten()
    ]
    j = torch.stack(rows)
    leading = torch.linalg.eigh(j.T @ j).eigenvectors[:, -1].square()
    expected = leading.split([p.numel() for p in parameters.values()])
    shares = spectrum(net, inputs).shares
    assert sum(shares.values()) == pytest.approx(1)
    for name, part in zip(parameters, expected, strict=True):
        assert shares[name] == pytest.approx(float(part.sum()), abs=1e-10)
    assert spectrum(net, inputs, method="matrix-free").shares == {}
