"""Files that a user names on the command line: checked before the work that would be lost, and written whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


def check_folder(what: str, folder: Path) -> None:
    """Refuse a folder that neither exists nor could be made, before the work that would be lost."""
    place = folder if folder.exists() else folder.absolute().parent
    try:
        _try(place)
    except OSError as error:
        raise ValueError(
            f"{what} {folder}: {error.strerror}; it must be a folder that can be written to, or made; name one"
        ) from None


def check_writable(what: str, file: Path) -> None:
    """Refuse a file that could not be written, by writing beside it, before the work that would be lost."""
    try:
        if file.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        if _is_device(file):
            return
        _try(file.parent)
        if not file.exists():
            file.touch()
            file.unlink()
    except OSError as error:
        raise ValueError(
            f"{what} {file}: {error.strerror}; it must be a file in a folder that exists and can be written to; "
            "name one"
        ) from None


def _is_device(file: Path) -> bool:
    """Such as /dev/stdout, which is written to as it is."""
    return file.exists() and not file.is_file()


def _try(folder: Path) -> None:
    with TemporaryDirectory(prefix=".fimcheck-", dir=folder) as made:
        Path(made, "try").write_bytes(b"x")  # a full disk refuses this


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A place to write to, which takes the place of the file in one step when all went well, and else is removed."""
    if _is_device(file):
        yield file
        return
    partial = file.with_name(f"{file.stem}.partial{file.suffix}")
    try:
        yield partial
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(file: Path, text: str) -> None:
    """Write a file that is replaced whole or not at all."""
    with whole(file) as partial:
        partial.write_text(text, encoding="utf-8")
