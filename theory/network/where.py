"""A statement with its where-list: every order parameter named, step by step, in the names of the steps before it.

Nothing is expanded: an average of two Gaussian values is a function of their variance, covariance and mean, written out
once, and an overlap is one line in the names above it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef

from fimcheck.theory import symbols
from fimcheck.theory.gaussian.activations import Activation
from fimcheck.theory.gaussian.functions import Function
from fimcheck.theory.gaussian.kernel import GaussianPair
from fimcheck.theory.gaussian.sphere import SpherePair
from fimcheck.theory.network.composition import Composed
from fimcheck.theory.network.dense import Dense
from fimcheck.theory.network.elementwise import Phi, slope_of
from fimcheck.theory.network.expectations import ClosedForms
from fimcheck.theory.network.prediction import Prediction, first_variance, spread
from fimcheck.theory.network.state import Overlaps, Spherical, State, Value, mapped
from fimcheck.theory.simplest import simplest
from fimcheck.theory.symbols import Expr, T, alpha_total, kappa1, kappa2

SHORT = 8
"""Operations up to which a closed form stands in the line that uses it."""

NAMED, LONG = 5, 12
"""Operations from which an overlap and a tangent overlap get a name before the next step with weights."""


@dataclass(frozen=True)
class Line:
    """name = value; block: the step of the outermost chain, or the layer of a chain, that it belongs to."""

    name: sp.Symbol
    value: Expr
    block: int


@dataclass(frozen=True)
class Average:
    """A named average of z^power f at ``count`` places, 0 for the mean: call(*arguments) = value.

    value: a closed form, or the average left as it is; meaning: the average in words.
    """

    call: Expr
    value: Expr
    meaning: str
    f: Function
    count: int
    power: int = 0

    @property
    def on_sphere(self) -> bool:
        """Whether it is an average over a normalized batch, not a Gaussian one."""
        return self.meaning.startswith("E_S")

    @property
    def is_closed(self) -> bool:
        """Whether the value is a closed form."""
        return not self.value.has(GaussianPair, SpherePair)


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


class Averages(ClosedForms):
    """Closed forms where they are short, else functions with a name, written out once.

    labels: the letter of the average of a function with itself, and the word for the function.
    """

    def __init__(self, labels: Mapping[Function, tuple[str, str]]) -> None:
        self._labels = labels
        self._definitions: dict[str, Callable[[], Average]] = {}

    def same(self, f: Function, p: Value, mean: Value) -> Expr:
        """E f(u)^2."""
        return self._named(1, f, (p,), mean, super().same)

    def pair(self, f: Function, p: Value, c: Value, mean: Value) -> Expr:
        """E f(u) f(v)."""
        return self.same(f, p, mean) if p == c else self._named(2, f, (p, c), mean, super().pair)

    def mean(self, f: Function, p: Value, mean: Value) -> Expr:
        """E f(u)."""
        return self._named(0, f, (p,), mean, super().mean)

    def _named(self, count: int, f: Function, at: tuple[Value, ...], mean: Value, value: Callable[..., Expr]) -> Expr:
        """The average of f at ``count`` places, as it is where it is short."""
        found = value(f, *at, mean)
        if _is_short(found):
            return found
        letter, word = self._label(f)
        free = (symbols.p, symbols.c)[: len(at)]
        if mean == 0:
            call, own, shift = sp.Function(f"{letter}{count}"), free, sp.S.Zero
        else:
            call, own, shift = sp.Function(f"{letter}{count}m"), (*free, symbols.mu), symbols.mu
        inside = (f"{word}(u)", f"{word}(u)^2", f"{word}(u) {word}(v)")[count]
        self._definitions[str(call)] = lambda: Average(
            call(*own), simplest(value(f, *free, shift)), f"E[{inside}]", f, count
        )
        return call(*at) if mean == 0 else call(*at, mean)

    def sphere(self, f: Function, power: int, count: int, samples: Value, gamma: Value, beta: Value) -> Expr:
        """E h(z_1), E h(z_1)^2 or E h(z_1) h(z_2)."""
        found = super().sphere(f, power, count, samples, gamma, beta)
        if _is_short(found):
            return found
        letter, word = self._label(f)
        call = sp.Function(f"S{letter}{'z' * power}{count}")
        free = sp.Symbol("n", positive=True), symbols.gamma, symbols.beta
        h = "z " * power + f"{word}(gamma z + beta)"
        inside = ("h(z1)", "h(z1)^2", "h(z1) h(z2)")[count]

        whole = super().sphere
        self._definitions[str(call)] = lambda: Average(
            call(*free), whole(f, power, count, *free), f"E_S[{inside}], h(z) = {h}", f, count, power
        )
        return call(samples, gamma, beta)

    def defined(self, used: set[Any]) -> Iterator[Average]:
        """Definitions of the averages that were used."""
        names = {str(u.func) for u in used}
        return (define() for name, define in self._definitions.items() if name in names)

    def _label(self, f: Function) -> tuple[str, str]:
        return self._labels.get(f) or ("H", f"({f.expr})")


def _is_short(expr: Expr) -> bool:
    """Whether it is a closed form, and short."""
    return not expr.has(GaussianPair, SpherePair) and expr.count_ops() <= SHORT


def activation_names(net: Composed) -> dict[str, Activation]:
    """The activations of a network by the names that averages give them."""
    acts = dict.fromkeys(step.activation for step in net.all_steps.values() if isinstance(step, Phi))
    return {f"phi{i}" if len(acts) > 1 else "phi": act for i, act in enumerate(acts, 1)}


def average_labels(activations: Mapping[str, Activation]) -> dict[Function, tuple[str, str]]:
    """Letter and word for each activation and its slope; see `Averages`."""
    labels: dict[Function, tuple[str, str]] = {}
    for word, act in activations.items():
        labels.setdefault(act.phi, (f"F{word[3:]}", word))
        labels.setdefault(slope_of(act), (f"G{word[3:]}", f"{word}'"))
    return labels


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
