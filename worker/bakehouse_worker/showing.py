"""Everything about one record, for `bakehouse show`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from bakehouse_worker.local.progress import age, counted
from bakehouse_worker.wrapping import wrapped


def told(
    found: Sequence[dict[str, Any]], refused: Sequence[dict[str, Any]], pruned: Sequence[dict[str, Any]], now: float
) -> list[str]:
    """Return what is known under a custom_id as lines for a terminal."""
    lines: list[str] = []
    for record in found:
        lines += [line for text, indent in _record(record, now) for line in wrapped(text, indent)]
    for row in refused:
        lines += wrapped(f"{row['custom_id']} in job {row['job']}: rejected: {row['reason']}")
    for row in pruned:
        lines += wrapped(
            f"{row['custom_id']} in job {row['job']}: {row['state']}, and pruned at {_when(row['pruned_at'])}; "
            "the same record again is known by its hash and not sent"
        )
    return lines


def _record(record: dict[str, Any], now: float) -> Iterator[tuple[str, int]]:
    """Yield what is known of one record as (text, indent)."""
    yield f"{record['custom_id']} in job {record['job']}: {record['state']}", 0
    yield f"model {record['model']}, {record['bytes']:,} bytes, {counted(record['failures'], 'failed attempt')}", 2
    if record["erased_at"]:
        yield f"erased at {_when(record['erased_at'])}: prompts and answers are gone", 2
    elif record["content_gone_at"]:
        yield f"pruned at {_when(record['content_gone_at'])}: prompts and answers are past their retention", 2
    if record["state"] == "pending" and record["next_at"] > now:
        yield f"backing off for {age(record['next_at'] - now)}", 2
    if record["in_batch"] and record["state"] == "packed":
        batch = record["in_batch"]
        remote = f" ({batch['remote_id']})" if batch["remote_id"] else ""
        yield f"in batch {record['batch_id']}{remote}: {batch['state']}", 2
        if batch["alarm"]:
            yield batch["alarm"], 4
    generation = 0
    for number, sending in enumerate(record["sendings"], 1):
        if sending["generation"] is not None and sending["generation"] != generation:
            generation = sending["generation"]
            yield f"generation {generation}: requeued or replaced", 2
        yield from _sending(number, sending)
    for each in record["deliveries"]:
        error = f": {each['error']}" if each["error"] else ""
        of = f" of generation {each['generation']}" if record["generation"] else ""
        yield f"delivery{of} to {each['sink']}: {each['state']} after {counted(each['attempts'], 'attempt')}{error}", 2


def _sending(number: int, sending: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield one sending: when and in which batch, here and at the API; what came of it; the message; the API's request id."""
    where = f"batch {sending['batch_id']}, {sending['remote_id']}" if sending["remote_id"] else "never sent"
    what = " ".join(filter(None, (sending["kind"], sending["error_type"])))
    if sending["stop_reason"]:
        what += f", {sending['stop_reason']}, {sending['model']}"
    yield f"{number}. {_when(sending['received_at'])}, {where}", 2
    yield what, 5
    if sending["error"]:
        yield sending["error"], 5
    if sending["request_id"]:
        yield f"request id {sending['request_id']}", 5


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def as_json(
    found: Sequence[dict[str, Any]], refused: Sequence[dict[str, Any]], pruned: Sequence[dict[str, Any]]
) -> str:
    """Return what is known under a custom_id as JSON."""
    known = {"records": list(found), "rejected": list(refused), "pruned": list(pruned)}
    return orjson.dumps(known, option=orjson.OPT_INDENT_2).decode()
