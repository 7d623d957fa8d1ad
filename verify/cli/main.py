"""The entry point: finds the module of a command, and turns refusals into one line."""

from __future__ import annotations

import ast
import importlib
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "verify": "run",
    "claims": "run",
    "controls": "trust",
    "explain": "run",
    "calibrate": "trust",
    "check": "check",
    "derive": "derive",
    "book": "book",
    "measure": "measure",
    "scaling": "scaling",
    "sweep": "sweep",
    "table": "sweep",
    "plot": "pictures",
    "sharpness": "model",
    "coordinates": "model",
}
"""Every command and the module of this package that holds it."""


class Late(TyperGroup):
    """Commands whose modules are imported when they run: torch and SymPy take seconds, and help needs neither."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """All names."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:  # noqa: ARG002
        """The name and the help of a command, for lists of commands."""
        return TyperCommand(cmd_name, help=_help(cmd_name)) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself."""
        if args and args[0] in COMMANDS:
            return args[0], _load(args[0]), args[1:]
        return super().resolve_command(ctx, args)


def _load(name: str) -> Any:
    app = importlib.import_module(f"fimcheck.verify.cli.{COMMANDS[name]}").app
    group = typer.main.get_group(app)
    group.name = name
    return group.commands.get(name, group)


@cache
def _source(module: str) -> ast.Module:
    return ast.parse(Path(__file__).with_name(f"{module}.py").read_text("utf-8"))


def _help(name: str) -> str:
    """The first line of a command's docstring, or the help of its group, from the source of its module."""
    tree = _source(COMMANDS[name])
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return (ast.get_docstring(node) or "").split("\n")[0]
    calls = (k for node in ast.walk(tree) if isinstance(node, ast.Call) for k in node.keywords if k.arg == "help")
    return ast.literal_eval(next(calls).value)


app = typer.Typer(cls=Late, no_args_is_help=True, pretty_exceptions_enable=False)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"fimcheck {version('fimcheck')}")
        raise typer.Exit


@app.callback()
def describe(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")] = False,
) -> None:
    """Does a formula about wide random networks hold? Derive it, measure it, judge it."""


def main() -> None:
    """Every refusal of a value becomes one line on standard error and exit code 2."""
    try:
        app()
    except (ValueError, OSError, ArithmeticError) as refusal:
        if isinstance(refusal, ZeroDivisionError):  # a mistake of the program: no refusal
            raise
        err = Console(stderr=True, emoji=False)
        err.print(f"fimcheck: {refusal}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
