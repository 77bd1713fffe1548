"""Station 1: nothing leaves the inbox before it stands in the store, and nothing stands there twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest

from bakehouse import Client, InboxFull
from bakehouse.contract import Record
from bakehouse_worker import accept as station
from bakehouse_worker.accept import accept, waiting
from bakehouse_worker.store import reading, records
from bakehouse_worker.store.records import Entry
from bakehouse_worker.ticking import due_doorbells


def test_a_record_that_is_enqueued_is_accepted_once_and_leaves_the_inbox(world):
    world.enqueue(3)
    assert accept(world.runtime) == 3
    assert world.job().states == {"pending": 3}
    assert waiting(world.runtime) == 0
    assert int(world.runtime.redis.get(world.runtime.keys.inbox_bytes) or 0) == 0


def test_the_same_record_twice_is_one_record(world):
    world.enqueue(3)
    world.enqueue(3)
    accept(world.runtime)
    world.enqueue(3)
    accept(world.runtime)
    assert world.job().states == {"pending": 3}


def test_another_body_under_a_known_custom_id_is_rejected_and_visible(world):
    world.enqueue(2)
    world.client.enqueue_record(world.params("something else"), custom_id="item 0", job="job")
    accept(world.runtime)
    assert world.job().states == {"pending": 2, "rejected": 1}
    ((custom_id, reason),) = reading.rejections(world.runtime.database, "job")
    assert custom_id == "item 0"
    assert "another body" in reason


def test_two_jobs_may_use_the_same_custom_id(world):
    world.enqueue(2, job="one")
    world.enqueue(2, job="two")
    accept(world.runtime)
    assert world.job("one").states == world.job("two").states == {"pending": 2}


def test_a_crash_between_commit_and_acknowledgement_accepts_nothing_twice_and_loses_nothing(world, monkeypatch):
    world.enqueue(3)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(station, "_acknowledge", crash)
        with pytest.raises(KeyboardInterrupt):
            accept(world.runtime)
    assert waiting(world.runtime) == 3
    assert accept(world.worker(), stale_after=0) == 3
    assert world.job().states == {"pending": 3}
    assert waiting(world.runtime) == 0


def test_a_crash_before_commit_loses_nothing(world, monkeypatch):
    world.enqueue(3)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(station, "into_store", crash)
        with pytest.raises(KeyboardInterrupt):
            accept(world.runtime)
    assert accept(world.worker(), stale_after=0) == 3
    assert world.job().states == {"pending": 3}


def test_entries_that_a_live_consumer_holds_are_left_to_it(world, monkeypatch):
    world.enqueue(3)
    with monkeypatch.context() as patched:
        patched.setattr(station, "_acknowledge", lambda *_: None)
        patched.setattr(station, "into_store", lambda *_: station.Acceptance())
        accept(world.runtime)
    assert accept(world.worker()) == 0
    accept(world.worker(), stale_after=0)


def test_a_flushed_redis_gets_its_group_again_by_itself(world):
    world.enqueue(2)
    accept(world.runtime)
    world.runtime.redis.delete(world.runtime.keys.inbox)
    world.enqueue(2, text="after")
    accept(world.runtime)
    assert world.job().states == {"pending": 4}


def test_an_entry_of_a_newer_release_is_parked_whole_and_the_others_go_on(world):
    header = orjson.dumps({"v": 99, "job": "job", "id": "x"})
    world.runtime.redis.xadd(world.runtime.keys.inbox, {"h": header, "p": b"{}"})
    world.enqueue(2)
    accept(world.runtime)
    assert world.job().states == {"pending": 2}
    ((_, parked),) = world.runtime.redis.xrange(world.runtime.keys.parked)
    assert parked[b"h"] == header
    assert waiting(world.runtime) == 0


def test_an_entry_that_the_database_refuses_is_rejected_and_blocks_nobody(world, monkeypatch):
    world.enqueue(4)
    world.enqueue(1, text="broken")
    world.enqueue(4, text="after")
    row = records._row

    def without_model(entry, *rest):
        broken = entry.record.custom_id.startswith("broken")
        values = dict(zip(records._RECORD, row(entry, *rest), strict=True))
        return tuple(
            (values | ({"model": None} if broken else {})).values()
        )  # NOT NULL: the database itself refuses it

    monkeypatch.setattr(records, "_row", without_model)
    accept(world.runtime)
    assert world.job().states == {"pending": 8, "rejected": 1}
    assert waiting(world.runtime) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"id": 5},
        {"job": []},
        {"on_result": []},
        {"priority": 2**63},
        {"betas": "abc"},
        {"close": "job", "expected": -1},
    ],
)
def test_an_entry_of_a_strange_shape_is_parked_and_blocks_nobody(world, fields):
    good = {"v": 1, "job": "job", "id": "x", "digest": "d", "model": "m", "api": "2026-10-21"}
    world.runtime.redis.xadd(world.runtime.keys.inbox, {"h": orjson.dumps({**good, **fields}), "p": b"{}"})
    world.enqueue(2)
    accept(world.runtime)
    assert world.job().states == {"pending": 2}
    assert world.runtime.redis.xlen(world.runtime.keys.parked) == 1
    assert waiting(world.runtime) == 0


def test_above_the_high_water_mark_enqueueing_is_refused_and_says_how_much_was_taken(make_world, redis_url):
    world = make_world()
    from bakehouse import Client

    small = Client(redis_url, prefix=world.prefix, max_inbox_bytes=100_000)
    records = ({"params": world.params("x" * 1000), "custom_id": f"r{n}"} for n in range(10_000))
    with pytest.raises(InboxFull) as full:
        small.enqueue_records(records, job="job")
    assert full.value.accepted == waiting(world.runtime)
    accept(world.runtime)
    small.enqueue_record(world.params(), custom_id="now there is room", job="job")
    accept(world.runtime)
    assert world.job().states == {"pending": full.value.accepted + 1}


def test_a_replacement_is_a_new_generation_and_one_in_flight_is_refused(world):
    from bakehouse.record import build

    world.ended(2)
    replaced = build(world.params("a better question"), custom_id="item 0", job="job", replace=True)
    world.client.append([replaced])
    accept(world.runtime)
    assert world.job().states["rejected"] == 1  # its request is in a batch
    world.run_to_end()
    world.client.append([build(world.params("a third question"), custom_id="item 0", job="job", replace=True)])
    accept(world.runtime)
    assert world.job().states["pending"] == 1
    world.run_to_end()
    assert world.server.ledger(prompt="a third question")
    assert world.endings()["item 0"].state == "succeeded"


def test_two_workers_that_read_the_same_records_in_opposite_order_do_not_lock_each_other_out(world):
    """As after an enqueue that was repeated: the copies stand in different spans."""
    records.accept(world.runtime.database, [Entry("0-0", Record("job", "first", b"{}", "0" * 32, "claude-haiku-5-5"))])
    forwards = [Entry(f"1-{n}", Record("job", f"r{n}", b"{}", "0" * 32, "claude-haiku-5-5")) for n in range(1_500)]
    backwards = [Entry(f"2-{n}", entry.record) for n, entry in enumerate(reversed(forwards))]
    together = threading.Barrier(2)

    def work(entries):
        database = world.worker().database
        together.wait(10)
        try:
            return records.accept(database, entries)
        finally:
            database.close()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, (forwards, backwards))
    assert (first.new + second.new, first.same + second.same) == (1_500, 1_500)


def test_bytes_that_are_counted_though_the_inbox_is_empty_do_not_keep_producers_out(world, redis_url):
    """The answer to the deletes was lost: the entries are gone, and were never counted down."""
    runtime = world.runtime
    runtime.redis.set(runtime.keys.inbox_bytes, 100_001)
    small = Client(redis_url, prefix=world.prefix, max_inbox_bytes=100_000)
    with pytest.raises(InboxFull):
        small.enqueue_record(world.params())
    assert ("accept", ()) in list(due_doorbells(runtime))
    assert accept(runtime) == 0
    small.enqueue_record(world.params())
    assert accept(runtime) == 1
    assert ("accept", ()) not in list(due_doorbells(runtime))
