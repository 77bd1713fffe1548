"""Everything about one record, for `bakehouse show`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from bakehouse_worker.local.progress import age, counted


def told(
    found: Sequence[dict[str, Any]], refused: Sequence[dict[str, Any]], pruned: Sequence[dict[str, Any]], now: float
) -> list[str]:
    """Return what is known under a custom_id as lines for a terminal."""
    lines: list[str] = []
    for record in found:
        lines.append(f"{record['custom_id']} in job {record['job']}: {record['state']}")
        lines.append(
            f"  model {record['model']}, {record['bytes']:,} bytes, {counted(record['failures'], 'failed attempt')}"
        )
        if record["erased_at"]:
            lines.append(f"  erased at {_when(record['erased_at'])}: prompts and answers are gone")
        elif record["content_gone_at"]:
            lines.append(
                f"  pruned at {_when(record['content_gone_at'])}: prompts and answers are past their retention"
            )
        if record["state"] == "pending" and record["next_at"] > now:
            lines.append(f"  backing off for {age(record['next_at'] - now)}")
        if record["in_batch"] and record["state"] == "packed":
            batch = record["in_batch"]
            remote = f" ({batch['remote_id']})" if batch["remote_id"] else ""
            lines.append(f"  in batch {record['batch_id']}{remote}: {batch['state']}")
            if batch["alarm"]:
                lines.append(f"    {batch['alarm']}")
        lines += [_sending(number, sending) for number, sending in enumerate(record["sendings"], 1)]
        lines += [
            f"  delivery to {d['sink']}: {d['state']} after {counted(d['attempts'], 'attempt')}"
            + (f": {d['error']}" if d["error"] else "")
            for d in record["deliveries"]
        ]
    lines += [f"{row['custom_id']} in job {row['job']}: rejected: {row['reason']}" for row in refused]
    lines += [
        f"{row['custom_id']} in job {row['job']}: {row['state']}, and pruned at {_when(row['pruned_at'])}; "
        "the same record again is known by its hash and not sent"
        for row in pruned
    ]
    return lines


def _sending(number: int, sending: dict[str, Any]) -> str:
    where = sending["remote_id"] or "never sent"
    what = (
        sending["kind"]
        if not sending["error_type"]
        else f"{sending['kind']} {sending['error_type']}: {sending['error'] or ''}".rstrip(": ")
    )
    if sending["stop_reason"]:
        what += f", {sending['stop_reason']}, {sending['model']}"
    return f"  {number}. {_when(sending['received_at'])}, {where}: {what}"


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def as_json(
    found: Sequence[dict[str, Any]], refused: Sequence[dict[str, Any]], pruned: Sequence[dict[str, Any]]
) -> str:
    """Return what is known under a custom_id as JSON."""
    known = {"records": list(found), "rejected": list(refused), "pruned": list(pruned)}
    return orjson.dumps(known, option=orjson.OPT_INDENT_2).decode()
