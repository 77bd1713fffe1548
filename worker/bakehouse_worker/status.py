"""One screen for whoever is on call: what waits and for what, what is in flight, what failed and why, what it cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import orjson
import redis

from bakehouse import BakehouseError
from bakehouse_worker import accept
from bakehouse_worker.local.progress import IN_FLIGHT, age
from bakehouse_worker.local.summary import usd
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.states import BatchState, RecordState
from bakehouse_worker.store import holds, reading
from bakehouse_worker.store.holds import Wait
from bakehouse_worker.store.reading import BatchView, JobView, LateView, SpendView

#: Seconds without a tick after which beat is told to be missing, as a multiple of TICK, and at least so many.
TICKS_MISSING, TICK_LIMIT = 10.0, 30.0


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job: its counters, why its failed records failed, and what its answers cost."""

    view: JobView
    failures: list[tuple[str, int, str, str | None]]
    backing_off: tuple[int, float] | None
    spend: list[SpendView]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment. `inbox` and `parked` are None when Redis does not answer."""

    at: float
    inbox: int | None
    parked: int | None
    last_tick: float | None
    wait: Wait | None
    batches: list[BatchView]
    late: list[LateView]
    deliveries: dict[str, int]
    jobs: list[JobStatus]
    late_tick: bool


def take(runtime: Runtime) -> Snapshot:
    """Read the present state. Costs as much as there are jobs and live batches, not as there are records."""
    database, now = runtime.database, runtime.database.now()
    inbox, parked = _redis(runtime)
    ticked = holds.get(database, "ticked_at")
    last_tick = float(ticked) if ticked else None
    limit = max(TICK_LIMIT, TICKS_MISSING * runtime.settings.tick)
    return Snapshot(
        at=now,
        inbox=inbox,
        parked=parked,
        last_tick=last_tick,
        wait=holds.standing(database),
        deliveries=reading.deliveries(database),
        batches=reading.live_batches(database),
        late=reading.late(database),
        jobs=[_job(runtime, view) for view in reading.jobs(database)],
        late_tick=last_tick is not None and now - last_tick > limit,
    )


def _job(runtime: Runtime, view: JobView) -> JobStatus:
    database = runtime.database
    return JobStatus(
        view=view,
        failures=reading.failures(database, view.id) if view.states.get(RecordState.FAILED) else [],
        backing_off=reading.next_due(database, view.id) if view.states.get(RecordState.PENDING) else None,
        spend=reading.spend(database, view.id),
    )


def _redis(runtime: Runtime) -> tuple[int | None, int | None]:
    try:
        return accept.waiting(runtime), int(runtime.redis.xlen(runtime.keys.parked))
    except redis.RedisError:
        return None, None
    except BakehouseError:  # no embedded server runs on this directory now
        return 0, 0


def told(snapshot: Snapshot) -> list[str]:
    """Return the snapshot as lines for a terminal of 80 columns."""
    inbox = "Redis does not answer" if snapshot.inbox is None else f"{snapshot.inbox:,} waiting"
    lines = [
        f"inbox    {inbox}" + (f", {snapshot.parked:,} parked (written by a newer release)" if snapshot.parked else "")
    ]
    lines.append(f"submit   {_submitting(snapshot)}")
    lines.append(f"batches  {_batches(snapshot)}")
    lines += [f"  batch {batch.id} ({batch.requests:,}): {batch.alarm}" for batch in snapshot.batches if batch.alarm]
    lines += [
        f"  batch {each.batch_id} ({each.requests:,}): sent twice, and billed twice: its first sending turned up as {each.remote_id}"
        for each in snapshot.late
    ]
    if snapshot.deliveries.get("waiting") or snapshot.deliveries.get("failed"):
        told = ", ".join(
            f"{snapshot.deliveries[state]:,} {state}"
            for state in ("waiting", "failed")
            if snapshot.deliveries.get(state)
        )
        lines.append(f"deliver  {told}")
    if snapshot.last_tick is None or snapshot.late_tick:
        since = "never" if snapshot.last_tick is None else f"{age(snapshot.at - snapshot.last_tick)} ago"
        lines.append(f"beat     last tick {since}: no workers run here now")
    for job in snapshot.jobs:
        lines += ["", *_told_job(job, snapshot.at)]
    return lines


def _submitting(snapshot: Snapshot) -> str:
    wait = snapshot.wait
    if wait is None:
        return "open"
    until = ""
    if wait.until:
        until = f", next try in {age(wait.until - snapshot.at)}" if wait.until > snapshot.at else ", next try due"
    return f"paused for {age(snapshot.at - wait.since)}{until}: {wait.reason}"


def _batches(snapshot: Snapshot) -> str:
    if not snapshot.batches:
        return "none open"
    flying = [batch for batch in snapshot.batches if batch.state in IN_FLIGHT]
    parts = []
    if flying:
        requests = sum(batch.requests for batch in flying)
        oldest = age(snapshot.at - min(batch.since for batch in flying))
        parts.append(f"{len(flying)} at the API ({requests:,} requests, the oldest for {oldest})")
    for state in (
        BatchState.PACKED,
        BatchState.UPLOADING,
        BatchState.CLOSING,
        BatchState.IN_DOUBT,
        BatchState.ENDED,
        BatchState.COLLECTED,
    ):
        if count := sum(batch.state == state for batch in snapshot.batches):
            parts.append(f"{count} {_names()[state]}")
    return ", ".join(parts)


def _names() -> dict[BatchState, str]:
    return {
        BatchState.PACKED: "packed",
        BatchState.UPLOADING: "uploading",
        BatchState.CLOSING: "awaiting the API's answer",
        BatchState.IN_DOUBT: "in doubt",
        BatchState.ENDED: "to collect",
        BatchState.COLLECTED: "to settle",
    }


def _told_job(job: JobStatus, now: float) -> list[str]:
    view = job.view
    expected = f" of {view.expected:,}" if view.expected is not None and view.expected != view.known else ""
    lines = [f"{view.name}: {view.known:,}{expected} records" + ("" if view.expected is not None else ", open")]
    names = (
        (RecordState.PENDING, "waiting"),
        (RecordState.PACKED, "in batches"),
        (RecordState.SUCCEEDED, "succeeded"),
        (RecordState.FAILED, "failed"),
        (RecordState.CANCELED, "canceled"),
        ("rejected", "rejected"),
    )
    lines.append("  " + ", ".join(f"{view.states[state]:,} {name}" for state, name in names if view.states.get(state)))
    if job.backing_off:
        count, first = job.backing_off
        lines.append(f"  {count:,} backing off, the first for {age(first - now)}")
    lines += [f"  failed: {count:,} {reason}, such as {custom_id}" for reason, count, custom_id, _ in job.failures]
    if job.spend:
        cost, sync = sum(part.cost for part in job.spend), sum(part.cost_sync for part in job.spend)
        unpriced = sum(part.unpriced for part in job.spend)
        more = f"; {unpriced:,} answers without a known price" if unpriced else ""
        lines.append(f"  cost {usd(cost)}, saved {usd(sync - cost)}{more}")
    return lines


def as_json(snapshot: Snapshot) -> str:
    """Return the snapshot as JSON; times are seconds since 1970, money is USD."""
    fields = asdict(snapshot)
    fields["jobs"] = [
        {
            "name": job.view.name,
            "expected": job.view.expected,
            "records": job.view.states,
            "failures": [
                {"reason": reason, "records": count, "example": custom_id, "message": message}
                for reason, count, custom_id, message in job.failures
            ],
            "backing_off": None
            if job.backing_off is None
            else {"records": job.backing_off[0], "first_due": job.backing_off[1]},
            "spend": [asdict(part) for part in job.spend],
        }
        for job in snapshot.jobs
    ]
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2).decode()
