"""How a quantity relates to its formula, and how that is written."""

from typing import NamedTuple


class Relation(NamedTuple):
    """How a relation is written: between two sides, in LaTeX, and before a number in plain text and on a page."""

    plain: str
    latex: str
    prefix: str
    page: str


RELATIONS = {
    "equals": Relation("~", r"\simeq", "", ""),
    "at least": Relation(">=", r"\ge", ">=", "≥ "),
    "at most": Relation("<=", r"\le", "<=", "≤ "),
}
"""The relations of a quantity to its formula, which hold to leading order in the width."""
