"""Names that users add: each one word, each once."""


def check_new(what: str, name: str, taken: tuple[str, ...]) -> None:
    """Refuse a name that a setting could not spell, or that is taken."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"{what} name {name!r}: it must be one word, since settings name it; use letters")
    if name in taken:
        raise ValueError(f"{what} {name!r} exists already; choose another name than {', '.join(taken)}")
