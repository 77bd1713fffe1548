"""What a handler is told about one record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one record's way.

    status       "succeeded", "failed" or "canceled"
    result       the API's own result object: {"type": "succeeded", "message": {...}} or {"type": "errored", "error": {...}};
                 {"type": "canceled"} if it was canceled and its last sending, if any, said nothing else
    attempts     how often it was sent
    cost         USD, None if it did not succeed or its model has no known price
    delivery_id  stable over repeated deliveries of this outcome: use it to make a handler idempotent
    """

    job: str
    custom_id: str
    status: str
    result: dict[str, Any]
    error_type: str | None
    error: str | None
    attempts: int
    cost: float | None
    metadata: dict[str, Any] | None
    delivery_id: str

    @property
    def text(self) -> str:
        """The answer's text blocks, joined; empty if it did not succeed or has none."""
        blocks = (self.result.get("message") or {}).get("content") or []
        return "".join(block.get("text", "") for block in blocks if block.get("type") == "text")
