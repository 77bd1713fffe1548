"""Janitor: what is past its retention goes, a late doubling is known all the same, and nothing unfinished is touched."""

from __future__ import annotations

import sys
import types
from itertools import pairwise
from threading import Thread

import orjson
import pytest

from bakehouse.record import build
from bakehouse_worker import export, sinks
from bakehouse_worker import prune as janitor
from bakehouse_worker.accept import accept
from bakehouse_worker.chunk import chunk
from bakehouse_worker.collect import collect
from bakehouse_worker.deliver import deliver
from bakehouse_worker.poll import poll
from bakehouse_worker.prune import DAY, prune
from bakehouse_worker.settle import settle
from bakehouse_worker.store import (
    deadletters,
    doubts,
    due,
    lanes,
    outcomes,
    records,
    retention,
    submissions,
    tombstones,
)
from bakehouse_worker.submit import submit

#: For what does not differ between the databases.
ON_SQLITE = pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)


def later(world, days):
    """Let days pass, and prune once."""
    world.pass_time(days * DAY)
    return prune(world.runtime)


def rows(world, *tables):
    """How many rows stand in each table."""
    with world.runtime.database.read() as connection:
        return [connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar() for name in tables]


def remote_ids(world):
    """What the API has, and has not deleted."""
    return {batch["id"] for batch in world.server.stats()["batches"] if not batch["deleted"]}


def delivered_by_nobody(world):
    """Take what is enqueued to its end, and leave its outcomes waiting."""
    accept(world.runtime)
    for batch in chunk(world.runtime):
        submit(world.runtime, batch)
    world.pass_time(61)
    for batch in poll(world.runtime):
        collect(world.runtime, batch)
        settle(world.runtime, batch)


@pytest.fixture
def lapsed(make_world):
    """A world in which three records succeeded and one failed, and all four were pruned."""
    world = make_world(retain_content=1, retain_rows=10)
    world.let_go("none")
    world.client.enqueue_record(world.params(model="none"), custom_id="bad", job="job")
    world.enqueue(3)
    world.run_to_end()
    world.ends = world.job().states
    assert later(world, 11) == 8
    return world


@pytest.fixture
def application(monkeypatch):
    module = types.ModuleType("an_application")
    module.seen = []
    module.save = module.seen.append
    monkeypatch.setitem(sys.modules, "an_application", module)
    sinks.find.cache_clear()
    return module


# Lifetimes


def test_content_goes_first_and_the_row_later(make_world):
    world = make_world(retain_content=7, retain_rows=30)
    world.enqueue(3)
    world.run_to_end()
    assert later(world, 6) == 0
    assert later(world, 2) == 3
    assert rows(world, "record", "body", "result", "tombstone") == [3, 0, 0, 0]
    assert b"past its retention" in export.line(world.endings()["item 0"])
    assert later(world, 23) == 3
    assert rows(world, "record", "body", "result", "tombstone") == [0, 0, 0, 3]


def test_rows_take_content_with_them_that_was_to_be_kept_for_ever(make_world):
    world = make_world(retain_rows=10)
    world.enqueue(2)
    world.run_to_end()
    assert later(world, 9) == 0
    later(world, 2)
    assert rows(world, "record", "body", "result", "tombstone") == [0, 0, 0, 2]


@ON_SQLITE
def test_without_a_retention_everything_stays(world):
    world.enqueue(2)
    world.run_to_end()
    assert later(world, 4000) == 0
    assert rows(world, "record", "body", "result", "batch") == [2, 2, 2, 1]


def test_the_totals_of_a_job_do_not_shrink(lapsed):
    assert rows(lapsed, "record", "tombstone") == [0, 4]
    assert lapsed.job().states == lapsed.ends == {"succeeded": 3, "failed": 1, "pending": 0, "packed": 0}
    lapsed.books_agree()


@ON_SQLITE
def test_a_tombstone_does_not_hold_the_custom_id(lapsed):
    with lapsed.runtime.database.read() as connection:
        stones = connection.exec_driver_sql("SELECT * FROM tombstone").all()
    assert all(b"item" not in bytes(stone.custom_hash) and "item" not in str(stone[2:]) for stone in stones)
    ((job, stone),) = tombstones.find(lapsed.runtime.database, "item 1")
    assert (job, stone.state) == ("job", "succeeded")


