"""Networks as text: `dense 3*(skip(layer relu dense)) layer relu dense`, and the plain data it stands for.

A text is a sequence of steps. A step is NAME or NAME(arguments); arguments are KEY=VALUE or, for steps with branches,
sequences of steps. N*STEP and N*(STEPS) repeat. The plain data, nested (name, parameters, branches) with repeats
unrolled, is all that `compose` and the sampled networks are given; each side builds its own network from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Value = int | float | str
Node = tuple[str, Mapping[str, Value], tuple[tuple["Node", ...], ...]]
"""(name, parameters, branches), the form that both sides read."""

LONGEST = 4000
"""Most characters of a text."""
DEEPEST = 20
"""Most parentheses inside each other."""
MOST_STEPS = 2000
"""Most steps after repeats are unrolled."""

_TOKEN = re.compile(r"\s*(?:([A-Za-z_]\w*)|([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|([(),=*]))")


class DescriptionError(ValueError):
    """A text that describes no network; the message shows the place, the rule it breaks and the remedy."""


@dataclass(frozen=True)
class Item:
    """A step of a text as it is written: times > 1 for a repeat; a repeated group has no name and one branch."""

    name: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    branches: tuple[tuple[Item, ...], ...] = ()
    times: int = 1

    def __str__(self) -> str:
        given = [*map(written, self.branches), *(f"{k}={_number(v)}" for k, v in self.parameters.items())]
        inside = f"({', '.join(given)})" if given else ""
        return (f"{self.times}*" if self.times > 1 or not self.name else "") + self.name + inside

    @property
    def size(self) -> int:
        """Number of steps after unrolling."""
        inner = sum(item.size for branch in self.branches for item in branch)
        return self.times * (inner + bool(self.name))


def parse(text: str) -> tuple[Item, ...]:
    """The steps of a text, repeats kept."""
    if len(text) > LONGEST:
        raise DescriptionError(f"the network has {len(text)} characters; {LONGEST} are the most. Use repeats, N*(...).")
    parser = _Parser(text)
    items = parser.sequence(0)
    if parser.token is not None:
        parser.fail(f"{parser.token!r} is not expected", "remove it, or balance the parentheses")
    if not items:
        raise DescriptionError("the network has no steps; a text such as 'dense relu dense' names some")
    size = sum(item.size for item in items)
    if size > MOST_STEPS:
        raise DescriptionError(f"the network has {size} steps; {MOST_STEPS} are the most. Take fewer repeats.")
    return items


def written(items: tuple[Item, ...]) -> str:
    """The text of steps; `parse` reads it back."""
    return " ".join(map(str, items))


def unrolled(items: tuple[Item, ...]) -> tuple[Node, ...]:
    """The plain data."""
    return tuple(_nodes(items))


def _nodes(items: tuple[Item, ...]) -> Iterator[Node]:
    for item in items:
        branches = tuple(unrolled(branch) for branch in item.branches)
        for _ in range(item.times):
            if item.name:
                yield item.name, dict(item.parameters), branches
            else:
                yield from branches[0]


def _number(value: Value) -> str:
    return f"{value!r}".removesuffix(".0") if isinstance(value, float) else str(value)


class _Parser:
    """Reads tokens one by one; `token` is the next, None at the end."""

    def __init__(self, text: str) -> None:
        self.text, self.place, self.start = text, 0, 0
        self.token: str | None = None
        self.kind = ""
        self.next()

    def next(self) -> str | None:
        """The token read, and on to the one after it."""
        read, self.start = self.token, self.place
        match = _TOKEN.match(self.text, self.place)
        if match is None:
            rest = self.text[self.place :].strip()
            self.token = None
            if rest:
                self.fail(f"{rest[0]!r} is not allowed", "use names, numbers, parentheses, commas, = and *")
            return read
        self.place = match.end()
        self.kind = ("name", "number", "sign")[(match.lastindex or 1) - 1]
        self.token = match.group(match.lastindex or 1)
        return read

    def fail(self, what: str, remedy: str) -> None:
        """Stop with the text up to the place."""
        before = self.text[: max(self.start, 0)].strip()
        raise DescriptionError(f"network {self.text!r}: after {before!r}: {what}; {remedy}")

    def expect(self, sign: str) -> None:
        """Read a sign that must stand here."""
        if self.token != sign:
            found = "the text ends" if self.token is None else f"{self.token!r} is not expected"
            self.fail(f"{found} where {sign!r} is due", "balance the parentheses" if sign == ")" else "write it")
        self.next()

    def sequence(self, depth: int) -> tuple[Item, ...]:
        """Steps up to a closing sign."""
        if depth > DEEPEST:
            self.fail(f"more than {DEEPEST} parentheses inside each other", "make the network flatter")
        items: list[Item] = []
        while self.token is not None and self.token not in "),":
            items.append(self.item(depth))
        return tuple(items)

    def item(self, depth: int) -> Item:
        """One step, repeated or not."""
        if self.kind == "number":
            times = self.next() or ""
            if not times.isdigit() or int(times) < 1:
                self.fail(f"a repeat {times}*", "repeat a whole number of times, at least once")
            self.expect("*")
            if int(times) > MOST_STEPS:
                self.fail(f"{times} repeats", f"take {MOST_STEPS} at most")
            if self.token == "(":
                self.next()
                inner = self.sequence(depth + 1)
                self.expect(")")
                if not inner:
                    self.fail("a repeat of nothing", "put steps into the parentheses")
                return Item("", {}, (inner,), int(times))
            return self.step(depth, int(times))
        return self.step(depth, 1)

    def step(self, depth: int, times: int) -> Item:
        """NAME or NAME(arguments)."""
        if self.kind != "name" or self.token is None:
            self.fail("the text ends" if self.token is None else f"{self.token!r} is not a step", "name a step")
        name = self.next() or ""
        parameters: dict[str, Value] = {}
        branches: list[tuple[Item, ...]] = []
        if self.token == "(":
            self.next()
            while self.token != ")":
                if self.kind == "name" and self.text[self.place :].lstrip().startswith("="):
                    self.argument(name, parameters)
                else:
                    branches.append(self.sequence(depth + 1))
                    if not branches[-1]:
                        self.fail("an empty branch", "put steps into it")
                if self.token == ",":
                    self.next()
                elif self.token != ")":
                    self.expect(")")
            self.expect(")")
        return Item(name, parameters, tuple(branches), times)

    def argument(self, step: str, parameters: dict[str, Value]) -> None:
        """KEY=VALUE."""
        key = self.next() or ""
        self.expect("=")
        if key in parameters:
            self.fail(f"{step} is given {key} twice", "give it once")
        if self.token is None or self.kind == "sign":
            self.fail(f"{key}= without a value", "give a number or a word")
        number = self.kind == "number"
        word = self.next() or ""
        parameters[key] = word if not number else int(word) if word.lstrip("+-").isdigit() else float(word)
