"""What the API says of a batch, and how its stream of results is cut into lines. Needs no SDK."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Remote:
    """One batch as the API shows it. Times are seconds since 1970."""

    id: str
    status: str
    requests: int
    created_at: float
    expires_at: float | None
    ended_at: float | None
    archived: bool


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the list of batches, newest first, and the workspace that it belongs to."""

    batches: tuple[Remote, ...]
    workspace: str
    has_more: bool


def lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Cut a stream into lines without their ends; blank lines are left out, a last line without an end is kept."""
    rest = b""
    for chunk in chunks:
        pieces = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
        rest = pieces.pop()
        for line in pieces:
            if line := line.rstrip(b"\r"):
                yield line
    if rest.strip():
        yield rest


def remote_batch(fields: Mapping[str, Any]) -> Remote:
    """Read a batch object. Raises KeyError, TypeError or ValueError if it is none."""
    counts = fields["request_counts"]
    return Remote(
        id=fields["id"],
        status=fields["processing_status"],
        requests=sum(counts.values()),
        created_at=_when(fields["created_at"]) or 0.0,
        expires_at=_when(fields.get("expires_at")),
        ended_at=_when(fields.get("ended_at")),
        archived=fields.get("archived_at") is not None,
    )


def _when(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None