def test_rejected_receipts_are_pruned_and_stay_counted(make_world):
    world = make_world(retain_rows=10)
    world.enqueue(1)
    world.client.enqueue_record(world.params("another"), custom_id="item 0", job="job")
    world.run_to_end()
    later(world, 11)
    assert rows(world, "rejected") == [0]
    assert world.job().states["rejected"] == 1
    assert world.job().ended == world.job().known == 2


def test_batches_go_when_nothing_refers_to_them_and_no_list_can_show_them(make_world):
    world = make_world(retain_rows=5, max_batch_requests=2)
    world.enqueue(6)
    world.run_to_end()
    known = remote_ids(world)
    later(world, 20)
    assert rows(world, "record", "batch", "submission") == [0, 3, 3]
    assert doubts.known_remote_ids(world.runtime.database, sorted(known)) == known
    later(world, 11)
    assert rows(world, "batch", "submission") == [1, 1]
    assert submissions.identity(world.runtime.database) is not None  # whose batches these are is not forgotten


# Late doublings


def test_a_record_that_comes_again_after_pruning_is_known_and_not_sent(lapsed):
    sent = lapsed.server.totals()["accepted"]
    lapsed.enqueue(3)
    assert lapsed.run_to_end() == lapsed.ends
    assert rows(lapsed, "record", "body", "tombstone") == [0, 0, 4]
    assert lapsed.server.totals()["accepted"] == sent
    assert set(records.known_digests(lapsed.runtime.database, "job", ["item 0", "item 9"])) == {"item 0"}


def test_another_body_under_a_pruned_custom_id_is_a_conflict(lapsed):
    lapsed.client.enqueue_record(lapsed.params("something else"), custom_id="item 0", job="job")
    accept(lapsed.runtime)
    assert lapsed.job().states["rejected"] == 1
    assert rows(lapsed, "record", "body", "tombstone") == [0, 0, 4]


def test_a_pruned_record_that_is_replaced_is_a_new_record(lapsed):
    lapsed.client.append([build(lapsed.params("a new question"), custom_id="bad", job="job", replace=True)])
    accept(lapsed.runtime)
    assert lapsed.job().states == {"succeeded": 3, "failed": 0, "pending": 1, "packed": 0}
    assert rows(lapsed, "record", "body", "tombstone") == [1, 1, 3]
    assert lapsed.run_to_end()["succeeded"] == 4
    assert lapsed.server.ledger(prompt="a new question")


def test_entries_of_one_span_under_a_pruned_custom_id_are_taken_in_their_order(lapsed):
    def entry(text, replace):
        return build(lapsed.params(text), custom_id="item 0", job="job", replace=replace)

    first = entry("refused", False), entry("item 0", False), entry("taken", True), entry("taken", True)
    lapsed.client.append([*first, entry("refused too", False), build(lapsed.params(), custom_id="new", job="job")])
    accept(lapsed.runtime)
    assert lapsed.job().states == {"succeeded": 2, "failed": 1, "pending": 2, "packed": 0, "rejected": 2}
    lapsed.run_to_end()
    assert lapsed.server.ledger(prompt="taken")
    assert not lapsed.server.ledger(prompt="refused")


@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
def test_a_record_that_is_pruned_in_the_moment_it_comes_again_is_not_sent(make_world, monkeypatch):
    """Acceptance has seen that the job has no tombstones; its first one must wait until the span is in."""
    world = make_world(retain_rows=1)
    world.enqueue(1)
    world.run_to_end()
    world.pass_time(2 * DAY)
    world.enqueue(1)
    jobs, pruning = lanes.jobs, Thread(target=prune, args=[world.worker()])

    def prune_meanwhile(*given, **more):
        found = jobs(*given, **more)
        pruning.start()
        pruning.join(0.5)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(lanes, "jobs", prune_meanwhile)
        accept(world.runtime)
    pruning.join()
    assert world.job().states["pending"] == 0
    assert rows(world, "record", "tombstone") == [0, 1]


