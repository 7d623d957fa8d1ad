"""Files that a user names on the command line: checked before the work that would be lost, and written whole."""

from __future__ import annotations

import os
from pathlib import Path


def check_folder(what: str, folder: Path) -> None:
    """Refuse a folder that neither exists nor could be made, before the work that would be lost."""
    place = folder if folder.exists() else folder.absolute().parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise ValueError(f"{what} {folder}: it must be a folder that can be written to, or made; name one")


def write_whole(file: Path, text: str) -> None:
    """Write a file that is replaced whole or not at all."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def check_writable(what: str, file: Path) -> None:
    """Refuse a file that could not be written, before the work that would be lost."""
    if file.is_dir() or not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
        raise ValueError(f"{what} {file}: it must be a file in a folder that exists and can be written to; name one")
