"""Puts a file's new records into the store: what stands in a file on this machine needs no inbox between.

The file may be read again, so nothing is lost while a record is in no other place. Workers are told whenever a batch is full.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

import redis

from bakehouse import BakehouseError
from bakehouse.contract import Record
from bakehouse_worker import accept, epoch
from bakehouse_worker.local.stack import Stack
from bakehouse_worker.log import logger
from bakehouse_worker.store import records
from bakehouse_worker.store.database import away
from bakehouse_worker.store.records import Entry

T = TypeVar("T")

#: Seconds between two tries, and for which the database or Redis may be away before the command gives up.
PAUSE, AWAY = 0.25, 60.0
#: One transaction takes at most this many records, and about this many bytes.
RECORDS, BYTES = 2_000, 8_000_000
#: Numbers of entries begin beyond this one, as Redis counts up from 0 in each millisecond: no two have the same id.
FIRST, NUMBERS = 2**19, 2**20

log = logger("feed")


def feed(stack: Stack, job: str, lines: Iterable[Record], expected: int, canary: int | None, *, fresh: bool) -> None:
    """Accept what the store does not know yet, and say how many records the job has in all, and how many go ahead.

    Of a `fresh` job it knows nothing.
    """
    fed, arrived = 0, 0
    # before a record takes an id that another one had before the database was restored
    _patiently(stack, lambda: epoch.notice(stack.runtime))
    runtime = stack.runtime
    if canary:
        _patiently(stack, lambda: records.send_ahead(runtime.database, job, canary))
    for span in _spans(lines):
        new = span if fresh else _unknown(stack, job, span)
        arrived = max(int(1000 * runtime.database.now()), arrived + 1)
        if new:
            _patiently(stack, partial(accept.into_store, runtime, _entries(arrived, new, runtime.dice())))
        fed += len(new)
        stack.tend()
        if fed >= runtime.settings.max_batch_requests:
            stack.ring("chunk")
            fed = 0
    _patiently(stack, lambda: records.close(runtime.database, job, expected))
    stack.ring("chunk")


def _spans(lines: Iterable[Record]) -> Iterator[list[Record]]:
    span: list[Record] = []
    size = 0
    for record in lines:
        span.append(record)
        size += len(record.params)
        if len(span) == RECORDS or size > BYTES:
            yield span
            span, size = [], 0
    if span:
        yield span


def _unknown(stack: Stack, job: str, span: list[Record]) -> list[Record]:
    custom_ids = [record.custom_id for record in span]
    known = _patiently(stack, lambda: records.known_digests(stack.runtime.database, job, custom_ids))
    return [record for record in span if known.get(record.custom_id) != record.digest]


def _entries(arrived: int, span: list[Record], dice: float) -> list[Entry]:
    """Give records the ids that entries of the inbox would have: the millisecond of their arrival, and their order in it."""
    first = FIRST + int(dice * (NUMBERS - RECORDS - FIRST))  # two commands may feed in the same millisecond
    return [Entry(f"{arrived}-{first + position}", record) for position, record in enumerate(span)]


def _patiently(stack: Stack, call: Callable[[], T]) -> T:
    """Make a call to the store or to Redis, waiting for one that is being restarted or changes hands. A repeat is harmless.

    The server of a command that this one had joined ends with that command: to tend the stack is to start another.
    """
    give_up = time.monotonic() + AWAY
    while True:
        try:
            return call()
        except redis.RedisError as error:
            if time.monotonic() > give_up:
                raise BakehouseError(
                    f"Redis has not answered for {AWAY:g} s ({type(error).__name__}): see that it runs and that BAKEHOUSE_REDIS_URL "
                    "is right; then the same command goes on"
                ) from None
            log.warning("Redis is away", reason=type(error).__name__)
        except Exception as error:
            if away(error) is None or time.monotonic() > give_up:
                raise
            log.warning("the database is away", reason=away(error))
        stack.tend()
        time.sleep(PAUSE)
