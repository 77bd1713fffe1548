"""A stored record as what the application is told of it."""

from __future__ import annotations

import re
from typing import Any

import orjson

from bakehouse import Outcome, ResultError, Usage
from bakehouse_worker.states import RecordState
from bakehouse_worker.store.counters import REJECTED
from bakehouse_worker.store.outcomes import Row

#: A result line as the API writes it. The id in it is ours and needs no escapes.
_LINE = re.compile(rb'\s*\{\s*"custom_id"\s*:\s*"[\w-]*"\s*,\s*"result"\s*:\s*(.*\S)\s*\}\s*', re.DOTALL)
_CANCELED = b'{"type":"canceled"}'


def outcome(row: Row, installation: str) -> Outcome:
    """Return a record that has ended as an Outcome. What the answer was is not told where its content is gone.

    The delivery id names the installation, because every store counts its records from 1, and what was asked, because a restored one
    gives a number again.
    """
    raw, result = _result(row)
    told = Outcome(
        job=row.job,
        custom_id=row.custom_id,
        status=row.state,
        attempts=row.sendings,
        delivery_id=f"{installation}-{row.record_id}-{row.generation}-{row.digest[:8]}",
        error=_error(row),
        usage=_usage(row),
        cost=row.cost,
        model=row.model,
        stop_reason=row.stop_reason,
        metadata=orjson.loads(row.metadata) if row.metadata else {},
        raw=raw,
    )
    told.__dict__["result"] = result  # it would be parsed out of `raw` again when first asked for
    return told


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


def _result(row: Row) -> tuple[bytes, dict[str, Any]]:
    """Return the API's own result object as it wrote it, and what it says: {} if it is none."""
    if not row.line:
        unsent = row.state == RecordState.CANCELED and row.content_gone_at is None
        return (_CANCELED, {"type": "canceled"}) if unsent else (b"", {})  # as the API says it of those that it had
    line = orjson.loads(row.line)
    result = line.get("result", {})
    found = _LINE.fullmatch(row.line) if len(line) == 2 else None  # what stands behind the result is none of it
    return found.group(1) if found else orjson.dumps(result), result if isinstance(result, dict) else {}
