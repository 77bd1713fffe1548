"""What `enqueue_record()` may raise. Every message says what is wrong, with which value, and what to do.

BakehouseError
├── InvalidRecord          the record would be refused hours later; `.field` names where
├── InboxFull              back-pressure: the inbox stands above its high-water mark
├── InboxUnavailable       Redis is down, out of memory, or not configured
└── ConfigurationError     a setting of the producer is missing or wrong
"""


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


class ConfigurationError(BakehouseError):
    """A setting is missing or makes no sense; the message names it."""