@ON_SQLITE
def test_two_jobs_with_the_same_custom_id_have_tombstones_of_their_own(lapsed):
    lapsed.enqueue(1, job="another")
    accept(lapsed.runtime)
    assert lapsed.job("another").states == {"pending": 1}


def test_the_number_of_a_pruned_record_is_not_given_again(lapsed):
    """It is part of the delivery ids by which handlers tell what they have done."""
    lapsed.enqueue(1, text="fresh")
    accept(lapsed.runtime)
    with lapsed.runtime.database.read() as connection:
        assert connection.exec_driver_sql("SELECT min(id) FROM record").scalar() > 4


@ON_SQLITE
def test_jobs_without_tombstones_cost_acceptance_no_question(lapsed, monkeypatch):
    asked = []
    monkeypatch.setattr(tombstones, "_hash", lambda key, custom_id: asked.append(custom_id) or b"")
    lapsed.enqueue(3, job="another")
    accept(lapsed.runtime)
    assert asked == []


@ON_SQLITE
def test_a_pruned_record_in_a_file_of_requests_is_known_and_has_its_line(lapsed):
    job = lapsed.job()
    ((line, succeeded), _) = export.in_order(lapsed.runtime.database, job.id, "job", ["item 0", "never"])
    assert succeeded
    assert orjson.loads(line)["result"]["error"]["error"]["message"] == "its content is past its retention"


# What is not touched


def test_nothing_unfinished_is_pruned_at_any_station(make_world):
    world = make_world(retain_content=0, retain_rows=0)
    world.server.rules({"on": "result", "fault": "errored", "type": "api_error", "prompt": "item 1", "first_times": 1})
    world.enqueue(3)
    runtime = world.runtime
    accept(runtime)
    assert later(world, 1) == 0
    (batch,) = chunk(runtime)
    assert later(world, 1) == 0
    submit(runtime, batch)
    assert later(world, 0.1) == 0
    assert poll(runtime) == [batch]
    assert later(world, 0.1) == 0
    collect(runtime, batch)
    assert later(world, 0.1) == 0
    assert rows(world, "record", "body", "result") == [3, 3, 3]
    settle(runtime, batch)
    assert later(world, 0.1) == 4  # two ended, in two steps; one is to be sent again
    assert rows(world, "record", "body", "result") == [1, 1, 1]
    assert world.run_to_end()["succeeded"] == 3


def test_answers_of_a_batch_that_is_not_finished_stay(make_world):
    """Its results may be read again, and would stand again where they were deleted."""
    world = make_world(retain_content=0, retain_rows=0)
    (batch,) = world.ended(3)
    collect(world.runtime, batch)
    first, *_ = outcomes.iterate(world.runtime.database, world.job().id, states=["packed"])
    settle(world.runtime, batch, [first.record_id])
    assert later(world, 1) == 0
    settle(world.runtime, batch)
    assert later(world, 1) == 6


def test_a_record_whose_outcome_waits_to_be_delivered_stays_whole(make_world, application):
    world = make_world(retain_content=0, retain_rows=0)
    world.enqueue(1, on_result="an_application:save", metadata={"ticket": 42})
    world.enqueue(1, text="silent")
    delivered_by_nobody(world)
    delivered_by_nobody(world)  # the second lane's batch
    assert later(world, 1) == 2
    assert rows(world, "record", "body", "result", "delivery") == [1, 1, 1, 1]
    deliver(world.runtime)
    assert application.seen[0].metadata == {"ticket": 42}
    assert application.seen[0].text
    assert later(world, 1) == 2
    assert rows(world, "record", "body", "result", "delivery") == [0, 0, 0, 0]


@ON_SQLITE
def test_a_failed_record_without_content_is_not_requeued(make_world):
    world = make_world(retain_content=1)
    world.let_go("none")
    world.client.enqueue_record(world.params(model="none"), custom_id="bad", job="job")
    world.run_to_end()
    later(world, 2)
    assert deadletters.requeue_failed(world.runtime.database, "job") == 0
    assert world.job().states["failed"] == 1


