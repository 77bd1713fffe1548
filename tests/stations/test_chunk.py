"""Station 2 on real databases: who leaves first."""

from __future__ import annotations

from bakehouse_worker.accept import accept
from bakehouse_worker.chunk import chunk
from bakehouse_worker.store import batches
from bakehouse_worker.submit import submit


def customs(world, batch):
    ids = {ending.record_id: name for name, ending in world.all_records().items()}
    return [ids[member.record_id] for member in batches.members(world.runtime.database, batch)]


def test_records_of_priority_behind_a_backfill_go_out_in_the_next_batch_made(make_world):
    world = make_world(max_batch_requests=100, max_queued_requests=300)
    world.enqueue(2_000, job="backfill", text="old")
    accept(world.runtime)
    under_way = chunk(world.runtime)
    for batch in under_way:
        submit(world.runtime, batch)
    assert len(under_way) == 3 and chunk(world.runtime) == []  # no room at the API
    world.enqueue(50, job="today", text="new", priority=5)
    accept(world.runtime)
    world.pass_time(61)
    world.tick()
    following = chunk(world.runtime)[0]
    assert [name for name in customs(world, following) if name.startswith("new")] == [f"new {n}" for n in range(50)]
    assert len(customs(world, following)) == 100  # and the backfill fills it up


def test_records_that_did_not_fit_into_one_look_wait_for_the_next_instead_of_leaving_in_a_small_batch(make_world):
    world = make_world(max_batch_requests=100)
    world.enqueue(20, job="today", priority=5)
    world.enqueue(500, job="backfill")
    accept(world.runtime)
    sizes = [len(batches.members(world.runtime.database, batch)) for batch in chunk(world.runtime)]
    assert sizes == [100] * 5  # and 20 wait for company
