"""Everything about one record, for `bakehouse show`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from bakehouse_worker.local.progress import age, counted


def told(found: Sequence[dict[str, Any]], refused: Sequence[dict[str, Any]], now: float) -> list[str]:
    """Return what is known under a custom_id as lines for a terminal."""
    lines: list[str] = []
    for record in found:
        lines.append(f"{record['custom_id']} in job {record['job']}: {record['state']}")
        lines.append(
            f"  model {record['model']}, {record['bytes']:,} bytes, {counted(record['failures'], 'failed attempt')}"
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
    return lines


def _sending(number: int, sending: dict[str, Any]) -> str:
    where = sending["remote_id"] or "never sent"
    what = (
        sending["kind"]
        if not sending["error_type"]
        else f"{sending['kind']} {sending['error_type']}: {sending['error'] or ''}"
    )
    if sending["stop_reason"]:
        what += f", {sending['stop_reason']}, {sending['model']}"
    at = datetime.fromtimestamp(sending["received_at"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"  {number}. {at}, {where}: {what}"


def as_json(found: Sequence[dict[str, Any]], refused: Sequence[dict[str, Any]]) -> str:
    """Return what is known under a custom_id as JSON."""
    return orjson.dumps({"records": list(found), "rejected": list(refused)}, option=orjson.OPT_INDENT_2).decode()
