"""Everything that `status` tells, read at one moment. Costs as much as there are jobs, lanes and live batches, not records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import redis

from bakehouse import BakehouseError
from bakehouse_worker import accept, deadlines, relay
from bakehouse_worker.deadlines import Alarm, Uncollected
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.states import RecordState
from bakehouse_worker.status.waiting import Held, Waiting, waits
from bakehouse_worker.store import doubts, glance, holds, packing, reading
from bakehouse_worker.store.counters import REJECTED
from bakehouse_worker.store.glance import Failure
from bakehouse_worker.store.holds import Parked, Wait
from bakehouse_worker.store.reading import BatchView, JobView, LateView, SpendView
from bakehouse_worker.store.uncollected import uncollected

#: Seconds without a tick after which beat is told to be missing, as a multiple of TICK, and at least so many.
TICKS_MISSING, TICK_LIMIT = 10.0, 30.0


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """One live batch. `jobs` are names, of its first and last members; `doubted` is when its answer was lost."""

    view: BatchView
    jobs: tuple[str, ...]
    doubted: float | None
    due: Uncollected | None
    alarm: Alarm | None


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job: its counters, what its pending records wait for, why others failed, and what its answers cost."""

    view: JobView
    waiting: list[Waiting]
    failures: list[Failure]
    caveats: dict[str, int]
    spend: list[SpendView]

    @property
    def done(self) -> bool:
        """Whether nothing of it is under way."""
        return self.view.ended == self.view.known >= (self.view.expected or 0)

    @property
    def troubled(self) -> bool:
        """Whether some of its records did not come to what was asked."""
        return bool(self.caveats) or any(self.view.states.get(state) for state in (RecordState.FAILED, REJECTED))


@dataclass(frozen=True, slots=True)
class OutboxAway:
    """An outbox that is not moved on: its URL without a password, since when, and the rest of a sentence that begins with it."""

    url: str
    since: float
    told: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment. `inbox` and `unreadable` are None when Redis does not answer, `outbox` if none is away."""

    at: float
    inbox: int | None
    unreadable: int | None
    outbox: OutboxAway | None
    last_tick: float | None
    late_tick: bool
    wait: Wait | None
    parked: list[Parked]
    queued: int
    room_for: int
    linger: float
    batches: list[BatchStatus]
    late: list[LateView]
    deliveries: dict[str, int]
    jobs: list[JobStatus]


def take(runtime: Runtime) -> Snapshot:
    """Read the present state."""
    database, settings, now = runtime.database, runtime.settings, runtime.database.now()
    inbox, unreadable = _redis(runtime)
    ticked = holds.get(database, "ticked_at")
    last_tick = float(ticked) if ticked else None
    queued, parked, views = packing.queued_requests(database), holds.parked(database), reading.jobs(database)
    held = Held(
        jobs=frozenset(each.name for each in parked if each.what == holds.JOB),
        models=frozenset(each.name for each in parked if each.what == holds.MODEL),
        full=queued >= settings.max_queued_requests,
        linger=settings.linger,
        batch=settings.max_batch_requests,
    )
    return Snapshot(
        at=now,
        inbox=inbox,
        unreadable=unreadable,
        outbox=_outbox(runtime),
        last_tick=last_tick,
        late_tick=last_tick is None or now - last_tick > max(TICK_LIMIT, TICKS_MISSING * settings.tick),
        wait=holds.standing(database),
        parked=parked,
        queued=queued,
        room_for=settings.max_queued_requests,
        linger=settings.linger,
        deliveries=reading.deliveries(database),
        batches=_batches(runtime, views, now),
        late=reading.late(database),
        jobs=_jobs(runtime, views, held, now),
    )


def _batches(runtime: Runtime, views: Iterable[JobView], now: float) -> list[BatchStatus]:
    database, names = runtime.database, {view.id: view.name for view in views}
    doubted = {each.batch_id: each.since for each in doubts.in_doubt(database)}
    members, there = glance.jobs_of_batches(database), {each.batch_id: each for each in uncollected(database)}
    found = []
    for view in reading.live_batches(database):
        jobs = tuple(names[job] for job in sorted(members.get(view.id, ())) if job in names)
        due = there.get(view.id)
        alarm = None if due is None else deadlines.alarm(due, now)
        found.append(BatchStatus(view, jobs, doubted.get(view.id), due, alarm))
    return found


def _jobs(runtime: Runtime, views: Iterable[JobView], held: Held, now: float) -> list[JobStatus]:
    database, views = runtime.database, list(views)
    spend, caveats = glance.spend(database), glance.caveats(database)
    looks = glance.lanes(database, [view.id for view in views if view.states.get(RecordState.PENDING)])
    found = []
    for view in views:
        pending = view.states.get(RecordState.PENDING, 0)
        mine = [look for look in looks if look.job_id == view.id]
        failures = glance.failures(database, view.id) if view.states.get(RecordState.FAILED) else []
        waiting = waits(view.name, pending, mine, held, now)
        found.append(JobStatus(view, waiting, failures, caveats.get(view.id, {}), spend.get(view.id, [])))
    return found


def _outbox(runtime: Runtime) -> OutboxAway | None:
    away = relay.away(runtime)
    return None if away is None else OutboxAway(relay.shown(runtime), away.since, away.told)


def _redis(runtime: Runtime) -> tuple[int | None, int | None]:
    try:
        return accept.waiting(runtime), int(runtime.redis.xlen(runtime.keys.parked))
    except redis.RedisError:
        return None, None
    except BakehouseError:  # no embedded server runs on this directory now
        return 0, 0