# Spans and turns


def test_pruning_goes_in_spans_past_what_is_held_back(make_world, monkeypatch):
    monkeypatch.setattr(retention, "SPAN", 2)
    world = make_world(retain_content=1)
    world.enqueue(4, on_result="an_application:save", text="held")
    world.enqueue(5)
    delivered_by_nobody(world)
    delivered_by_nobody(world)
    world.pass_time(2 * DAY)
    spans, verb = [], retention.drop_content

    def watched(*arguments):
        spans.append(verb(*arguments))
        return spans[-1]

    monkeypatch.setattr(retention, "drop_content", watched)
    assert prune(world.runtime) == 5
    assert max(span.records for span in spans) == 2
    assert all(before.place < after.place for before, after in pairwise(spans[:-1]))
    assert rows(world, "body") == [4]


@ON_SQLITE
def test_a_turn_that_runs_out_of_time_goes_on_at_the_next_tick(make_world, monkeypatch):
    monkeypatch.setattr(retention, "SPAN", 2)
    monkeypatch.setattr(janitor, "TURN", 0.0)
    world = make_world(retain_content=1)
    world.enqueue(5)
    world.run_to_end()
    assert later(world, 2) == 2
    assert due.due(world.runtime.database, 1).prune
    assert prune(world.runtime) == 2
    monkeypatch.setattr(janitor, "TURN", 20.0)
    assert prune(world.runtime) == 1
    assert not due.due(world.runtime.database, 1).prune
    world.pass_time(3600)
    assert due.due(world.runtime.database, 1).prune


# The far side


def test_a_batch_is_deleted_at_the_api_when_its_content_is_pruned_here(make_world):
    world = make_world(retain_content=5)
    world.enqueue(3)
    world.run_to_end()
    (remote,) = remote_ids(world)
    later(world, 4)
    assert remote_ids(world) == {remote}
    later(world, 2)
    assert remote_ids(world) == set()
    assert doubts.known_remote_ids(world.runtime.database, [remote]) == {remote}


@ON_SQLITE
def test_an_api_that_is_down_is_asked_again_and_does_not_hold_up_the_store(make_world):
    world = make_world(retain_content=5)
    world.enqueue(3)
    world.run_to_end()
    world.server.rules({"on": "delete", "fault": "overloaded"})
    assert later(world, 6) == 3
    assert rows(world, "body", "result") == [0, 0]
    assert len(remote_ids(world)) == 1
    world.server.clear()
    world.pass_time(3600)
    prune(world.runtime)
    assert remote_ids(world) == set()


@ON_SQLITE
def test_without_a_key_the_store_is_pruned_all_the_same(make_world, monkeypatch):
    world = make_world(retain_content=5)
    world.enqueue(3)
    world.run_to_end()
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    world.runtime = world.worker()
    assert later(world, 6) == 3
    assert len(remote_ids(world)) == 1


@ON_SQLITE
def test_a_key_of_another_workspace_deletes_nothing_and_notes_nothing(make_world, monkeypatch):
    """There the API would answer 404, which elsewhere means that the batch is gone."""
    world = make_world(retain_content=5)
    world.enqueue(3)
    world.run_to_end()
    world.server.options({"keys": {"key": "wrkspc_other"}})
    later(world, 6)
    world.server.options({"keys": {}})
    assert len(remote_ids(world)) == 1
    world.pass_time(3600)
    prune(world.runtime)
    assert remote_ids(world) == set()


def test_a_batch_whose_adoption_no_line_has_confirmed_is_left_alone(make_world):
    world = make_world(retain_content=5)
    world.enqueue(3)
    world.run_to_end()
    with world.runtime.database.write() as connection:
        connection.exec_driver_sql("UPDATE submission SET confirmed = false")
    later(world, 6)
    assert len(remote_ids(world)) == 1


@ON_SQLITE
def test_a_batch_older_than_the_api_keeps_is_not_asked_for(make_world):
    world = make_world(retain_content=30)
    world.enqueue(3)
    world.run_to_end()
    calls = world.server.stats()["calls"]
    later(world, 31)
    assert world.server.stats()["calls"] == calls
