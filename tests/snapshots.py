"""Committed screens: what a command prints, compared with a file that a person has read and found good.

SNAPSHOTS=write writes the files anew: look at them before committing them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

FOLDER = Path(__file__).with_name("snapshots")
_REMOTE = re.compile(r"msgbatch_01\w{22}")


def steady(text: str) -> str:
    """Put names in place of what is made by chance, of the same length, so that lines break where they did."""
    names: dict[str, str] = {}
    return _REMOTE.sub(lambda found: names.setdefault(found[0], f"msgbatch_01{len(names) + 1:0>22}"), text)


def matches(name: str, text: str) -> None:
    """Fail unless text is what the snapshot of this name says."""
    file, text = FOLDER / f"{name}.txt", steady(text).rstrip("\n") + "\n"
    if os.environ.get("SNAPSHOTS") == "write":
        file.write_text(text, encoding="utf-8")
    known = file.read_text(encoding="utf-8") if file.exists() else ""
    assert text == known, (
        f"{file.name} says something else; if this is better: SNAPSHOTS=write pytest, read it, commit it"
    )
