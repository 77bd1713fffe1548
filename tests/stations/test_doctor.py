"""`doctor` names what is wrong: every planted corruption by its own check."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from sqlalchemy import text

from bakehouse.contract import GROUP
from bakehouse_worker import doctor
from bakehouse_worker.accept import accept
from bakehouse_worker.poll import poll
from bakehouse_worker.states import BatchState
from bakehouse_worker.store import holds, submissions

DAY = 86_400.0


def change(world, statement):
    """Run one statement past all verbs; it must touch a row."""
    with world.runtime.database.write() as connection:
        assert connection.execute(text(statement)).rowcount > 0, statement


def a_lost_doorbell(world):
    world.packed(3)
    holds.put(world.runtime.database, "ticked_at", repr(world.runtime.database.now()))
    world.clock.now += 3_000


def a_counter_off_by_one(world):
    world.packed(3)
    change(world, "UPDATE counter SET records = records + 1 WHERE state = 'packed'")


def a_caveat_that_nobody_counted(world):
    world.enqueue(3)
    world.run_to_end()
    change(world, "UPDATE result SET stop_reason = 'refusal' WHERE record_id = (SELECT min(id) FROM record)")


def a_batch_that_counts_a_member_too_many(world):
    world.packed(3)
    change(world, "UPDATE batch SET requests = 4")


def a_member_of_two_batches(world):
    world.submitted(3)
    tokens = "input_tokens, output_tokens, cache_write_tokens, cache_read_tokens"
    change(
        world,
        f"INSERT INTO result (record_id, attempt, batch_id, kind, received_at, line, {tokens}) "
        "SELECT min(id), 0, 0, 'missing', 0, 'x', 0, 0, 0, 0 FROM record",
    )


def a_missing_body(world):
    world.packed(3)
    change(world, "DELETE FROM body WHERE record_id = (SELECT min(id) FROM record)")


def a_missing_answer(world):
    world.enqueue(3)
    world.run_to_end()
    change(world, "DELETE FROM result WHERE record_id = (SELECT min(id) FROM record)")


def an_expired_lease(world):
    (batch,) = world.packed(3)
    runtime = world.runtime
    page = runtime.gateway.newest()
    submissions.begin(runtime.database, batch, runtime.owner, 60, runtime.gateway.origin, page.workspace)
    world.clock.now += 300


def a_stale_inbox_entry(world):
    world.runtime = world.worker(lease=0.01)
    accept(world.runtime)  # makes the group
    world.enqueue(2)
    redis, inbox = world.runtime.redis, world.runtime.keys.inbox
    redis.xreadgroup(GROUP, "lost", {inbox: ">"})
    for entry, _ in redis.xrange(inbox):
        redis.xclaim(inbox, GROUP, "lost", 0, [entry], idle=60_000)


def a_packed_record_of_a_finished_batch(world):
    world.packed(3)
    change(world, "UPDATE batch SET state = 'collected', finished_at = 1")


def a_record_that_waits_and_travels_at_once(world):
    world.packed(3)
    change(world, "UPDATE record SET state = 'pending' WHERE id = (SELECT min(id) FROM record)")


def a_result_without_a_record(world):
    world.enqueue(3)
    world.run_to_end()
    change(world, "UPDATE result SET record_id = 999 WHERE record_id = (SELECT min(id) FROM record)")


def a_result_of_a_batch_that_never_was(world):
    world.enqueue(3)
    world.run_to_end()
    change(world, "UPDATE result SET batch_id = 999 WHERE record_id = (SELECT min(id) FROM record)")


def a_delivery_without_a_record(world):
    change(
        world,
        "INSERT INTO delivery (record_id, generation, sink, state, attempts, next_at, lease_until) "
        "VALUES (999, 0, 'a:b', 'waiting', 0, 0, 0)",
    )


def a_batch_in_progress_without_a_remote_id(world):
    world.submitted(3)
    change(world, "UPDATE submission SET remote_id = NULL")


def results_that_the_api_is_about_to_delete(world):
    world.submitted(3)
    world.pass_time(61)
    (batch,) = poll(world.runtime)
    assert world.batches()[0].state == BatchState.ENDED
    holds.put(world.runtime.database, "ticked_at", repr(world.runtime.database.now() + 28 * DAY))
    change(world, f"UPDATE batch SET not_before = {world.runtime.database.now() + 28 * DAY} WHERE id = {batch}")
    world.clock.now += 28 * DAY


def a_batch_that_outlives_its_day(world):
    world.submitted(3)
    world.clock.now += 26 * 3600


def a_redis_that_remembers_more(world):
    world.submitted(3)
    world.runtime.redis.set(world.runtime.keys.epoch, f"{world.runtime.installation}:7")


PLANTED = {
    a_lost_doorbell: ("doorbells", "does beat run?"),
    a_counter_off_by_one: ("counters", "counts 4 packed and has 3"),
    a_caveat_that_nobody_counted: ("caveats", "counts 0 answers with refusal and has 1"),
    a_batch_that_counts_a_member_too_many: ("batches", "says 4 requests and accounts for 3"),
    a_member_of_two_batches: ("membership", "is a member of batch 1 and has its answer in batch 0"),
    a_missing_body: ("bodies", "is unfinished and has no body"),
    a_missing_answer: ("answers", "succeeded and has no answer"),
    an_expired_lease: ("leases", "is held past its lease"),
    a_stale_inbox_entry: ("inbox entries", "is not accepted (and 1 more such)"),
    a_packed_record_of_a_finished_batch: ("records", "packed in a batch that is finished"),
    a_record_that_waits_and_travels_at_once: ("records", "pending and in a batch at once"),
    a_result_without_a_record: ("results", "the result of record 999, attempt 0, has no record"),
    a_result_of_a_batch_that_never_was: ("results", "has no batch: there is no 999"),
    a_delivery_without_a_record: ("deliveries", "the delivery of record 999"),
    a_batch_in_progress_without_a_remote_id: ("remote ids", "is in_progress and has no remote id"),
    results_that_the_api_is_about_to_delete: ("retention", "the API deletes its results in 24.0 h"),
    a_batch_that_outlives_its_day: ("expiry", "is in_progress since 26.0 h, expired or stuck"),
    a_redis_that_remembers_more: ("epoch", "6 creates were sent that it does not know"),
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_corruption_is_named(make_world, plant, monkeypatch):
    world = make_world()
    world.books_agree()
    plant(world)
    found = {finding.check: finding for finding in doctor.examine(world.runtime) if finding.ok is False}
    check, told = PLANTED[plant]
    assert check in found, f"not named: {found}"
    assert told in found[check].told
    monkeypatch.setattr(world, "books_agree", lambda: None)  # they do not, on purpose


def command(world, *words, **changes):
    """Run `bakehouse doctor` as a person would, in a process of its own."""
    mine = {
        "BAKEHOUSE_DATA_DIR": str(world.home),
        "BAKEHOUSE_REDIS_URL": world.redis_url,
        "BAKEHOUSE_REDIS_PREFIX": world.prefix,
        "BAKEHOUSE_DATABASE_URL": world.database_url,
        **changes,
    }
    argv = [sys.executable, "-m", "bakehouse_worker", "doctor", *words]
    return subprocess.run(argv, env={**os.environ, **mine}, capture_output=True, text=True, timeout=60)


def test_the_command_needs_no_key_and_no_api_unless_it_is_to_reconcile(world, monkeypatch):
    world.enqueue(3)
    world.run_to_end()
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    alone = command(world, "--json")
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert {finding["ok"] for finding in json.loads(alone.stdout)} == {True}
    wanting = command(world, "--reconcile")
    assert wanting.returncode == 2
    assert "ANTHROPIC_API_KEY" in wanting.stderr


def test_the_command_reconciles_and_says_so(world):
    world.enqueue(3)
    world.run_to_end()
    world.runtime.redis.set(world.runtime.keys.epoch, f"{world.runtime.installation}:7")
    before = command(world)
    assert before.returncode == 1
    assert "BAD  epoch: this database was restored from a backup: 6 creates" in before.stdout
    healed = command(world, "--reconcile")
    assert healed.returncode == 0, healed.stdout + healed.stderr
    assert "ok   submissions: go on" in healed.stdout
