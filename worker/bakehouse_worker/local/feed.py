"""Puts a file's new records into the inbox while the workers take them out: the inbox stays small, and Redis may restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import methodcaller
from typing import TypeVar

from bakehouse import Client, InboxFull, InboxUnavailable
from bakehouse.contract import Record
from bakehouse_worker.local import jobfile
from bakehouse_worker.local.stack import Stack
from bakehouse_worker.store import records

T = TypeVar("T")

#: Seconds between two tries.
PAUSE = 0.25
#: The inbox is kept below this many bytes while a file is enqueued, so that memory does not grow with the file.
INBOX_BYTES = 32_000_000
#: Seconds that Redis may be away before the command gives up.
REDIS_AWAY = 60.0


def feed(stack: Stack, job: str, lines: Iterable[Record], expected: int, canary: int | None) -> None:
    """Enqueue what the store does not know yet, and say how many records the job has in all, and how many go ahead."""
    if canary:
        _patiently(stack, lambda client: client.send_ahead(job, canary))
    for span in spans(lines):
        known = records.known_digests(stack.runtime.database, job, [record.custom_id for record in span])
        _append(stack, [record for record in span if known.get(record.custom_id) != record.digest])
    _patiently(stack, lambda client: client.close(job, expected=expected))


def spans(items: Iterable[T]) -> Iterator[list[T]]:
    """Cut a stream into lists of a size that the store takes in one question."""
    remaining = iter(items)
    while span := list(islice(remaining, jobfile.SPAN)):
        yield span


def _append(stack: Stack, unsent: list[Record]) -> None:
    while unsent:
        try:
            _patiently(stack, methodcaller("append", unsent))
            return
        except InboxFull as full:
            unsent = unsent[full.accepted :]
            stack.tend()
            time.sleep(PAUSE / 5)


def _patiently(stack: Stack, call: Callable[[Client], object]) -> None:
    """Make a call to the inbox, waiting for a Redis that is being restarted or changes hands. A repeat is harmless."""
    give_up = time.monotonic() + REDIS_AWAY
    while True:
        settings = stack.runtime.settings
        try:
            call(Client(settings.redis_url, prefix=settings.redis_prefix, max_inbox_bytes=INBOX_BYTES))
            return
        except InboxUnavailable:
            if time.monotonic() > give_up:
                raise
        stack.tend()
        time.sleep(PAUSE)
