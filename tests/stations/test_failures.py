"""Failures that mean something else than they say, many at a time: what ends as a dead letter, what it cost, and how many creates.

FULL=1 takes the numbers that are promised, 20,000, 10,000 and 100,000 records; without it a tenth of them.
"""

from __future__ import annotations

import os

import pytest
from sqlalchemy import text

from bakehouse_worker import dead, pausing
from bakehouse_worker.accept import accept
from bakehouse_worker.store import holds
from bakehouse_worker.store.deadlist import Selection

CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."
RETIRED = "claude-3-5-haiku-20241022"
ON_SQLITE = pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
#: What the numbers of records are divided by.
PART = 1 if os.environ.get("FULL") else 10


def errored(word, kind, message, **more):
    return {"on": "result", "fault": "errored", "prompt": f" {word}", "type": kind, "message": message, **more}


BUSY = errored("busy", "overloaded_error", "Overloaded", first_times=2)
LATE = {"on": "result", "fault": "expired", "prompt": " late", "first_times": 1}
NEW = errored("new", "tempest_error", "a kind of error that nobody knows yet", first_times=1)
POOR = errored("poor", "invalid_request_error", CREDIT)
WRONG = errored("wrong", "invalid_request_error", "messages.0: this cannot be")

#: Of a hundred records, so many meet each of these: attempts burned, expiries.
MIXED = {"busy": (10, (2, 0)), "late": (5, (0, 1)), "new": (3, (1, 0)), "poor": (20, (0, 0)), "wrong": (1, (1, 0))}


def word_of(number):
    left = number % 100
    for word, (share, _) in MIXED.items():
        if left < share:
            return word
        left -= share
    return "plain"


def enqueue(world, count, word=lambda number: "plain", job="job"):
    for start in range(0, count, 1_000):
        records = [
            {"params": world.params(f"record {n} {word(n)}"), "custom_id": f"r{n}"}
            for n in range(start, min(count, start + 1_000))
        ]
        world.client.enqueue_records(records, job=job)
    world.client.close(job, expected=count)


def histories(world):
    with world.runtime.database.read() as connection:
        rows = connection.execute(text("SELECT custom_id, state, failures, expiries FROM record"))
        return {int(row.custom_id[1:]): (row.state, row.failures, row.expiries) for row in rows}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_of_every_kind_of_failure_only_what_is_really_wrong_ends_as_a_dead_letter(make_world):
    count = 20_000 // PART
    world = make_world(max_batch_requests=count // 2, linger=60, probe_interval=300, retry_base=30)
    world.server.rules(BUSY, LATE, NEW, POOR, WRONG)
    enqueue(world, count, word_of)
    for _ in range(15):  # a quarter of an hour without credit
        world.tick()
        world.pass_time(61)
    assert CREDIT in holds.standing(world.runtime.database).reason
    world.server.clear()
    world.server.rules(BUSY, LATE, NEW, WRONG)
    states = world.run_to_end()
    assert (states["succeeded"], states["failed"]) == (count * 99 // 100, count // 100)
    for number, (state, failures, expiries) in histories(world).items():
        word = word_of(number)
        assert (state == "failed") == (word == "wrong")
        assert (failures, expiries) == (MIXED[word][1] if word in MIXED else (0, 0))
    failed = [ending for ending in world.endings().values() if ending.state == "failed"]
    assert {(ending.error_type, ending.error) for ending in failed} == {("invalid_request_error", WRONG["message"])}
    assert world.server.stats()["calls"]["create"] < 40


@pytest.mark.slow
@pytest.mark.timeout(300)
@ON_SQLITE
def test_bad_records_that_fail_a_create_are_found_in_few_creates_and_fail_by_name(make_world):
    count = 10_000 // PART
    named, unnamed = {17, count * 2 // 5, count - 2}, {count // 8, count * 7 // 9}
    words = dict.fromkeys(named, "named") | dict.fromkeys(unnamed, "hidden")
    world = make_world(max_batch_requests=10_000, max_batch_bytes=8_000_000)
    refused = {"on": "create", "fault": "bad_request"}
    world.server.rules({**refused, "prompt": " named", "names_item": True}, {**refused, "prompt": " hidden"})
    enqueue(world, count - 1, lambda number: words.get(number, "plain"))
    world.client.enqueue_record(world.params("x" * 8_000_000), custom_id="r-large", job="job")
    world.client.close("job", expected=count)
    states = world.run_to_end()
    assert (states["succeeded"], states["failed"]) == (count - 6, 6)
    failed = {ending.custom_id: ending for ending in world.endings().values() if ending.state == "failed"}
    assert set(failed) == {f"r{number}" for number in named | unnamed} | {"r-large"}
    assert failed["r-large"].error_type == "too_large"
    assert all(ending.error for ending in failed.values())
    assert world.server.stats()["calls"]["create"] < 100
    assert world.server.totals()["accepted_twice"] == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_many_records_of_a_retired_model_are_not_sent(make_world):
    count = 100_000 // PART
    world = make_world(max_batch_requests=10_000)
    params = {**world.params("of yesterday"), "model": RETIRED}
    for start in range(0, count, 5_000):
        records = [{"params": params, "custom_id": f"r{n}"} for n in range(start, start + 5_000)]
        world.client.enqueue_records(records, job="retired")
    while accept(world.runtime):
        pass
    for _ in range(12):
        world.tick()
        world.pass_time(61)
    assert world.job("retired").states["pending"] == count
    assert world.server.totals()["accepted"] == 0
    ((model, reason),) = [(each.name, each.reason) for each in holds.parked(world.runtime.database)]
    assert (model, reason) == (RETIRED, f"{RETIRED} is retired since 2026-02-19")
    moved = dead.requeue(world.runtime, Selection(model=RETIRED), {"model": "claude-haiku-5-5"})
    assert moved.pending == count
    assert holds.parked(world.runtime.database) == []
    assert world.run_to_end("retired")["succeeded"] == count


@pytest.mark.slow
@pytest.mark.timeout(300)
@ON_SQLITE
def test_a_canary_of_twenty_that_fails_stops_the_many_others(make_world):
    count = 100_000 // PART
    world = make_world(canary=20, max_batch_requests=10_000)
    world.server.rules(WRONG)
    enqueue(world, count, lambda number: "wrong")
    while accept(world.runtime):
        pass
    for _ in range(6):
        world.tick()
        world.pass_time(61)
    assert (world.job().states["failed"], world.job().states["pending"]) == (20, count - 20)
    assert world.server.totals()["accepted"] == 20
    ((name, reason),) = [(each.name, each.reason) for each in holds.parked(world.runtime.database)]
    assert (name, reason.partition(", such")[0]) == (
        "job",
        "20 of 20 records of its canary failed, most as invalid_request_error",
    )
    world.server.clear()
    moved = dead.requeue(world.runtime, Selection(job="job"), {"max_tokens": 32})
    assert (moved.failed, moved.pending) == (20, count - 20)
    pausing.resume(world.runtime, job="job")
    assert world.run_to_end()["succeeded"] == count
