"""Lines for a terminal of 80 columns."""

from __future__ import annotations

from textwrap import wrap

WIDTH = 80


def wrapped(text: str, indent: int = 0, hang: int = 2) -> list[str]:
    """Return a text as lines of at most 80 columns, all of them indented and those after the first by `hang` more.

    White space in it becomes single blanks, and what cannot be printed a question mark: it may be somebody else's text.
    """
    clean = "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
    return wrap(
        clean,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hang),
        break_on_hyphens=False,
    )
