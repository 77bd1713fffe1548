"""The jobs of a snapshot as lines: each in full, but those that are done without trouble in one line when they are many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bakehouse_worker.local.progress import IN_FLIGHT, STATES, counted
from bakehouse_worker.local.summary import usd
from bakehouse_worker.states import BatchState, RecordState
from bakehouse_worker.status.lines import item, labelled, plain, since, until
from bakehouse_worker.status.snapshot import JobStatus, Snapshot
from bakehouse_worker.status.totals import money, summed
from bakehouse_worker.status.waiting import (
    BACKOFF,
    LINGER,
    PACKING,
    PARKED_JOB,
    PARKED_MODEL,
    QUEUE_FULL,
    Waiting,
)
from bakehouse_worker.store.reading import SpendView

#: Jobs done without trouble that are shown, the latest of them; reasons per job; characters of a custom_id and of a message.
DONE_SHOWN, REASONS, NAME, MESSAGE = 3, 5, 40, 200


def jobs_told(snapshot: Snapshot, width: int, *, every_job: bool) -> list[str]:
    """Return the lines of all jobs, oldest first, and of their totals if there are several."""
    quiet = [job for job in snapshot.jobs if job.done and not job.troubled]
    summed_up = [] if every_job else quiet[:-DONE_SHOWN]
    lines: list[str] = []
    hidden = {job.view.id for job in summed_up}
    for job in snapshot.jobs:
        if job.view.id not in hidden:
            lines += ["", *_of_job(job, snapshot, width)]
    if summed_up:
        noun = "more job is" if len(summed_up) == 1 else "more jobs are"
        text = f"{len(summed_up):,} {noun} done without trouble (--all lists them): {_in_short(summed_up)}"
        lines += ["", *item(text, width, indent=0)]
    if len(snapshot.jobs) > 1:
        lines += ["", *item(f"all {len(snapshot.jobs):,} jobs: {_in_short(snapshot.jobs)}", width, indent=0)]
    return lines


def _in_short(jobs: Sequence[JobStatus]) -> str:
    known, states = sum(job.view.known for job in jobs), summed(job.view.states for job in jobs)
    parts = [counted(known, "record"), *_states(states)] if len(_states(states)) > 1 else [counted(known, "record")]
    if odd := sum(summed(job.caveats for job in jobs).values()):
        parts.append(f"{odd:,} not as asked")
    cost = _cost([part for job in jobs for part in job.spend])
    return ", ".join(parts) + (f"; {cost}" if cost else "")


def _states(states: dict[str, int]) -> list[str]:
    return [f"{states[state]:,} {name}" for state, name in STATES.items() if states.get(state)]


def _of_job(job: JobStatus, snapshot: Snapshot, width: int) -> list[str]:
    view = job.view
    expected = f" of {view.expected:,}" if view.expected is not None and view.expected != view.known else ""
    title = f"{view.name}: {view.known:,}{expected} record{'' if view.known == 1 and not expected else 's'}"
    lines = item(title + ("" if view.expected is not None else ", open"), width, indent=0)
    if states := _states(view.states):
        lines += item(", ".join(states), width, indent=2)
    before = ""
    for label, text in _details(job, snapshot):
        lines += labelled("" if label == before else label, text, width, indent=2)
        before = label
    return lines


def _details(job: JobStatus, snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    for each in job.waiting:
        yield "waiting", _waits(each, snapshot)
    if job.view.states.get(RecordState.PACKED):
        yield "batches", _batches(job, snapshot)
    yield from _failures(job)
    for reason, records in sorted(job.caveats.items(), key=lambda pair: (-pair[1], pair[0])):
        yield "answers", f"{records:,} succeeded, but {_caveat(reason)}"
    if cost := _cost(job.spend):
        yield "money", cost


def _waits(each: Waiting, snapshot: Snapshot) -> str:
    when = "" if each.until is None else until(each.until, snapshot.at)
    told = {
        PARKED_JOB: "for a person: the job is parked",
        PARKED_MODEL: f"for a person: model {each.name} is parked",
        QUEUE_FULL: "for room at the API: MAX_QUEUED_REQUESTS is reached",
        LINGER: f"for company (LINGER, {snapshot.linger:g} s), until {when} at the latest",
        PACKING: "for the next batch",
        BACKOFF: f"backing off, the first until {when}",
    }
    return f"{each.records:,}{' or more' if each.more else ''} {told[each.reason]}"


def _batches(job: JobStatus, snapshot: Snapshot) -> str:
    mine = [batch for batch in snapshot.batches if job.view.name in batch.jobs]
    parts = []
    if flying := [batch.view for batch in mine if batch.view.state in IN_FLIGHT]:
        parts.append(
            f"{_ids([view.id for view in flying])} at the API {since(min(v.since for v in flying), snapshot.at)}"
        )
    if packed := [batch.view.id for batch in mine if batch.view.state == BatchState.PACKED]:
        parts.append(f"{_ids(packed)} packed" + (": submissions are paused" if snapshot.wait else ""))
    if doubted := [batch.view.id for batch in mine if batch.view.state == BatchState.IN_DOUBT]:
        parts.append(f"{_ids(doubted)} in doubt")
    told = {*IN_FLIGHT, BatchState.PACKED, BatchState.IN_DOUBT}
    if rest := [batch.view.id for batch in mine if batch.view.state not in told]:
        parts.append(f"{_ids(rest)} being sent, collected or settled")
    return "; ".join(parts) or "in the midst of others' batches"


def _ids(batches: Sequence[int]) -> str:
    """Return batches by their ids, or their number and the first of them if they are many."""
    if len(batches) == 1:
        return f"batch {batches[0]}"
    if len(batches) <= 5:
        return "batches " + ", ".join(str(each) for each in batches)
    return f"{len(batches):,} batches (the first is {batches[0]})"


def _failures(job: JobStatus) -> Iterator[tuple[str, str]]:
    looked, failed = sum(each.records for each in job.failures), job.view.states.get(RecordState.FAILED, 0)
    if failed > looked:
        yield "failed", f"{failed:,} in all; of the latest {looked:,} of them:"
    for each in job.failures[:REASONS]:
        said = f": {plain(each.message, MESSAGE)}" if each.message else ""
        yield "failed", f"{each.records:,} {plain(each.reason, NAME)}, such as {plain(each.custom_id, NAME)}{said}"
    if (more := len(job.failures) - REASONS) > 0:
        rest = sum(each.records for each in job.failures[REASONS:])
        yield "failed", f"{rest:,} for {counted(more, 'other reason')}: --json has them"


def _caveat(reason: str) -> str:
    known = {
        "refusal": "the model refused to answer (refusal)",
        "max_tokens": "the answer was cut off at its max_tokens (max_tokens)",
        "empty": "the answer has no content (empty)",
        "pause_turn": "the model paused before its end (pause_turn)",
        "model_context_window_exceeded": "the answer was cut off at the model's limit (model_context_window_exceeded)",
    }
    return known.get(reason, f"the answer stopped for {plain(reason, NAME)}")


def _cost(spend: Sequence[SpendView]) -> str:
    if not spend:
        return ""
    found = money(spend)
    unpriced = int(found["unpriced"])
    more = f"; not in that: {counted(unpriced, 'answer')} whose price is unknown here" if unpriced else ""
    return f"cost {usd(found['cost_usd'])}, saved {usd(found['saved_usd'])}{more}"
