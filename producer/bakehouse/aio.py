"""The same for asyncio: each of these runs its namesake of `bakehouse` in a thread, so that the event loop goes on.

Waiting is done in a thread, too: it holds one of the loop's default executor (some thirty of them, on most machines), so gather the
receipts and wait once. Canceling the awaiting task does not end that thread before its time-out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import bakehouse
from bakehouse.client import Receipt
from bakehouse.contract import DEFAULT_API_VERSION
from bakehouse.outcome import Outcome
from bakehouse.reading import Progress

#: Outcomes that are fetched in one go.
SPAN = 500


async def enqueue_record(
    params: Mapping[str, Any],
    *,
    custom_id: str | None = None,
    job: str = "default",
    priority: int = 0,
    betas: Sequence[str] = (),
    on_result: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    api_version: str = DEFAULT_API_VERSION,
    durable: bool = False,
) -> Receipt:
    """Enqueue one Messages request, as `bakehouse.enqueue_record()` does."""
    return await asyncio.to_thread(
        bakehouse.enqueue_record,
        params,
        custom_id=custom_id,
        job=job,
        priority=priority,
        betas=betas,
        on_result=on_result,
        metadata=metadata,
        api_version=api_version,
        durable=durable,
    )


async def enqueue_records(records: Iterable[Mapping[str, Any]], *, job: str = "default", durable: bool = False) -> int:
    """Enqueue many requests, as `bakehouse.enqueue_records()` does. The iterable is read in the thread."""
    return await asyncio.to_thread(bakehouse.enqueue_records, records, job=job, durable=durable)


async def get_outcome(custom_id: str, *, job: str = "default") -> Outcome | None:
    """Return what became of a record, as `bakehouse.get_outcome()` does."""
    return await asyncio.to_thread(bakehouse.get_outcome, custom_id, job=job)


async def wait(receipts: Receipt | Iterable[Receipt], *, timeout: float | None = None) -> list[Outcome]:
    """Wait until all of these have ended, as `bakehouse.wait()` does."""
    return await asyncio.to_thread(bakehouse.wait, receipts, timeout=timeout)


async def wait_for_job(job: str, *, timeout: float | None = None) -> Progress:
    """Wait until a job is done, as `bakehouse.job(name).wait()` does."""
    return await asyncio.to_thread(bakehouse.job(job).wait, timeout=timeout)


async def iter_outcomes(job: str, *, status: str | None = None) -> AsyncIterator[Outcome]:
    """Yield what has ended of a job, as `bakehouse.iter_outcomes()` does."""
    found = await asyncio.to_thread(bakehouse.iter_outcomes, job, status=status)
    while span := await asyncio.to_thread(lambda: list(islice(found, SPAN))):
        for outcome in span:
            yield outcome
