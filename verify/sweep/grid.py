"""A grid of settings and widths, read from a TOML file: which points a sweep works on."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from fimcheck.numerics.quantities import PER_LAYER, PER_NETWORK
from fimcheck.verify.claims.setting import Setting
from fimcheck.verify.draws.draws import Chunk, Draws
from fimcheck.verify.draws.store import code_of

# A spread, and with it a standard error, needs two draws.
FEWEST_NETWORKS = 2
MOST_NETWORKS = 1_000_000
MOST_POINTS = 100_000
LONGEST_FILE = 1_000_000
"""Bytes of a grid: a list of axes, not of points."""
MEASURABLE = (*PER_NETWORK, *PER_LAYER)
KINDS = {"int": (int,), "int | None": (int,), "float": (int, float), "float | None": (int, float), "str": (str,)}


class GridError(ValueError):
    """A grid that breaks a rule; the message names the file, the key, the rule and the remedy."""


@dataclass(frozen=True)
class Point:
    """One setting at one width: what is measured there and, with `predict`, what the theory says.

    parameters: fields of a `Setting`, which may turn out to be none.
    """

    parameters: tuple[tuple[str, Any], ...]
    width: int
    networks: int
    quantities: tuple[str, ...]
    predict: bool
    seed_block: int
    device: str

    def setting(self) -> Setting:
        """The setting; ValueError if the parameters are none."""
        return Setting(**dict(self.parameters))

    def _draws(self) -> Draws:
        return Draws(self.setting(), self.quantities, seed_block=self.seed_block, device=self.device)

    def chunks(self) -> list[Chunk]:
        """What has to be measured; ValueError if there is no such network."""
        return list(self._draws().chunks("main", self.width, 0, self.networks))

    def cost(self) -> float:
        """In sampled weights, see `Draws.cost`; a single one if there is no such network."""
        try:
            return self.networks * self._draws().cost(self.width)
        except ValueError:
            return 1.0

    def spec(self) -> dict[str, Any]:
        """What determines the outcome, for a store."""
        try:
            setting = self.setting().record()
        except ValueError:
            setting = dict(self.parameters)
        return {
            "kind": "point",
            "setting": setting,
            "width": self.width,
            "networks": self.networks,
            "quantities": sorted(self.quantities),
            "predict": self.predict,
            "seed_block": self.seed_block,
            "device": self.device,
            "fimcheck": code_of("fimcheck.numerics", "fimcheck.theory"),
        }


def load(file: Path, seed_block: int = 0, device: str = "cpu") -> list[Point]:
    """The points of the grid in a TOML file: every combination of the values of its axes, widths innermost."""
    try:
        if file.stat().st_size > LONGEST_FILE:
            raise GridError(f"grid {file}: {file.stat().st_size} bytes, at most {LONGEST_FILE} are read; shorten it")
        grid = tomllib.loads(file.read_text())
    except GridError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise GridError(f"grid {file}: {error}; give a file in TOML") from None
    keys = _Keys(file, grid, "")
    networks = keys.take("networks", lambda v: _is(v, int) and FEWEST_NETWORKS <= v <= MOST_NETWORKS,
                         f"a whole number from {FEWEST_NETWORKS} to {MOST_NETWORKS}")  # fmt: skip
    widths = keys.take("widths", lambda v: _some(v, lambda w: _is(w, int) and w > 0), "a list of whole numbers")
    quantities = keys.take(
        "quantities", lambda v: _some(v, lambda q: q in MEASURABLE), f"a list of some of {', '.join(MEASURABLE)}"
    )
    predict = keys.take("predict", lambda v: _is(v, bool), "true or false", default=False)
    setting = _Keys(file, keys.take("setting", lambda v: _is(v, dict), "a table of fields of a setting"), "setting.")
    keys.finish()
    axes = {f.name: setting.axis(f.name, str(f.type)) for f in fields(Setting) if f.name in setting.table}
    setting.finish()
    count = prod(map(len, axes.values())) * len(widths)
    if count > MOST_POINTS:
        raise GridError(f"grid {file}: {count} points, at most {MOST_POINTS} are run; make several grids of it")
    points = [
        Point(tuple(zip(axes, values, strict=True)), width, networks, tuple(quantities), predict, seed_block, device)
        for values in product(*axes.values())
        for width in widths
    ]
    return list({str(point.spec()): point for point in points}.values())


@dataclass
class _Keys:
    """A table of a grid that is read key by key, so that a key that nobody reads is noticed."""

    file: Path
    table: dict[str, Any]
    prefix: str
    known: list[str] = field(default_factory=list)

    def take(self, key: str, holds: Callable[[Any], bool], rule: str, default: Any = None) -> Any:
        self.known.append(key)
        value = self.table.get(key, default)
        if value is None:
            raise GridError(f"grid {self.file}: {self.prefix}{key} is missing; give {rule}")
        if not holds(value):
            raise GridError(f"grid {self.file}: {self.prefix}{key} = {value!r} must be {rule}; correct it")
        return value

    def axis(self, key: str, kind: str) -> list[Any]:
        """One value or a list of them. Only ratios, which are a list themselves, may be a list of lists."""
        value = self.table[key]
        if key == "ratios":
            single = not isinstance(value, list) or not any(isinstance(v, list) for v in value)
            values = [value] if single else value
            rule, right = "a number, a list of numbers, or a list of such lists", _is_ratios
        else:
            values = value if isinstance(value, list) else [value]
            names = {int: "whole numbers", float: "numbers", str: "names"}
            rule = f"one or a list of {names[KINDS[kind][-1]]}"
            right = partial(_is, kinds=KINDS[kind])
        self.take(key, lambda _: _some(values, right), rule)
        return [tuple(v) if isinstance(v, list) else v for v in values]

    def finish(self) -> None:
        known = [f.name for f in fields(Setting)] if self.prefix else self.known
        for key in self.table:
            if key not in known:
                raise GridError(
                    f"grid {self.file}: {self.prefix}{key} is unknown; the keys here are {', '.join(known)}; correct it"
                )


def _is(value: Any, kinds: type | tuple[type, ...]) -> bool:
    """isinstance, except that true and false are not numbers."""
    return isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool))


def _is_ratios(value: Any) -> bool:
    return _is(value, (int, float)) or _some(value, lambda v: _is(v, (int, float)))


def _some(values: Any, right: Callable[[Any], bool]) -> bool:
    return isinstance(values, list) and bool(values) and all(map(right, values))
