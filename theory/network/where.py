"""A statement with its where-list: every order parameter named, step by step, in the names of the steps before it.

Nothing is expanded: an average of two Gaussian values is a function of their variance, covariance and mean, written out
once, and an overlap is one line in the names above it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef

from fimcheck.theory.gaussian.activations import Activation
from fimcheck.theory.network.averages import Average, Averages, activation_names, average_labels
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.elementwise import Phi
from fimcheck.theory.network.prediction import Prediction, first_variance, spread
from fimcheck.theory.network.state import Overlaps, Spherical, State, Value, mapped
from fimcheck.theory.simplest import simplest
from fimcheck.theory.symbols import Expr, T, alpha_total, kappa1, kappa2

NAMED, LONG = 5, 12
"""Operations from which an overlap and a tangent overlap get a name before the next step with weights."""


@dataclass(frozen=True)
class Line:
    """name = value; block: the step of the outermost chain, or the layer of a chain, that it belongs to."""

    name: sp.Symbol
    value: Expr
    block: int


@dataclass(frozen=True)
class Statement:
    """relation: "equals", "at least" or "at most". activations: phi by the name it has in the averages."""

    quantity: str
    relation: str
    formula: Expr
    lines: tuple[Line, ...]
    averages: tuple[Average, ...]
    activations: Mapping[str, Expr]
    conditions: tuple[Any, ...]
    source: str


def statement(prediction: Prediction, at: Mapping[str, Expr] | None = None) -> Statement:
    """The where-list of a prediction; at: numbers in the place of symbols, by name."""
    net, formula = prediction.network, prediction.formula
    if net.inputs is not None:
        raise ValueError("given inputs: their overlaps are matrices of numbers, and no line states them. Use evaluate.")
    put = putting(at or {})
    formula = put(formula)
    names = _Names(net)
    averages = Averages(names.labels)
    count = T if prediction.samples == "fixed" else sp.oo
    run, end = net.run(averages, put(count), apart=False, settle=names.settle, number=put)
    total = run.total(end)
    top = names.blocks + 1
    alpha = sp.sympify(run.count)
    lines = [*names.lines]
    if not alpha.is_number:
        lines.append(Line(alpha_total, alpha, top))
        alpha = alpha_total
    values = {kappa1: total.same / alpha, kappa2: total.other / alpha, first_variance: end.K.same}
    values[spread] = end.K.same - end.K.other
    if alpha.is_number:
        values[alpha_total] = alpha
    for symbol, value in values.items():
        value = sp.sympify(value)
        if symbol not in formula.free_symbols:
            continue
        if value.is_number or value.is_Symbol or formula == symbol:
            formula = formula.subs(symbol, value)
        else:
            lines.append(Line(symbol, value, top))
    return stated(prediction, formula, lines, averages, names.activations, put)


def stated(
    prediction: Prediction,
    formula: Expr,
    lines: Sequence[Line],
    averages: "Averages",
    activations: Mapping[str, Activation],
    put: Callable[[Any], Any],
) -> Statement:
    """The statement of a formula with those of the lines and averages that it rests on."""
    formula = simplest(formula)
    kept = _needed(formula, [replace(line, value=simplest(line.value)) for line in lines])
    used = set().union(*(value.atoms(AppliedUndef) for value in (formula, *(line.value for line in kept))))
    defined = tuple(averages.defined(used))
    acts = {name: act.expr for name, act in activations.items() if any(name in a.meaning for a in defined)}
    return Statement(
        prediction.quantity,
        prediction.relation,
        formula,
        kept,
        defined,
        acts,
        _strongest(put(k) for k in prediction.conditions),
        prediction.source,
    )


def _strongest(conditions: Iterable[Any]) -> tuple[Any, ...]:
    """Without lower bounds that another one implies."""
    bounds: dict[Expr, Any] = {}
    others = []
    for k in conditions:
        if k in (True, sp.true):
            continue
        if not (isinstance(k, sp.StrictGreaterThan | sp.GreaterThan) and k.rhs.is_number):
            others.append(k)
            continue
        known = bounds.get(k.lhs)
        if known is None or k.rhs > known.rhs or (k.rhs == known.rhs and isinstance(k, sp.StrictGreaterThan)):
            bounds[k.lhs] = k
    return (*others, *bounds.values())


def putting(at: Mapping[str, Expr]) -> Callable[[Any], Any]:
    """A function that puts numbers in the place of symbols, by name."""

    def put(value: Any) -> Any:
        if not isinstance(value, sp.Basic):
            return value
        known: dict[Any, Any] = {s: at[s.name] for s in value.free_symbols if isinstance(s, sp.Symbol) and s.name in at}
        return value.subs(known, simultaneous=True) if known else value

    return put


def _needed(formula: Expr, lines: list[Line]) -> tuple[Line, ...]:
    """Lines that the formula rests on, in order."""
    wanted, kept = set(formula.free_symbols), []
    for line in reversed(lines):
        if line.name in wanted:
            kept.append(line)
            wanted |= line.value.free_symbols
    return tuple(reversed(kept))


class _Names:
    """Gives names to the values of a state after each step, and keeps the lines."""

    def __init__(self, net: Composed) -> None:
        self.lines: list[Line] = []
        self.blocks = len(net.steps.steps)
        self._steps = net.all_steps
        self._known: dict[Expr, Expr] = {}
        self.activations = activation_names(net)
        self.labels = average_labels(self.activations)
        self._words = _layer_words(net)

    def settle(self, path: str, state: State) -> State:
        """The state in names."""
        block = self._words[path][1] if path in self._words else int(path.split(".")[0])
        word, tangent, place = self._name_of(path)
        step = self._steps[path]
        long, tangent_long = (0, 0) if step.branches else (1, 1) if isinstance(step, Dense) else (NAMED, LONG)

        def overlaps(t: Overlaps, name: str, least: int) -> Overlaps:
            values = zip(("1", "2", "m"), (t.same, t.other, t.mate), strict=True)
            return Overlaps(*(v if v is None else self._named(f"{name}{i}{place}", v, block, least) for i, v in values))

        K = overlaps(state.K, word, long)
        mean = self._named(f"{word}0{place}", state.mean, block, NAMED)
        law = state.law
        if isinstance(law, Spherical):
            spread_ = {s: self._named(f"r{place}", v, block, NAMED) for s, v in law.spread.items()}
            law = replace(law, spread=spread_)
        tangents = mapped(state.tangent, lambda t: overlaps(t, tangent, tangent_long))
        return replace(state, K=K, mean=mean, tangent=tangents, law=law)

    def _name_of(self, path: str) -> tuple[str, str, str]:
        if path in self._words:
            word, layer = self._words[path]
            return word, "Th" if word == "q" else f"Th{word}", f"_{layer}"
        return "K", "Th", f"[{path}]"

    def _named(self, name: str, value: Value, block: int, long: int) -> Expr:
        """A name for a value of ``long`` operations or more."""
        value = sp.sympify(value)
        alias = long == 0 and value.is_Symbol
        if value.is_number or (value.is_Symbol and not alias) or value.count_ops() < long:
            return value
        if alias:  # so that blocks which repeat read alike
            self.lines.append(Line(sp.Symbol(name, positive=True), value, block))
            return self.lines[-1].name
        if value not in self._known:
            symbol = sp.Symbol(name, positive=True)
            self._known[value] = symbol
            self.lines.append(Line(symbol, value, block))
        return self._known[value]


def _layer_words(net: Composed) -> dict[str, tuple[str, int]]:
    """For a chain of dense steps, activations and what stands between: the paper's letter and the layer, by path."""
    words, layer = {}, 0
    for number, step in enumerate(net.steps.steps, 1):
        if step.branches or net.positions != 1:
            return {}
        layer += isinstance(step, Dense)
        words[str(number)] = "q" if isinstance(step, Dense) else "h" if isinstance(step, Phi) else "y", layer
    return words
