"""How a screen of text is made: labels with a hanging indent, times as people read them. Pure."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime

from bakehouse_worker.local.progress import age

#: Columns of a label, where a line has one.
LABEL = 9


def labelled(label: str, text: str, width: int, *, indent: int = 0) -> list[str]:
    """Return a label and its text as lines that break between words only; the rest hangs below the text."""
    start = " " * indent + label.ljust(LABEL)
    return _wrapped(start + " " * (start[-1:] != " ") + text, width, indent + LABEL)


def item(text: str, width: int, *, indent: int) -> list[str]:
    """Return one item of a list; its further lines hang two columns deeper."""
    return _wrapped(" " * indent + text, width, indent + 2)


def _wrapped(text: str, width: int, hang: int) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, 40),
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )


def plain(text: str, most: int) -> str:
    """Return text from outside as one printable line of at most `most` characters."""
    text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def moment(at: float, now: float) -> str:
    """Return a time of day, with its date if it is far from now."""
    form = "%H:%M:%S UTC" if abs(at - now) < 12 * 3600 else "%Y-%m-%d %H:%M UTC"
    return datetime.fromtimestamp(at, UTC).strftime(form)


def since(at: float, now: float) -> str:
    """Return since when something is so, and for how long."""
    return f"since {moment(at, now)} ({age(now - at)})"


def until(at: float, now: float) -> str:
    """Return when something comes, and in how long."""
    return f"{moment(at, now)} (in {age(at - now)})" if at > now else "due"
