"""Station 2, between accept and submit: due records become batches.

`plan()` is pure and decides; `chunk()` reads, plans and packs until nothing more is to be packed now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from bakehouse_worker import queue, retry, wire
from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import batches, packing, results
from bakehouse_worker.store.packing import LaneView

#: Bytes of a create's body around its requests.
ENVELOPE = len(wire.OPEN) + len(wire.CLOSE)

log = logger("chunk")


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one batch may hold, how long a part-filled one waits, and how many more requests the API may be given."""

    requests: int
    bytes: int
    linger: float
    room: int
    taken: frozenset[int] = frozenset()  #: counts of requests of which a batch is on its way to the API


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """Records that travel together, as (record id, bytes of params), in order."""

    api_version: str
    betas: str
    members: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to pack now, and which records are larger than any batch may be."""

    batches: tuple[PlannedBatch, ...]
    oversized: tuple[tuple[int, int], ...]


def chunk(runtime: Runtime) -> list[int]:
    """Pack what is due; returns the new batches' ids."""
    settings, packed = runtime.settings, []
    while True:
        room = max(0, queue.limit(runtime) - packing.queued_requests(runtime.database))
        taken = packing.counts_on_their_way(runtime.database)
        capacity = Capacity(settings.max_batch_requests, settings.max_batch_bytes, settings.linger, room, taken)
        lanes = packing.due_lanes(runtime.database, settings.max_batch_requests)
        planned = plan(lanes, capacity, runtime.database.now())
        _fail_oversized(runtime, planned.oversized)
        made = 0
        for batch in planned.batches:
            batch_id = packing.pack(runtime.database, batch.members, batch.api_version, batch.betas)
            if batch_id is not None:
                made += 1
                packed.append(batch_id)
                log.info("packed", batch=batch_id, requests=len(batch.members))
        if not made or runtime.stopping():
            return packed


def worthwhile(runtime: Runtime) -> bool:
    """Tell whether packing now may bring a batch; costs a look per lane, so that a tick need not ring for nothing."""
    lanes, now = packing.due_lanes(runtime.database, 0), runtime.database.now()
    return any(
        lane.waiting >= runtime.settings.max_batch_requests
        or (not lane.leaving and (lane.complete or now - lane.oldest >= runtime.settings.linger))
        for lane in lanes
    )


def plan(lanes: Sequence[LaneView], capacity: Capacity, now: float) -> Plan:
    """Choose batches from the due records of all lanes.

    Only records with the same betas and API version share a batch. Higher priority leaves first, in whatever batch it travels;
    within a priority, jobs take turns record by record, and groups of betas and API version batch by batch.

    A batch leaves when it is full, when its oldest record has waited `linger` seconds, or when it holds the rest of a job that is
    complete. A part-filled one waits for a batch that is about to leave: it would stand behind that one anyway, and may take along
    what that one leaves behind. While more records are due than this look shows, it waits for the next look. Sizes are bytes on the
    wire, counted at their largest.

    Full batches on their way at the same time differ by a request or more where that costs less than one in a hundred: of two that
    look alike, one would have to leave records behind before it is sent.
    """
    oversized: list[tuple[int, int]] = []
    turns: list[tuple[int, int, PlannedBatch]] = []
    groups: dict[tuple[str, str], list[LaneView]] = {}
    taken = set(capacity.taken)
    for lane in sorted(lanes, key=lambda view: (-view.priority, view.oldest, view.lane_id)):
        groups.setdefault((lane.api_version, lane.betas), []).append(lane)
    for (api_version, betas), members in groups.items():
        ready = any(lane.complete or now - lane.oldest >= capacity.linger for lane in members)
        ready = ready and not any(lane.leaving or lane.more for lane in members)
        fitting: list[tuple[int, int]] = []
        for record_id, size in _in_turn(members):
            if size + wire.OVERHEAD + ENVELOPE > capacity.bytes:
                oversized.append((record_id, size))
            else:
                fitting.append((record_id, size))
        priorities = {record_id: lane.priority for lane in members for record_id, _ in lane.sizes}
        for turn, (batch, full) in enumerate(_fill(fitting, capacity, taken)):
            if full or ready:
                planned = PlannedBatch(api_version, betas, tuple(batch))
                turns.append((-priorities[batch[0][0]], turn, planned))
    turns.sort(key=lambda each: each[:2])
    return Plan(tuple(_within_room((planned for _, _, planned in turns), capacity.room)), tuple(oversized))


def _within_room(planned: Iterable[PlannedBatch], room: int) -> Iterator[PlannedBatch]:
    """Yield batches while there is room at the API, the last one cut to it."""
    for batch in planned:
        if room <= 0:
            return
        yield replace(batch, members=batch.members[:room])
        room -= len(batch.members)


def _in_turn(lanes: Sequence[LaneView]) -> Iterator[tuple[int, int]]:
    """Yield records by priority, and within a priority one from each job by turns; order within a lane is kept."""
    for priority in sorted({lane.priority for lane in lanes}, reverse=True):
        jobs: dict[int, list[tuple[int, int]]] = {}
        for lane in lanes:
            if lane.priority == priority:
                jobs.setdefault(lane.job_id, []).extend(lane.sizes)
        turns = deque(iter(sizes) for sizes in jobs.values())
        while turns:
            turn = turns.popleft()
            for item in turn:
                yield item
                turns.append(turn)
                break


def _fill(
    records: Sequence[tuple[int, int]], capacity: Capacity, taken: set[int]
) -> Iterator[tuple[list[tuple[int, int]], bool]]:
    """Cut records into batches in order; yields (batch, whether it is full), and notes their counts as taken."""
    batch: list[tuple[int, int]] = []
    size, most = ENVELOPE, _most(capacity.requests, taken)
    for record_id, length in records:
        wanted = length + wire.OVERHEAD
        if batch and (len(batch) == most or size + wanted > capacity.bytes):
            taken.add(len(batch))
            yield batch, True
            batch, size, most = [], ENVELOPE, _most(capacity.requests, taken)
        batch.append((record_id, length))
        size += wanted
    if batch:
        taken.add(len(batch))
        yield batch, len(batch) == most


def _most(requests: int, taken: Collection[int]) -> int:
    """Return how many requests the next full batch has."""
    least = requests - requests // 100
    return next((count for count in range(requests, least, -1) if count not in taken), requests)


def _fail_oversized(runtime: Runtime, oversized: Sequence[tuple[int, int]]) -> None:
    limit, now = runtime.settings.max_batch_bytes, runtime.database.now()
    for record_id, size in oversized:
        message = f"its params are {size:,} bytes; a batch may have {limit:,} (BAKEHOUSE_MAX_BATCH_BYTES)"
        attempt = batches.attempt(runtime.database, record_id)
        row = results.own_row(record_id, attempt, 0, retry.REFUSED, "too_large", message, now)
        results.fail_unsent(runtime.database, None, [row])
        log.warning("too large", record=record_id, bytes=size)
