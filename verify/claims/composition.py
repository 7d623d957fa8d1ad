"""Claims about one composed network: its spectrum, and the overlaps of its signals step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import sympy as sp

from fimcheck import theory
from fimcheck.numerics import overlaps
from fimcheck.theory.edge import is_residual
from fimcheck.theory.network.composition import Composed
from fimcheck.verify.claims.claim import Claim, rivals
from fimcheck.verify.claims.given_edge import ResidualEdgeClaim
from fimcheck.verify.claims.kinds import order_parameters
from fimcheck.verify.claims.paper import NAMES, add_claim
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.claims.wording import SettingError
from fimcheck.verify.rule.statistics import Array

SOURCE = "derived here (composition of steps)"
RELATIONS = {"same": "of a place with itself", "mate": "of two positions of a sample", "other": "of two samples",
             "apart": "of two places"}  # fmt: skip


@dataclass(frozen=True)
class OverlapClaim(Claim):
    """An overlap at one step.

    kind: "K" or "mean" of the signal after the step; "tq" of the derivatives of one output at a dense step ("same") or
    of two samples' outputs ("other", `final`); "Th" of the gradients of the outputs, which has no path. relation: of
    the places; "apart" for mates and others together, which a batch normalization above does not tell apart.
    """

    kind: str = "K"
    path: str = ""
    relation: str = "same"
    final: str = "same"
    index: tuple[int | tuple[int, ...], ...] = ()

    @property
    def symbol(self) -> str:
        """The overlap."""
        place = rf"[{self.path}]" if self.path else ""
        return rf"\mathrm{{{self.kind}}}_{{\mathrm{{{self.relation}}}}}{place}"

    def scale(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction:
        """The same of a place with itself, which an overlap of two places cannot exceed; of a mean the root of it."""
        kind = "K" if self.kind == "mean" else self.kind
        same = replace(self, kind=kind, relation="same", final="same").prediction(setting, wide)
        formula = sp.sqrt(same.formula) if self.kind == "mean" else same.formula
        return replace(
            same, quantity="the root of K[same]" if self.kind == "mean" else f"{kind}[same]", formula=formula
        )

    def values(self, draws: dict[str, Array]) -> Array:
        """The measured overlap, one value per draw; ``index`` is its place in what is measured."""
        found = draws[self.measured][(slice(None), *self.index)]
        return found.sum(1) if found.ndim > 1 else found

    def prediction(self, setting: Setting, wide: Composed | None = None) -> theory.Prediction:
        """The value from one run forward."""
        wide = wide or setting.wide()
        value = self.predicted(wide, setting)
        return theory.Prediction(self.kind, wide, self.samples, sp.Float(float(value), 17), "equals", (), self.source)

    def predicted(self, wide: Composed, setting: Setting) -> float:
        """The number that the theory states."""
        found = order_parameters(wide, self.samples, setting.samples)
        if self.kind == "Th":
            kappa = found.kappa1 if self.relation == "same" else found.kappa2
            return float(kappa) * float(wide.alpha)
        if self.kind == "K":
            at = found.K[self.path]
            return float(getattr(at, self.relation) if getattr(at, self.relation) is not None else at.same)
        if self.kind == "mean":
            return float(found.mean[self.path])
        wanted = ("mate", "other") if self.relation == "apart" else (self.relation,)
        sources = [(self.path, relation) for relation in wanted if (self.path, relation) in found.tq]
        return sum(float(getattr(found.tq[source], self.final)) for source in sources)


def add_network_claim(claim: type[OverlapClaim], network: str, id: str, source: str, **which: str) -> None:
    """Add a claim about an overlap of one composed network; which: `kind`, `path`, `relation`, `final` of OverlapClaim.

    The claim's own `prediction` states the formula.
    """
    setting = Setting(steps=network, samples=8, sigma_b2=0.3)
    wanted = {"relation": "same", "final": "same", **which}
    for found in network_claims(setting):
        if isinstance(found, OverlapClaim) and all(getattr(found, k) == v for k, v in wanted.items()):
            facts = {f.name: getattr(found, f.name) for f in fields(found)}
            add_claim(claim(**{**facts, "id": id, "source": source}))
            return
    known = ", ".join(c.id for c in network_claims(setting) if isinstance(c, OverlapClaim))
    raise SettingError(f"claim {id!r}: {network!r} has no overlap {which}; it has {known}")


def network_claims(setting: Setting, every: bool = True) -> list[Claim]:
    """Claims about a composed network at a setting: quantities of its spectrum, the overlaps of its gradients and, with
    ``every``, each overlap in the order of computation: forward, then backward from the output.

    For T = M/rho it is the largest eigenvalue alone, where that is derived.

    What is the same in every network, such as K[same] after a layer normalization, is left out.

    >>> setting = verify.Setting.parse("dense relu dense T=4")
    >>> [claim.id for claim in verify.network_claims(setting)][:3]
    ['network.K[1].same', 'network.K[1].other', 'network.K[2].same']
    """
    if not setting.composed:
        raise SettingError(f"{setting}: the paper's chain has claims of its own; give a network of steps")
    if setting.rho is not None:
        return [_edge_claim(setting)]
    about = {"last": setting.last, "hidden": setting.hidden, "network": str(setting), "source": SOURCE,
             "fewest_samples": fewest_samples(setting)}  # fmt: skip
    found: list[Claim] = []
    if setting.inputs == "gaussian":
        found += list(_overlap_claims(setting, about, every))
    for quantity in ("m", "s", "lambda_1", "lambda_perp", "lambda_max" if rivals(setting) == 1 else "lambda_top"):
        statement = f"{setting.steps or setting}: {NAMES[quantity]}"
        found.append(Claim(f"network.{quantity}", statement, quantity, quantity, **about))
    return found


def _edge_claim(setting: Setting) -> Claim:
    """All that is claimed for T = M/rho: the largest eigenvalue of a residual network."""
    if not is_residual(setting.wide()) or not setting.wide().output.removed:
        raise SettingError(
            f"{setting}: for T = M/rho there are claims about dense B*(skip(phi dense)) phi dense with last = mean or "
            "batch; take one of these, or T fixed"
        )
    return ResidualEdgeClaim(
        id="network.lambda_max",
        statement=f"{setting.steps}: the largest eigenvalue is the edge of the network's own units",
        quantity="lambda_max", measured="lambda_max", samples="proportional", last=setting.last, network=str(setting),
        given=(*(("Q1",) if setting.wide().output.scaled else ()), *ResidualEdgeClaim.given), source=SOURCE,
        fewest_samples=12,
    )  # fmt: skip


def fewest_samples(setting: Setting) -> int:
    """T from which 1/sd^2 of a batch normalization has a finite variance over networks: more than five places."""
    return -(-6 // setting.positions) if setting.couples_samples else 2


def _overlap_claims(setting: Setting, about: dict, every: bool) -> Iterator[Claim]:
    """The overlaps that differ from network to network."""
    constant = _constant(setting)
    for found in overlap_claims(setting, about):
        wanted = found.kind == "Th" or (every and found.kind != "mean" and (found.path, found.relation) not in constant)
        if wanted and found.scale(setting).formula > 0:
            yield found


def overlap_claims(setting: Setting, about: dict) -> Iterator[OverlapClaim]:
    """Everything that the theory states step by step, in the order of computation: K and the mean forward, tq backward
    from the output, then Th; also what it predicts to vanish.
    """
    network = setting.network(64)
    assert isinstance(network, overlaps.Network)
    relations = overlaps.relations(network)
    steps, dense = overlaps.step_paths(network), overlaps.dense_paths(network)
    both = setting.couples_samples and "mate" in relations
    orders = order_parameters(setting.wide(), T=setting.samples)
    title = setting.steps or setting.structure

    def claim(
        kind: str, path: str, relation: str, index: tuple[int | tuple[int, ...], ...], final: str = "same"
    ) -> OverlapClaim:
        tail = f".{final}" if final == relation or kind != "tq" else f".{final}({relation})"
        tail = f".{relation}" if kind in ("K", "Th") else "" if kind == "mean" else tail
        where = f"[{path}]" if path else ""
        of = "of the units" if kind == "mean" else RELATIONS[relation]
        return OverlapClaim(
            id=f"network.{kind}{where}{tail}",
            statement=f"{title}: {kind}{where} {of}",
            quantity=kind,
            measured=kind,
            **about,
            kind=kind,
            path=path,
            relation=relation,
            final=final,
            index=index,
        )

    for i, path in enumerate(steps[:-1]):  # the outputs are few, and do not average
        for r, relation in enumerate(relations):
            if relation != "mate" or orders.K[path].mate is not None:  # else one position is left
                yield claim("K", path, relation, (i, r))
        yield claim("mean", path, "same", (i,))
    for i, path in reversed(list(enumerate(dense[:-1]))):
        for f, final in enumerate(("same", "other")):
            if both:
                yield claim("tq", path, "same", (i, f, 0), final)
                yield claim("tq", path, "apart", (i, f, (1, 2)), final)
                continue
            for r, relation in enumerate(relations):
                yield claim("tq", path, relation, (i, f, r), final)
    for r, relation in enumerate(("same", "other")):
        yield claim("Th", "", relation, (r,))


def _constant(setting: Setting) -> set[tuple[str, str]]:
    """Overlaps after a normalization that every finite network has alike: K[same], and all of a batch normalization."""
    found: set[tuple[str, str]] = set()
    for path, step in setting.wide().all_steps.items():
        if step.normalizes:
            alike = ("same", "mate", "other") if step.couples_samples else ("same",)
            found |= {(path, relation) for relation in alike}
    return found
