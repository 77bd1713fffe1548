"""What a job's pending records wait for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from bakehouse_worker.store.glance import LIMIT, LaneLook

#: What records wait for: a person, room at the API, company, the next batch, or their time.
PARKED_JOB, PARKED_MODEL, QUEUE_FULL = "parked_job", "parked_model", "queue_full"
LINGER, PACKING, BACKOFF = "linger", "packing", "backoff"
ORDER = (PARKED_JOB, PARKED_MODEL, QUEUE_FULL, LINGER, PACKING, BACKOFF)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Records that wait for one thing, at least so many if `more`; `until` is when the first of them goes on, if that is known."""

    reason: str
    name: str | None
    records: int
    more: bool
    until: float | None


@dataclass(frozen=True, slots=True)
class Held:
    """What holds pending records back: parked jobs and models by name, a full queue at the API, and the wait for company."""

    jobs: frozenset[str]
    models: frozenset[str]
    full: bool
    linger: float
    batch: int  #: records that fill a batch


def waits(job: str, pending: int, lanes: Iterable[LaneLook], held: Held, now: float) -> list[Waiting]:
    """Return what a job's `pending` records wait for. Numbers are exact unless two reasons have more records than a look counts."""
    found: dict[tuple[str, str | None], Waiting] = {}
    for lane in lanes:
        for each in _of_lane(job, pending, lane, held, now):
            key = (each.reason, each.name)
            found[key] = _both(found[key], each) if key in found else each
    return sorted(_exact(list(found.values()), pending), key=lambda each: (ORDER.index(each.reason), each.name or ""))


def _of_lane(job: str, pending: int, lane: LaneLook, held: Held, now: float) -> Iterator[Waiting]:
    due_more, later_more = lane.due == LIMIT, lane.later == LIMIT
    if job in held.jobs:
        yield Waiting(PARKED_JOB, None, lane.due + lane.later, due_more or later_more, None)
        return
    if lane.model in held.models:
        yield Waiting(PARKED_MODEL, lane.model, lane.due + lane.later, due_more or later_more, None)
        return
    if lane.due and lane.oldest is not None:
        leaves = lane.oldest + held.linger
        fills = (pending if due_more else lane.due) >= held.batch
        if held.full:
            yield Waiting(QUEUE_FULL, None, lane.due, due_more, None)
        elif leaves > now and not fills:
            yield Waiting(LINGER, None, lane.due, due_more, leaves)
        else:
            yield Waiting(PACKING, None, lane.due, due_more, None)
    if lane.later:
        yield Waiting(BACKOFF, None, lane.later, later_more, lane.first)


def _both(one: Waiting, other: Waiting) -> Waiting:
    times = [each.until for each in (one, other) if each.until is not None]
    until = min(times, default=None)
    return replace(one, records=one.records + other.records, more=one.more or other.more, until=until)


def _exact(found: Sequence[Waiting], pending: int) -> list[Waiting]:
    """Give the one number that is not known what the others leave of the job's counter."""
    unsure = [each for each in found if each.more]
    if len(unsure) != 1:
        return list(found)
    known = sum(each.records for each in found if not each.more)
    whole = replace(unsure[0], records=max(unsure[0].records, pending - known), more=False)
    return [whole if each.more else each for each in found]
