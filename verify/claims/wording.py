"""A setting as text: "relu C=2 T=6 last=mean", or "dense 2*(skip(relu dense)) dense C=2 T=6"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fimcheck.verify.claims.setting import Setting

SHORT = {
    "depth": "L",
    "ratios": "a",
    "sigma_w2": "sw2",
    "sigma_b2": "sb2",
    "classes": "C",
    "samples": "T",
    "rho": "M/T",
    "positions": "N",
}
FULL = {short: name for name, short in SHORT.items()}
KINDS = {"int": int, "int | None": int, "float": float, "float | None": float, "str": str}


class SettingError(ValueError):
    """A setting breaks a rule of the theory; the message names the value, the rule and the remedy."""


def write(setting: Setting) -> str:
    """The activation, or the steps, and whatever differs from the defaults."""
    words = [setting.steps or setting.activation]
    plain = {field.name: field.default for field in fields(setting)}
    plain |= {"activation": setting.activation, "steps": setting.steps, "ratios": (1.0,) * len(setting.ratios)}
    for name, usual in plain.items():
        value = getattr(setting, name)
        if value != usual:
            shown = [f"{v}".removesuffix(".0") for v in (value if isinstance(value, tuple) else (value,))]
            words.append(f"{SHORT.get(name, name)}={','.join(shown)}")
    return " ".join(words)


def read(text: str, types: Mapping[str, str]) -> dict[str, Any]:
    """The fields that a text gives, of those whose types are named."""
    first, words = _words(text)
    chain = len(first) == 1 and "(" not in first[0]
    values: dict[str, Any] = {"activation": first[0]} if chain else {"steps": " ".join(first)}
    said = set(values)
    for word in words:
        key, equals, value = word.partition("=")
        name = FULL.get(key, key)
        if not equals or name not in types:
            known = ", ".join(SHORT.get(n, n) for n in types)
            raise SettingError(f"{word!r} in setting {text!r}: words are NAME=VALUE with NAME among {known}; fix it")
        if name in said:
            raise SettingError(f"{word!r} in setting {text!r}: {key} is given twice; give it once")
        said.add(name)
        try:
            many = name == "ratios"
            values[name] = tuple(float(v) for v in value.split(",")) if many else KINDS[types[name]](value)
        except ValueError:
            raise SettingError(f"{word!r} in setting {text!r}: {value!r} is not a number; give one") from None
    return values


def _words(text: str) -> tuple[list[str], list[str]]:
    """The steps of a text, and its words NAME=VALUE; parentheses hold together."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign == "(") - (sign == ")")
        if sign.isspace() and depth <= 0:
            parts.append("")
        else:
            parts[-1] += sign
    parts = [part for part in parts if part] or [""]
    outside = [re.sub(r"\(.*\)", "", part, flags=re.DOTALL) for part in parts]
    settings = [i for i, part in enumerate(outside) if "=" in part]
    first = settings[0] if settings else len(parts)
    return parts[:first] or [""], parts[first:]
