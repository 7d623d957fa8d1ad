"""The paper as data: each statement with what it predicts, what is measured, and where it comes from.

Source of all of them unless another is named: R. Karakida, S. Akaho, S. Amari, "The Normalization Method for
Alleviating Pathological Sharpness in Wide Neural Networks", NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fimcheck import theory
from fimcheck.numerics.orders import BACKWARD_ORDERS
from fimcheck.verify.claims.claim import Claim, couples_samples
from fimcheck.verify.claims.edge import EdgeClaim, EdgeOverMeanClaim, GapClaim, LengthsClaim, QuantileClaim
from fimcheck.verify.claims.given_edge import (
    BatchEdgeClaim,
    FiniteRankClaim,
    GivenEdgeClaim,
    ResidualEdgeClaim,
    SplitEdgeClaim,
)
from fimcheck.verify.claims.kinds import OrderClaim, OutputClaim, RateClaim, SecondMomentClaim

NAMES = {
    "m": "mean of the eigenvalues",
    "s": "mean of the squared eigenvalues",
    "lambda_max": "largest eigenvalue",
    "lambda_1": "eigenvalue along the mean gradients",
    "lambda_top": "mean of the C largest eigenvalues",
    "lambda_perp": "mean of the degenerate group of eigenvalues",
    "alignment": "the C leading eigenvectors are the mean gradients of the classes",
    "stable_rate": "gradient descent near a minimum diverges above, and not below, the rate 2 / lambda_max",
}

# Exact-in-T statements about hidden batch normalization and the second moment at T = M/rho are not in the paper.
OURS = "derived here; setting of Karakida, Akaho, Amari 2019"


def _words(hidden: str, last: str) -> str:
    step = theory.hidden_step(hidden)
    words = "" if step is None else f"{step.words} in the hidden layers", theory.output(last).words
    return " and ".join(w for w in words if w) or "no normalization"


def _fewest_samples(hidden: str, last: str) -> int:
    """T from which the spread over networks is finite: 1/sd^2 over T samples has a finite variance for T > 5 only."""
    return max(theory.output(last).fewest_samples, 8 if couples_samples(hidden) else 2)


def prefix(hidden: str, last: str) -> str:
    """First part of the ids of the claims about a case of normalization."""
    parts = [f"{side}_{name}" for side, name in (("hidden", hidden), ("last", last)) if name != "none"]
    return "_".join(parts) or "plain"


def spectrum_claims(hidden: str, last: str, quantities: str) -> list[Claim]:
    """Claims about the spectrum at a fixed number of samples T."""
    claims = []
    for quantity in quantities.split():
        statistic = theory.output(last).statistics.get(quantity, "")
        given = ("lambda_max",) if quantity == "stable_rate" else (statistic,) if statistic else ()
        kind = OutputClaim if given == ("raw_outputs",) else RateClaim if quantity == "stable_rate" else Claim
        claims.append(
            kind(
                id=f"{prefix(hidden, last)}.{quantity}",
                statement=f"{_words(hidden, last)}: {NAMES[quantity]}"
                + ("" if not given or kind is RateClaim else ", given the outputs"),
                quantity="lambda_max" if quantity == "stable_rate" else quantity,
                measured=quantity,
                hidden=hidden,
                last=last,
                given=given,
                fewest_samples=_fewest_samples(hidden, last),
                source=OURS if couples_samples(hidden) else Claim.source,
            )
        )
    return claims


def averaged(claim: Claim, fewest_samples: int) -> Claim:
    """The same averaged over networks instead of given the outputs."""
    return replace(
        claim,
        id=f"{claim.id}_averaged",
        statement=claim.statement.replace("given the outputs", "averaged over networks"),
        given=(),
        fewest_samples=fewest_samples,
    )


def order_claims(hidden: str) -> list[Claim]:
    """Every order parameter of every layer of a network of three weight layers."""
    # q of the last layer is an average over C outputs, which no width calms; its two terms are tested without it.
    layers = {"hq1": (1, 2), "hq2": (1, 2), "q1": (1, 2), "q2": (2,), "tq1": (1, 2), "tq2": (1, 2)}
    coupled = couples_samples(hidden)
    if coupled:  # where a derivative reaches every sample, backward overlaps of single samples do not exist
        layers = {name: found for name, found in layers.items() if name not in BACKWARD_ORDERS}
        layers |= {"c_I": (1, 2), "c_1": (1, 2)}
    places: list[tuple[str, int | None]] = [(name, layer) for name, found in layers.items() for layer in found]
    if not coupled:
        places += [("kappa1", None), ("kappa2", None)]
    return claims_about_orders(hidden, places)


def claims_about_orders(hidden: str, places: Iterable[tuple[str, int | None]]) -> list[Claim]:
    """One claim for each (order parameter, layer) under a hidden normalization; no layer for kappa1 and kappa2."""
    case = prefix(hidden, "none")
    return [
        OrderClaim(
            id=f"{case}.{name}" + (f"[{layer}]" if layer is not None else ""),
            statement=f"{_words(hidden, 'none')}: order parameter {name}"
            + (f" of layer {layer}" if layer is not None else ""),
            quantity=name,
            measured=name,
            hidden=hidden,
            layer=layer,
            fewest_samples=_fewest_samples(hidden, "none"),
            source=OURS if couples_samples(hidden) else Claim.source,
        )
        for name, layer in places
    ]


def growth_claim(
    id: str, quantity: str, text: str, hidden: str = "none", last: str = "none", kind: type[Claim] = Claim, **rest: Any
) -> Claim:
    """A claim about the largest eigenvalue (unless `measured` says otherwise) when T = M / rho."""
    usual = {
        "measured": "lambda_max", "samples": "proportional",
        # With fewer samples the corrections in 1/T of coupled samples do not form a series that a fit could follow.
        "fewest_samples": 32 if couples_samples(hidden) else theory.output(last).fewest_samples,
    }  # fmt: skip
    return kind(
        id=f"growth.{id}", quantity=quantity, statement=f"T = M/rho, {_words(hidden, last)}{text}", hidden=hidden,
        last=last, **(usual | rest),
    )  # fmt: skip


def law_claim(
    kind: type[Claim], id: str, text: str, quantity: str = "lambda_max", last: str = "mean", **rest: Any
) -> Claim:
    """A claim about the limiting spectrum when T = M / rho, which is not in the paper."""
    usual = {"fewest_samples": 12, "source": OURS, "beyond": True}
    return growth_claim(id, quantity, text, last=last, kind=kind, **(usual | rest))


PLAIN = spectrum_claims("none", "none", "m s lambda_max lambda_top lambda_perp alignment stable_rate")
LAST_MEAN = spectrum_claims("none", "mean", "m s lambda_max lambda_perp")
LAST_BATCH = spectrum_claims("none", "batch", "m s lambda_max lambda_perp stable_rate")
# 1/sd^2 has a finite variance over networks for T > 5 and 1/sd^4 for T > 9; intervals need lighter tails.
LAST_BATCH += [averaged(LAST_BATCH[0], 16), averaged(LAST_BATCH[1], 32)]
LAST_LAYER = spectrum_claims("none", "layer", "m lambda_max")
HIDDEN_LAYER = spectrum_claims("layer", "none", "m s lambda_max lambda_top lambda_perp alignment")
HIDDEN_BATCH = spectrum_claims("batch", "none", "m lambda_1 lambda_perp lambda_max stable_rate")
COMBINED = [
    *spectrum_claims("layer", "mean", "m lambda_perp"),
    *spectrum_claims("layer", "batch", "m lambda_perp"),
    *spectrum_claims("batch", "mean", "m lambda_perp"),
    *spectrum_claims("batch", "batch", "m lambda_perp"),
]

_grows = "the largest eigenvalue grows like M"
_root = "the largest eigenvalue grows no faster than the square root of M"
_constant = "the largest eigenvalue is at least a constant"
GROWTH = [
    growth_claim("plain", "lambda_max", f": {_grows}"),
    growth_claim("plain_centered", "lambda_max_upper", f", sigma_b = 0 and odd phi, so kappa_2 = 0: {_root}",
                 centered=True),
    *(
        growth_claim(f"last_{last}_{side}", f"lambda_max_{side}", f": {text}", last=last, given=given)
        for last, side, text, given in (
            ("mean", "lower", _constant, ()),
            ("mean", "upper", _root, ()),
            ("batch", "lower", _constant, ("Q1", "Q2")),
            ("batch", "upper", _root, ("Q2",)),
        )
    ),
    law_claim(EdgeClaim, "last_mean.lambda_max",
              ": the largest eigenvalue is the edge of the limiting spectrum with its Tracy-Widom mean"),
    law_claim(BatchEdgeClaim, "last_batch.lambda_max",
              ": the largest eigenvalue is the edge over the variance of the outputs, given the outputs and the "
              "network's own units", last="batch"),
    law_claim(GivenEdgeClaim, "last_mean.lambda_max_given",
              ": the largest eigenvalue is the edge of the network's own units, or its unit that has split off"),
    law_claim(SplitEdgeClaim, "last_mean.lambda_max_split",
              ", |x|: the largest eigenvalue is a unit that has split off and grows like ln M, given the network's own "
              "units", activations=("abs",)),
    law_claim(GivenEdgeClaim, "last_mean.lambda_max_outputs",
              ", two outputs: the largest eigenvalue is the edge of the network's own units, whose fields overlap",
              network="relu C=2 last=mean M/T=2"),
    law_claim(GapClaim, "last_mean.gap",
              ", two layers: the two largest eigenvalues are apart as Tracy and Widom's, on the scale of the edge",
              quantity="gap", measured="gap", network="relu L=2 last=mean M/T=1", slow=True),
    law_claim(LengthsClaim, "last_mean.lambda_max_lengths",
              ", two layers of cos without biases: the largest eigenvalue is the outlier of the lengths of the inputs",
              network="cos L=2 a=0.5,1 sb2=0 last=mean M/T=0.25"),
    law_claim(FiniteRankClaim, "last_mean.lambda_max_rank",
              ", five layers of SiLU without biases: terms of finite rank take the largest eigenvalue out of the bulk, "
              "given the network's own units",
              network="silu L=5 sb2=0 last=mean M/T=0.5", slow=True),
    law_claim(ResidualEdgeClaim, "residual.lambda_max",
              ", residual network: the largest eigenvalue is the edge of the network's own units",
              network="dense 2*(skip(relu dense)) relu dense sw2=1 sb2=0.1 last=mean M/T=2"),
    *(
        law_claim(QuantileClaim, f"last_mean.quantile[{k}]",
                  f": {k}/10 of the eigenvalues lie below the quantile of the limiting law, given their mean",
                  quantity="quantiles", measured="quantiles", tenths=k)
        for k in range(2, 10)
    ),
    law_claim(EdgeOverMeanClaim, "hidden_layer.last_mean",
              ": the largest eigenvalue is the edge of the limiting spectrum with its Tracy-Widom mean, given the mean "
              "of the eigenvalues", hidden="layer"),
    law_claim(SecondMomentClaim, "last_mean.s", f": {NAMES['s']}, overlaps of different samples fluctuating",
              quantity="s", measured="s", fewest_samples=2),
    growth_claim("hidden_layer", "lambda_max", f": {_grows}", hidden="layer"),
    growth_claim("hidden_batch", "lambda_max", f", E phi != 0: {_grows}", hidden="batch"),
    growth_claim("hidden_batch.m", "m", f": {NAMES['m']}", hidden="batch", measured="m"),
    growth_claim("hidden_batch_centered", "lambda_max_upper", f", E phi = 0: {_root}", hidden="batch", centered=True),
]  # fmt: skip

ORDERS = [claim for hidden in ("none", "layer", "batch") for claim in order_claims(hidden)]

CLAIMS: dict[str, Claim] = {
    claim.id: claim
    for group in (PLAIN, LAST_MEAN, LAST_BATCH, LAST_LAYER, HIDDEN_LAYER, HIDDEN_BATCH, COMBINED, GROWTH, ORDERS)
    for claim in group
}


GROUPS = {
    "paper": "the statements of the paper",
    "beyond": "statements derived here that go beyond it",
}
"""Names that stand for many claims, and what these are."""


def group(name: str) -> list[str]:
    """The ids of the claims of a group."""
    return [claim.id for claim in CLAIMS.values() if claim.beyond == (name == "beyond")]


def add_claim(claim: Claim) -> None:
    """Add a claim to `CLAIMS` under its id, which must be new.

    >>> claim = verify.Claim("plain.trace", "the mean eigenvalue once more", "m", "m")
    >>> verify.add_claim(claim)
    >>> verify.CLAIMS["plain.trace"].assumptions
    'hidden = none, last = none, T >= 2 fixed'
    """
    if not isinstance(claim, Claim):
        raise ValueError(f"{claim!r} is not a claim; give an instance of Claim, or of a class made of it")
    if claim.id in CLAIMS:
        raise ValueError(f"claim {claim.id!r} exists already; choose another id")
    CLAIMS[claim.id] = claim
