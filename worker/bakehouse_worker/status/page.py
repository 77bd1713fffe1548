"""The snapshot as JSON, for programs. Its shape is documented in docs/status.md and only grows while VERSION stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import orjson

from bakehouse_worker.status.snapshot import BatchStatus, JobStatus, Snapshot
from bakehouse_worker.status.totals import money, summed

#: Goes up when a key changes its meaning or goes away.
VERSION = 1


def as_json(snapshot: Snapshot, *, one_line: bool = False) -> str:
    """Return the snapshot as one JSON document; times are seconds since 1970, money is USD."""
    wait = snapshot.wait
    document = {
        "version": VERSION,
        "at": snapshot.at,
        "inbox": {"entries": snapshot.inbox, "unreadable": snapshot.unreadable},
        "outbox_away": snapshot.outbox and asdict(snapshot.outbox),
        "last_tick": snapshot.last_tick,
        "late_tick": snapshot.late_tick,
        "paused": wait and {"kind": wait.kind, "reason": wait.reason, "since": wait.since, "next_try": wait.until},
        "parked": [asdict(each) for each in snapshot.parked],
        "queue": {"requests": snapshot.queued, "limit": snapshot.room_for},
        "batches": [_batch(batch, snapshot.at) for batch in snapshot.batches],
        "paid_twice": [
            {"batch": each.batch_id, "requests": each.requests, "remote_id": each.remote_id, "since": each.since}
            for each in snapshot.late
        ],
        "deliveries": {state: snapshot.deliveries.get(state, 0) for state in ("waiting", "failed")},
        "jobs": [_job(job, snapshot.batches) for job in snapshot.jobs],
        "totals": {
            "jobs": len(snapshot.jobs),
            "records": summed(job.view.states for job in snapshot.jobs),
            "not_as_asked": summed(job.caveats for job in snapshot.jobs),
            **money(part for job in snapshot.jobs for part in job.spend),
        },
    }
    return orjson.dumps(document, option=0 if one_line else orjson.OPT_INDENT_2).decode()


def _batch(batch: BatchStatus, now: float) -> dict[str, Any]:
    view, due, alarm = batch.view, batch.due, batch.alarm
    return {
        "id": view.id,
        "state": view.state,
        "requests": view.requests,
        "since": view.since,
        "remote_id": view.remote_id,
        "jobs": batch.jobs,
        "in_doubt_since": batch.doubted,
        "not_before": view.not_before if view.not_before > now else None,
        "note": view.alarm,
        "expires_at": due and due.expires_at,
        "results_gone_at": due and due.gone_at,
        "alarm": alarm and {"kind": alarm.kind, "told": alarm.told},
    }


def _job(job: JobStatus, batches: Sequence[BatchStatus]) -> dict[str, Any]:
    view = job.view
    return {
        "name": view.name,
        "expected": view.expected,
        "done": job.done,
        "records": view.states,
        "waiting": [
            {"for": each.reason, "name": each.name, "records": each.records, "more": each.more, "until": each.until}
            for each in job.waiting
        ],
        "batches": [batch.view.id for batch in batches if view.name in batch.jobs],
        "failures": [
            {"reason": each.reason, "records": each.records, "example": each.custom_id, "message": each.message}
            for each in job.failures
        ],
        "not_as_asked": job.caveats,
        "spend": [asdict(part) for part in job.spend],
        **money(job.spend),
    }
