"""Trouble of the whole account: submissions stop with the reason, one record at a time goes as a probe, and nobody pays for it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from bakehouse import ConfigurationError
from bakehouse_worker import pausing
from bakehouse_worker.chunk import chunk
from bakehouse_worker.collect import collect
from bakehouse_worker.poll import poll
from bakehouse_worker.settle import settle
from bakehouse_worker.store import epochs, holds
from bakehouse_worker.submit import submit

CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."
POOR = {"on": "result", "fault": "errored", "type": "invalid_request_error", "message": CREDIT}


def failures(world):
    with world.runtime.database.read() as connection:
        rows = connection.execute(text("SELECT custom_id, failures, expiries, attempt FROM record"))
        return {row.custom_id: (row.failures, row.expiries, row.attempt) for row in rows}


def test_answers_that_tell_of_the_account_open_the_circuit_until_a_probe_has_its_own_answer(make_world):
    world = make_world(max_batch_requests=10, probe_interval=300)
    world.server.rules(POOR)
    first, second = world.packed(20)
    assert submit(world.runtime, first) == "submitted"
    world.pass_time(61)
    for batch in poll(world.runtime):
        collect(world.runtime, batch)
        settle(world.runtime, batch)
    wait = holds.standing(world.runtime.database)
    assert (wait.kind, CREDIT in wait.reason) == ("answers", True)
    assert submit(world.runtime, second) == "held"
    for _ in range(5):  # accepted, but its answer says the same: the hold stays
        world.pass_time(301)
        world.tick()
    assert holds.standing(world.runtime.database).since == wait.since
    creates = world.server.stats()["calls"]["create"]
    assert creates <= 1 + 5
    world.server.clear()
    assert world.run_to_end()["succeeded"] == 20
    assert holds.standing(world.runtime.database) is None
    assert {(burned, expired) for burned, expired, _ in failures(world).values()} == {(0, 0)}


def test_a_probe_is_one_record_and_the_others_travel_together_when_it_came_through(make_world):
    world = make_world(max_batch_requests=50)
    world.server.rules({"on": "create", "fault": "billing", "times": 1})
    (batch,) = world.packed(50)
    assert submit(world.runtime, batch) == "held"
    world.pass_time(world.settings.probe_interval + 1)
    assert submit(world.runtime, batch) == "submitted"
    sizes = [(each.state, each.requests) for each in world.batches()]
    assert sizes == [("in_progress", 1), ("packed", 49)]
    assert world.run_to_end()["succeeded"] == 50
    assert world.server.stats()["calls"]["create"] == 3


def test_a_queue_that_is_full_shrinks_what_is_sent_to_what_the_api_took(make_world):
    world = make_world(max_batch_requests=10)
    world.server.options({"max_queued_requests": 25})
    world.enqueue(60)
    assert world.run_to_end()["succeeded"] == 60
    calls = world.server.stats()["calls"]["create"]
    assert calls <= 6 + 3  # six batches, and few that were refused
    assert world.server.totals()["accepted_twice"] == 0


def test_a_batch_larger_than_the_whole_queue_is_halved_until_it_fits(make_world):
    world = make_world(max_batch_requests=40)
    world.server.options({"max_queued_requests": 12})
    world.enqueue(40)
    assert world.run_to_end()["succeeded"] == 40


def test_a_pause_by_hand_outlives_probes_and_ends_by_hand(make_world):
    world = make_world(max_batch_requests=5)
    first, second = world.packed(10)
    assert "are paused" in pausing.pause(world.runtime, "the prompt is being rewritten")
    world.pass_time(10_000)
    assert submit(world.runtime, first) == "held"
    assert "paused already: the prompt is being rewritten" in pausing.pause(world.runtime, "again")
    assert "the prompt is being rewritten" in pausing.resume(world.runtime)
    assert pausing.resume(world.runtime) == "submissions were not paused"
    assert submit(world.runtime, second) == "submitted"
    assert world.run_to_end()["succeeded"] == 10


def test_resume_ends_the_circuit_and_a_wait_at_once_but_not_the_wait_of_a_restored_database(make_world):
    world = make_world()
    for kind in (holds.CIRCUIT, holds.ANSWERS, holds.RETRY_AFTER):
        holds.hold(world.runtime.database, kind, "trouble", world.clock() + 1_000)
        assert "trouble" in pausing.resume(world.runtime)
        assert holds.standing(world.runtime.database) is None
    holds.hold(world.runtime.database, holds.RESTORED, "this database was restored", None)
    with pytest.raises(ConfigurationError, match="restored"):
        pausing.resume(world.runtime)
    assert holds.standing(world.runtime.database) is not None
    epochs.rejoin(world.runtime.database, 0)


def test_a_paused_job_waits_with_what_is_packed_of_it_and_the_others_go_on(make_world):
    world = make_world()
    world.enqueue(3, job="mine")
    world.packed(3, job="theirs", text="other")
    assert "is paused" in pausing.pause(world.runtime, "not now", job="mine")
    assert world.run_to_end("theirs")["succeeded"] == 3
    assert world.job("mine").states["pending"] == 3
    assert world.server.totals()["accepted"] == 3
    assert pausing.resume(world.runtime, job="mine") == "job mine goes on"
    assert world.run_to_end("mine")["succeeded"] == 3
    with pytest.raises(ConfigurationError, match=r"no job 'nobody' is known; there are: mine, theirs"):
        pausing.pause(world.runtime, "x", job="nobody")


def test_nothing_is_packed_of_a_parked_job(make_world):
    world = make_world()
    world.enqueue(3)
    from bakehouse_worker.accept import accept

    accept(world.runtime)
    holds.park(world.runtime.database, holds.JOB, "job", "x")
    assert chunk(world.runtime) == []


def test_while_the_api_asks_to_wait_an_hour_what_was_sent_is_collected_and_sending_resumes_on_time(make_world):
    world = make_world(max_batch_requests=5)
    first, second = world.packed(10)
    assert submit(world.runtime, first) == "submitted"
    world.server.rules({"on": "create", "fault": "rate_limit", "retry_after": 3600, "times": 1})
    assert submit(world.runtime, second) == "held"
    for _ in range(58):
        world.pass_time(61)
        world.tick()
    assert world.job().states == {"pending": 0, "packed": 5, "succeeded": 5}
    assert world.server.stats()["calls"]["create"] == 2
    world.pass_time(3600 - 58 * 61)
    world.tick()
    assert [batch.state for batch in world.batches()] == ["in_progress"]
    assert world.run_to_end()["succeeded"] == 10
    assert {ending.sendings for ending in world.endings().values()} == {1}
