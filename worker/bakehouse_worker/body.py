"""The bytes of one create, streamed from the store with their exact length. Part of station 3, submit.

The last bytes are held back until `closing` is committed, and not sent at all if that took too long: between the two a sender
must not sleep.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bakehouse_worker import epoch, wire
from bakehouse_worker.errors import SendingStopped, WorkerStops
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import batches, submissions
from bakehouse_worker.store.batches import Member
from bakehouse_worker.store.submissions import Sending

#: A piece of the body holds at most this many requests, and about this many bytes.
PIECE_REQUESTS = 500
PIECE_BYTES = 2_000_000
#: Seconds between the decision to send the last bytes and their sending beyond which the sender gives up.
STALL = 1.0

log = logger("submit")


@dataclass
class Body:
    """The bytes of one create. Iterating streams them; `closing` tells whether the last of them may have gone out."""

    runtime: Runtime
    sending: Sending
    members: Sequence[Member]
    closing: bool = False
    prefix: str = field(init=False)
    length: int = field(init=False)

    def __post_init__(self) -> None:
        self.prefix = wire.prefix(self.runtime.installation, self.sending.nonce)
        requests = sum(wire.request_size(self.prefix, m.record_id, m.attempt, m.bytes) for m in self.members)
        commas = max(0, len(self.members) - 1)
        self.length = len(wire.OPEN) + requests + commas + len(wire.CLOSE)

    def __iter__(self) -> Iterator[bytes]:
        """Stream the body; the lease is renewed on the way, and the last bytes leave only after `closing` is committed."""
        renewed = time.monotonic()
        before = wire.OPEN
        for piece in _pieces(self.members):
            if self.runtime.stopping():
                raise WorkerStops
            if time.monotonic() - renewed > self.runtime.settings.lease / 4:
                self._renew()
                renewed = time.monotonic()
            yield before + b",".join(self._requests(piece))
            before = b","
        self._close()
        yield wire.CLOSE

    def _requests(self, piece: Sequence[Member]) -> Iterator[bytes]:
        found = batches.bodies(self.runtime.database, self.sending.batch_id, piece[0].record_id, piece[-1].record_id)
        if len(found) != len(piece):
            raise SendingStopped("the batch's members changed while it was sent")
        for member, params in zip(piece, found, strict=True):
            yield wire.request_head(self.prefix, member.record_id, member.attempt) + params + b"}"

    def _renew(self) -> None:
        if not batches.renew(
            self.runtime.database, self.sending.batch_id, self.sending.owner, self.runtime.settings.lease
        ):
            raise SendingStopped("the lease was lost while the body was sent")

    def _close(self) -> None:
        settings, started = self.runtime.settings, time.monotonic()
        if not submissions.closing(self.runtime.database, self.sending, settings.lease):
            raise SendingStopped("the lease was lost before the last bytes")
        log.info("closing", batch=self.sending.batch_id, submission=self.sending.submission_id)
        epoch.remember(self.runtime)
        if time.monotonic() - started > STALL:
            raise SendingStopped("the sender stalled before the last bytes")
        self.closing = True


def _pieces(members: Sequence[Member]) -> Iterator[Sequence[Member]]:
    start = size = 0
    for position, member in enumerate(members):
        if position > start and (position - start == PIECE_REQUESTS or size + member.bytes > PIECE_BYTES):
            yield members[start:position]
            start, size = position, 0
        size += member.bytes
    if start < len(members):
        yield members[start:]
