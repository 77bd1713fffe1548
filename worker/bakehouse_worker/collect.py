"""Station 5, between poll and settle: stream a batch's result lines into rows, in spans.

Lines come in any order and are matched by the id on the wire alone. A stream that breaks is read again; what stands is not doubled.
The batch is collected when every member is accounted for, and never on a stream that is shorter than the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bakehouse_worker import result_line, retry, wire
from bakehouse_worker.errors import GatewayError, Refused, WorkerStops
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.states import BatchState
from bakehouse_worker.store import batches, doubts, results, submissions
from bakehouse_worker.store.batches import OpenBatch
from bakehouse_worker.store.results import ResultRow

#: Result lines per transaction, and their bytes, about.
SPAN, BYTES = 4_000, 4_000_000
#: Seconds before an incomplete or broken stream is read again; doubles up to the cap.
AGAIN, AGAIN_CAP = 1.0, 300.0

log = logger("collect")


@dataclass(slots=True)
class _Tally:
    """What one reading of a stream saw."""

    lines: int = 0
    unknown: int = 0


class _NotOurs(Exception):
    """The first line of an adopted batch carries somebody else's ids."""


def collect(runtime: Runtime, batch_id: int, stored: Callable[[Sequence[ResultRow]], None] | None = None) -> str:
    """Collect one ended batch; returns what came of it in a word. `stored` is told each span of rows as it is committed."""
    database = runtime.database
    batch = batches.claim_collect(database, batch_id, runtime.owner, runtime.settings.lease)
    if batch is None:
        return "not due"
    tally = _Tally()
    try:
        with runtime.gateway.results(batch.remote_id) as lines:
            for rows in _spans(runtime, batch, lines, tally):
                results.add(database, rows)
                if stored is not None:
                    stored(rows)
    except WorkerStops:
        batches.hand_back(database, batch_id, runtime.owner)
        log.info("handed back", batch=batch_id)
        return "handed back"
    except _NotOurs:
        if not doubts.refute(database, batch_id, batch.remote_id):
            return _again(runtime, batch_id, "the adopted batch is not ours, and is given back soon")
        log.error("adopted batch was not ours", batch=batch_id, remote=batch.remote_id)
        return "refuted"
    except Refused as error:
        if error.status == 404 and _is_gone(runtime, batch.remote_id):
            return _gone(runtime, batch_id)
        return _again(runtime, batch_id, str(error))
    except GatewayError as error:
        return _again(runtime, batch_id, str(error))
    return _account(runtime, batch, tally)


def _spans(runtime: Runtime, batch: OpenBatch, lines: Iterator[bytes], tally: _Tally) -> Iterator[list[ResultRow]]:
    """Cut the stream into spans of rows, renewing the lease between them."""
    nonce, confirmed = submissions.of_batch(runtime.database, batch.id)
    whose = wire.members(runtime.installation, nonce)
    rows: list[ResultRow] = []
    size = 0
    now, renewed = runtime.database.now(), time.monotonic()
    for line in lines:
        if runtime.stopping():
            raise WorkerStops
        tally.lines += 1
        row = result_line.row(line, batch.id, now, whose)
        if row is None:
            if not confirmed:
                raise _NotOurs
            tally.unknown += 1
            continue
        if not confirmed:
            submissions.confirm(runtime.database, batch.id)
            confirmed = True
        rows.append(row)
        size += len(line)
        if len(rows) == SPAN or size > BYTES:
            yield rows
            rows, size, now = [], 0, runtime.database.now()
            if time.monotonic() - renewed > runtime.settings.lease / 4:
                if not batches.renew(runtime.database, batch.id, runtime.owner, runtime.settings.lease):
                    raise GatewayError("the lease was lost")
                renewed = time.monotonic()
    if rows:
        yield rows


def _account(runtime: Runtime, batch: OpenBatch, tally: _Tally) -> str:
    """Close the collection if every member is accounted for; else read again later, with an alarm."""
    database = runtime.database
    stored = results.count(database, batch.id)
    if stored < batch.requests:
        if stored + tally.unknown < batch.requests or tally.lines < batch.requests:
            return _again(runtime, batch.id, f"{stored:,} of {batch.requests:,} results came; reading again")
        _account_for_missing(
            runtime, batch.id, retry.MISSING, "api_error", "the API returned no result for this request"
        )
    if tally.unknown:
        log.warning("unknown ids set aside", batch=batch.id, lines=tally.unknown)
    batches.collected(database, batch.id, runtime.owner)
    log.info("collected", batch=batch.id, results=batch.requests, lines=tally.lines)
    return "collected"


def _gone(runtime: Runtime, batch_id: int) -> str:
    _account_for_missing(
        runtime,
        batch_id,
        retry.GONE,
        "results_gone",
        "the API no longer has this batch's results (deleted, or older than 29 days)",
    )
    batches.collected(runtime.database, batch_id, runtime.owner)
    log.error("results gone", batch=batch_id)
    return "gone"


def _account_for_missing(runtime: Runtime, batch_id: int, kind: str, error_type: str, error: str) -> None:
    while missing := results.unanswered(runtime.database, batch_id, SPAN):
        now = runtime.database.now()
        rows = [
            results.own_row(record_id, attempt, batch_id, kind, error_type, error, now)
            for record_id, attempt in missing
        ]
        results.add(runtime.database, rows)


def _is_gone(runtime: Runtime, remote_id: str) -> bool:
    try:
        return runtime.gateway.retrieve(remote_id).archived
    except Refused as error:
        return error.status == 404


def _again(runtime: Runtime, batch_id: int, reason: str) -> str:
    delay = retry.pause(batches.tries(runtime.database, batch_id), AGAIN, AGAIN_CAP, runtime.dice())
    batches.put_off(
        runtime.database, batch_id, BatchState.ENDED, runtime.database.now() + delay, f"results incomplete: {reason}"
    )
    log.warning("collect again", batch=batch_id, reason=reason)
    return "again"
