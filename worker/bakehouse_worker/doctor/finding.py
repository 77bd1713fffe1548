"""What one check of `doctor` found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: whether all is well (None: not checked, or not decided), and what was seen, in one sentence."""

    check: str
    ok: bool | None
    told: str
