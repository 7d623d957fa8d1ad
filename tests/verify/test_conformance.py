"""The conformance kit: what is ours passes it, and each requirement refuses the definition that breaks it."""

from collections.abc import Iterator

import numpy as np
import pytest
import sympy as sp
import torch

from fimcheck import numerics, theory, verify
from fimcheck.numerics import outputs as torch_outputs
from fimcheck.numerics.activations import ACTIVATIONS, FUNCTIONS
from fimcheck.numerics.steps.elementwise import DEFINED
from fimcheck.theory.gaussian.activations import named
from fimcheck.theory.network.outputs import OUTPUTS
from fimcheck.theory.network.step import STEPS
from fimcheck.verify.examine.conformance import checks

test_layer = verify.conformance("layer")
test_batch = verify.conformance("batch")
test_mean = verify.conformance("mean")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_our_activations_conform(name: str) -> None:
    verify.conformance(name)()


def rms(z, gamma, beta):
    return gamma * z / z.square().mean(-1, keepdim=True).sqrt() + beta


class FreeScale(torch.autograd.Function):
    """A definition whose own backward pass forgets the scale."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z):
        return 2 * z

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, v):
        return v


def in_place(z, gamma, beta):
    z *= gamma
    return z + beta


MUTANTS = {
    "deterministic": lambda z, gamma, beta: rms(z, gamma, beta) * (1 + 1e-9 * torch.rand((), dtype=z.dtype)),
    "pure": in_place,
    "keeps dtype and device": lambda z, gamma, beta: rms(z.double(), gamma, beta),
    "each network on its own": lambda z, gamma, beta: rms(z, gamma, beta) * z.square().mean().sqrt(),
    "derivative": lambda z, gamma, beta: gamma * z / z.detach().square().mean(-1, keepdim=True).sqrt() + beta,
    "finite": lambda z, gamma, beta: gamma * z.sqrt() + beta,
    "keeps nan": lambda z, gamma, beta: rms(z.nan_to_num(), gamma, beta),
    "keeps the shape": lambda z, gamma, beta: z[..., :6, :],
}


@pytest.fixture(autouse=True)
def past_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong derivative is refused when it is added; what is examined here got past that."""
    for module in ("steps.elementwise", "activations"):
        monkeypatch.setattr(f"fimcheck.numerics.{module}.check_derivative", lambda *_: None)


@pytest.fixture
def added(request: pytest.FixtureRequest) -> Iterator[str]:
    numerics.add_step("mine", request.param)
    yield "mine"
    del DEFINED["mine"]


def halves(z):
    return z[..., : z.shape[-1] // 2] * z[..., z.shape[-1] // 2 :].sigmoid()


@pytest.mark.parametrize("added", [rms, halves], indirect=True)
def test_right_definitions_conform(added: str) -> None:
    verify.conformance(added)()


@pytest.mark.parametrize(("added", "requirement"), [(f, name) for name, f in MUTANTS.items()], indirect=["added"])
def test_every_requirement_refuses_its_mutant(added: str, requirement: str) -> None:
    faults = {check.requirement for check in checks(added) if check.fault}
    assert requirement in faults
    with pytest.raises(AssertionError, match=f"mine: {requirement}"):
        verify.conformance(added)()


@pytest.mark.parametrize("added", [lambda z, gamma, beta: FreeScale.apply(z)], indirect=True)
def test_a_wrong_custom_backward_pass_is_seen(added: str) -> None:
    assert [check.requirement for check in checks(added) if check.fault] == ["derivative"]


@pytest.mark.parametrize(
    ("requirement", "function"),
    [
        ("agrees with its expression", lambda x: torch.tanh(1.0000001 * x)),
        ("agrees with its expression", lambda x: x + (torch.tanh(x) - x).detach()),  # right values, wrong slope
        ("keeps nan", lambda x: torch.tanh(x).nan_to_num()),
    ],
)
def test_a_torch_function_other_than_its_expression_is_refused(requirement: str, function) -> None:
    theory.add_activation("mine", sp.tanh(theory.symbols.x))
    numerics.add_activation("mine", function)
    try:
        assert requirement in {check.requirement for check in checks("mine") if check.fault}
    finally:
        del FUNCTIONS["mine"], theory.BUILTIN["mine"]
        named.cache_clear()


def test_a_jacobian_other_than_the_derivative_is_refused() -> None:
    def jacobian(outputs, last_gamma):
        samples, classes = outputs.shape[1], outputs.shape[0]
        return last_gamma * np.kron(np.eye(classes), np.eye(samples) - 1 / samples)

    requirement = "Jacobian of theory equals that of the definition"
    try:
        for factor, wrong in ((1.0, False), (1.0001, True)):
            theory.add_output_normalization("mine", jacobian)
            torch_outputs.OUTPUTS["mine"] = torch_outputs.Added(
                "mine", lambda f, gamma, c=factor: c * gamma * (f - f.mean(-2, keepdim=True))
            )
            assert (requirement in {c.requirement for c in checks("mine") if c.fault}) == wrong
            del OUTPUTS["mine"]
    finally:
        torch_outputs.OUTPUTS.pop("mine", None)
        OUTPUTS.pop("mine", None)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="'nothing' is neither"):
        verify.conformance("nothing")()


@pytest.mark.parametrize("added", [lambda z: z - z.mean(-2, keepdim=True)], indirect=True)
@pytest.mark.parametrize(
    ("stated", "fault"), [(True, ""), (False, "the definition mixes samples, and its theory says")]
)
def test_a_step_mixes_samples_on_both_sides_or_on_none(added: str, stated: bool, fault: str) -> None:
    kind = type("Mine", (theory.Step,), {"couples_samples": stated})
    theory.add_step(added, kind)
    try:
        found = {c.requirement: c.fault for c in checks(added)}
    finally:
        del STEPS[added]
    assert found["theory and definition mix samples alike"].startswith(fault)
    assert bool(found["theory and definition mix samples alike"]) == bool(fault)
