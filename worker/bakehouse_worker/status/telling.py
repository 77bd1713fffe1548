"""The snapshot as lines for a terminal: first what needs a person, then the installation, then job by job."""

from __future__ import annotations

from collections.abc import Iterator

from bakehouse_worker.local.progress import IN_FLIGHT, age, counted
from bakehouse_worker.states import BatchState, RecordState
from bakehouse_worker.status.jobs import jobs_told
from bakehouse_worker.status.lines import item, labelled, moment, plain, since, until
from bakehouse_worker.status.snapshot import BatchStatus, Snapshot
from bakehouse_worker.store import holds

#: Batches with something to tell that are listed, and characters of a reason.
LISTED, REASON = 10, 300

#: Who or what stopped submissions, by the kind of the hold.
PAUSED_BY = {
    holds.PAUSED: "by a person",
    holds.CIRCUIT: "circuit open",
    holds.RETRY_AFTER: "asked by the API",
    holds.RESTORED: "restored database",
}
NAMES = {
    BatchState.PACKED: "packed",
    BatchState.UPLOADING: "uploading",
    BatchState.CLOSING: "awaiting the API's answer",
    BatchState.IN_DOUBT: "in doubt",
    BatchState.ENDED: "to collect",
    BatchState.COLLECTED: "to settle",
}


def told(snapshot: Snapshot, width: int = 80, *, every_job: bool = False) -> list[str]:
    """Return the snapshot as lines that are broken between words only; with `every_job`, none is summed up."""
    lines = item(f"{moment(snapshot.at, 0)}: {', '.join(_troubles(snapshot)) or 'all is well'}", width, indent=0)
    lines.append("")
    for label, text in _installation(snapshot):
        lines += labelled(label, text, width)
    lines += _batches_told(snapshot, width)
    for label, text in _outside(snapshot):
        lines += labelled(label, text, width)
    return lines + jobs_told(snapshot, width, every_job=every_job)


def _troubles(snapshot: Snapshot) -> list[str]:
    """Return what needs a person, or will if it lasts."""
    failed = sum(job.view.states.get(RecordState.FAILED, 0) for job in snapshot.jobs)
    given_up = snapshot.deliveries.get("failed", 0)
    numbers = (
        (sum(batch.alarm is not None for batch in snapshot.batches), "ALARM for {} batch", "ALARM for {} batches"),
        (len(snapshot.late), "{} batch paid twice", "{} batches paid twice"),
        (snapshot.inbox is None, "Redis is away", ""),
        (snapshot.outbox is not None, "outbox away", ""),
        (snapshot.late_tick, "no workers", ""),
        (snapshot.wait is not None, "submissions paused", ""),
        (sum(each.what == holds.MODEL for each in snapshot.parked), "{} model parked", "{} models parked"),
        (sum(each.what == holds.JOB for each in snapshot.parked), "{} job parked", "{} jobs parked"),
        (sum(batch.doubted is not None for batch in snapshot.batches), "{} batch in doubt", "{} batches in doubt"),
        (failed, "{} record failed", "{} records failed"),
        (given_up, "{} delivery failed", "{} deliveries failed"),
    )
    return [(one if number == 1 else many).format(f"{number:,}") for number, one, many in numbers if number]


def _batches(number: int) -> str:
    return f"{number:,} batch" if number == 1 else f"{number:,} batches"


def _installation(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    inbox = "Redis does not answer" if snapshot.inbox is None else f"{snapshot.inbox:,} waiting"
    unreadable = f", {snapshot.unreadable:,} parked (written by a newer release)" if snapshot.unreadable else ""
    yield "inbox", inbox + unreadable
    if snapshot.outbox is not None:
        away = snapshot.outbox
        yield (
            "outbox",
            f"{away.url} {plain(away.told, REASON)} {since(away.since, snapshot.at)}; it is tried again by itself",
        )
    yield "submit", _submitting(snapshot)
    if snapshot.queued >= snapshot.room_for:
        yield (
            "queue",
            (
                f"full: {snapshot.queued:,} requests are packed or at the API, and MAX_QUEUED_REQUESTS is {snapshot.room_for:,}"
            ),
        )
    for each in snapshot.parked:
        yield "parked", f"{each.what} {each.name} {since(each.since, snapshot.at)}: {plain(each.reason, REASON)}"


def _submitting(snapshot: Snapshot) -> str:
    wait, now = snapshot.wait, snapshot.at
    if wait is None:
        return "open"
    again = "no next try: a person must decide" if wait.until is None else f"next try {until(wait.until, now)}"
    by = PAUSED_BY.get(wait.kind, wait.kind)
    return f"paused ({by}) {since(wait.since, now)}, {again}: {plain(wait.reason, REASON)}"


def _batches_told(snapshot: Snapshot, width: int) -> list[str]:
    lines = labelled("batches", _summary(snapshot), width)
    special = [batch for batch in snapshot.batches if batch.alarm or batch.view.alarm or batch.doubted]
    special.sort(key=lambda batch: (batch.alarm is None, batch.doubted is None))
    for batch in special[:LISTED]:
        for text in _of_batch(batch, snapshot.at):
            lines += item(f"batch {batch.view.id} ({counted(batch.view.requests, 'request')}) {text}", width, indent=2)
    if len(special) > LISTED:
        lines.append(f"  and {_batches(len(special) - LISTED)} more with something to tell: --json has them all")
    for each in snapshot.late[:LISTED]:
        text = f"batch {each.batch_id} ({counted(each.requests, 'request')}) was sent twice, and is billed twice: "
        lines += item(f"{text}its first sending turned up as {each.remote_id}", width, indent=2)
    return lines


def _of_batch(batch: BatchStatus, now: float) -> Iterator[str]:
    if batch.alarm is not None:
        yield f"ALARM: {batch.alarm.told}"
    note = plain(batch.view.alarm or "", REASON)
    if batch.doubted is not None:
        yield f"is in doubt {since(batch.doubted, now)}: {note.removeprefix('in doubt: ') or 'its answer was lost'}"
    elif note:
        again = f", next try {until(batch.view.not_before, now)}" if batch.view.not_before > now else ""
        yield f"{note}{again}"


def _summary(snapshot: Snapshot) -> str:
    views = [batch.view for batch in snapshot.batches]
    flying = [view for view in views if view.state in IN_FLIGHT]
    parts = []
    if flying:
        requests = counted(sum(view.requests for view in flying), "request")
        oldest = since(min(view.since for view in flying), snapshot.at)
        parts.append(f"{len(flying):,} at the API with {requests}, the oldest {oldest}")
    for state, name in NAMES.items():
        if count := sum(view.state == state for view in views):
            parts.append(f"{count:,} {name}")
    return "; ".join(parts) or "none open"


def _outside(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    counts = [(state, snapshot.deliveries.get(state, 0)) for state in ("waiting", "failed")]
    if any(count for _, count in counts):
        yield "deliver", ", ".join(f"{count:,} {state}" for state, count in counts if count)
    if snapshot.last_tick is None or snapshot.late_tick:
        ago = "never" if snapshot.last_tick is None else f"{age(snapshot.at - snapshot.last_tick)} ago"
        yield "beat", f"last tick {ago}: no workers run here now"
