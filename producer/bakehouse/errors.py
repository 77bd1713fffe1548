"""What `enqueue_record()` may raise. Every message says what is wrong, with which value, and what to do.

BakehouseError
├── InvalidRecord          the record would be refused hours later; `.field` names where
├── InboxFull              back-pressure: the inbox stands above its high-water mark
├── InboxUnavailable       Redis is down, out of memory, or not configured
│   └── NotOnDisk          `durable=True`: it stands in Redis, but Redis does not confirm that it is on disk
├── ConfigurationError     a setting is missing or wrong, or a part is not installed
├── UnknownJob             the store knows no job of this name
└── NotEnded               `wait()` came to its time-out; what has ended is in `.outcomes`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bakehouse.client import Receipt
    from bakehouse.outcome import Outcome


class BakehouseError(Exception):
    """Base of everything that Bakehouse raises on purpose. `accepted` records of the same call were enqueued before it."""

    accepted: int = 0


class InvalidRecord(BakehouseError, ValueError):
    """The record cannot become a request. `field` is its path, such as `params.max_tokens`; nothing was enqueued."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class InboxFull(BakehouseError):
    """The inbox holds more bytes than `BAKEHOUSE_MAX_INBOX_BYTES`."""

    def __init__(self, inbox_bytes: int, limit: int) -> None:
        super().__init__(
            f"the inbox holds {inbox_bytes:,} bytes, above its limit of {limit:,}: "
            "wait until the workers have accepted some, or raise BAKEHOUSE_MAX_INBOX_BYTES"
        )
        self.inbox_bytes = inbox_bytes
        self.limit = limit


class InboxUnavailable(BakehouseError):
    """Redis did not take the records: it is down, full, or refuses the password."""


class NotOnDisk(InboxUnavailable):
    """What was appended stands in Redis but is not known to be on disk. `never`: this server could not say so later either."""

    def __init__(self, entries: int, reason: str, never: bool) -> None:
        stands, them = ("the record stands", "it") if entries == 1 else ("the records stand", "them")
        super().__init__(f"{stands} in Redis, not known to be on disk: {reason}; enqueuing {them} again is harmless")
        self.never = never


class ConfigurationError(BakehouseError):
    """A setting is missing or makes no sense, or a part is not installed; the message names it."""


class UnknownJob(BakehouseError, LookupError):
    """No record of this job was accepted into the store, or not yet."""

    def __init__(self, job: str) -> None:
        super().__init__(f"no job {job!r} is known to the store, or none of its records has been accepted yet")
        self.job = job


class NotEnded(BakehouseError, TimeoutError):
    """Not all have ended within the time-out. `outcomes` are those that have, `waiting` the receipts of those that have not."""

    def __init__(self, message: str, outcomes: Sequence[Outcome] = (), waiting: Sequence[Receipt] = ()) -> None:
        super().__init__(message)
        self.outcomes: list[Outcome] = list(outcomes)
        self.waiting: list[Receipt] = list(waiting)
