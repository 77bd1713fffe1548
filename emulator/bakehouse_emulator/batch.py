"""A batch and its states, as functions of the emulated time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bakehouse_emulator.clock import rfc3339
from bakehouse_emulator.options import EmulatorOptions

COUNTED = ("succeeded", "errored", "canceled", "expired")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch as stored. Times are emulated Unix seconds; the four counts are 0 until it ended."""

    seq: int = 0
    id: str
    workspace: str
    version: str
    betas: str
    count: int
    created: float
    duration: float  # seconds its items need, if nothing cuts them short
    expires: float
    ends: float  # when it will be, or was, over
    cancel_initiated: float | None = None
    ended: bool = False
    deleted: bool = False
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    def finished(self, options: EmulatorOptions) -> int:
        """How many items run before a cancel or the expiry stops the rest; items finish evenly over the duration."""
        if self.cancel_initiated is not None and options.canceled_share is not None:
            return self.count - round(self.count * options.canceled_share)
        stopped = self.expires if self.cancel_initiated is None else self.cancel_initiated
        if stopped - self.created >= self.duration:
            return self.count
        return int(self.count * (stopped - self.created) / self.duration)

    def archived(self, options: EmulatorOptions) -> float:
        """When its results are gone."""
        return self.created + options.archive_seconds

    def view(self, now: float, options: EmulatorOptions, origin: str) -> dict[str, Any]:
        """The batch as the API shows it at this time, to a caller who knows the emulator by this origin."""
        archived = self.archived(options) <= now
        shows_url = self.ended and (not archived or options.archived_keeps_url)
        counts = {name: getattr(self, name) for name in COUNTED}
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": self.status,
            "request_counts": {"processing": 0 if self.ended else self.count, **counts},
            "created_at": rfc3339(self.created),
            "expires_at": rfc3339(self.expires),
            "ended_at": rfc3339(self.ends) if self.ended else None,
            "cancel_initiated_at": None if self.cancel_initiated is None else rfc3339(self.cancel_initiated),
            "archived_at": rfc3339(self.archived(options)) if archived else None,
            "results_url": self._results_url(options, origin) if shows_url else None,
        }

    @property
    def status(self) -> str:
        """`processing_status`."""
        if self.ended:
            return "ended"
        return "in_progress" if self.cancel_initiated is None else "canceling"

    def _results_url(self, options: EmulatorOptions, origin: str) -> str:
        path = f"/v1/messages/batches/{self.id}/results"
        if options.results_url == "relative":
            return path
        return (origin if options.results_url == "absolute" else options.results_url.rstrip("/")) + path
