"""A stored record as what the application is told of it."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from bakehouse import Outcome, ResultError, Usage
from bakehouse_worker.states import RecordState
from bakehouse_worker.store.counters import REJECTED
from bakehouse_worker.store.outcomes import Row


class _Line(msgspec.Struct, gc=False):
    """A result line, of which nothing is read: the bytes of its result are cut out, whatever stands beside it."""

    result: msgspec.Raw = msgspec.Raw(b"{}")


_cut = msgspec.json.Decoder(_Line).decode
_CANCELED = b'{"type":"canceled"}'


def outcome(row: Row, installation: str) -> Outcome:
    """Return a record that has ended as an Outcome. What the answer was is not told where its content is gone.

    The delivery id names the installation, because every store counts its records from 1, and what was asked, because a restored one
    gives a number again.
    """
    metadata: dict[str, Any] | None = orjson.loads(row.metadata) if row.metadata else None
    return Outcome(
        row.job,
        row.custom_id,
        row.state,
        row.sendings,
        f"{installation}-{row.record_id}-{row.generation}-{row.digest[:8]}",
        _error(row),
        _usage(row),
        row.cost,
        row.model,
        row.stop_reason,
        metadata,
        _raw(row),
    )


def rejected(job: str, custom_id: str, reason: str) -> Outcome:
    """Return the outcome of a receipt that was refused on acceptance."""
    return Outcome(job, custom_id, REJECTED, 0, "", error=ResultError(REJECTED, reason))


def _usage(row: Row) -> Usage | None:
    if row.state != RecordState.SUCCEEDED or row.input_tokens is None:
        return None
    return Usage(row.input_tokens, row.output_tokens or 0, row.cache_write_tokens or 0, row.cache_read_tokens or 0)


def _error(row: Row) -> ResultError | None:
    if row.state == RecordState.SUCCEEDED:
        return None
    if row.kind is None:
        unsent = row.state == RecordState.CANCELED and row.content_gone_at is None
        return None if unsent else ResultError("unavailable", "its content is past its retention")
    return ResultError(row.error_type or row.kind, row.error or row.kind, row.request_id)


def _raw(row: Row) -> bytes:
    """Return the API's own result object as it wrote it."""
    if row.line:
        try:
            return bytes(_cut(row.line).result)
        except RecursionError:  # nested a thousand times: cut as the API writes its lines
            return row.line.partition(b'"result":')[2].rstrip()[:-1]
    unsent = row.state == RecordState.CANCELED and row.content_gone_at is None
    return _CANCELED if unsent else b""  # as the API says it of those that it had
