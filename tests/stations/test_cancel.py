"""Cancellation: what is not sent ends at once, what is sent is canceled at the API, and what had run is kept and paid."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import orjson
import pytest
from sqlalchemy import text

from bakehouse import ConfigurationError
from bakehouse.outcome import Outcome
from bakehouse.record import build
from bakehouse_worker import export, ticking
from bakehouse_worker import submit as sending
from bakehouse_worker.accept import accept
from bakehouse_worker.body import Body
from bakehouse_worker.cancel import cancel_at_api, cancel_batch, cancel_job, cancel_record, told
from bakehouse_worker.chunk import chunk
from bakehouse_worker.collect import collect
from bakehouse_worker.poll import poll
from bakehouse_worker.rescue import rescue
from bakehouse_worker.settle import settle
from bakehouse_worker.store import deadletters, epochs, holds, packing, reading, results
from bakehouse_worker.submit import submit

#: For what does not differ between the databases.
ON_SQLITE = pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)


def calls(world, name):
    return world.server.stats()["calls"].get(name, 0)


def states(world, job="job"):
    return {state: count for state, count in world.job(job).states.items() if count}


def state(world):
    (batch,) = world.batches()
    return batch.state


def paid(world):
    """Answers whose cost stands in the books."""
    return sum(view.answers for view in reading.spend(world.runtime.database))


# All at once


def test_a_job_canceled_half_sent_ends_as_the_apis_ledger_says(make_world):
    world = make_world(max_batch_requests=10)
    world.ended(10, text="ended")
    world.submitted(10, text="at the API")
    world.pass_time(30)
    world.packed(10, text="packed")
    world.enqueue(10, text="pending")
    accept(world.runtime)
    world.enqueue(3, text="in the inbox")
    assert sorted(batch.state for batch in world.batches()) == ["ended", "in_progress", "packed"]
    outcome = cancel_job(world.runtime, "job")
    assert (outcome.canceled, outcome.asked, outcome.left, outcome.inbox) == (23, 20, 0, 0)
    assert states(world) == {"canceled": 23, "packed": 20}
    world.run_to_end()
    totals = world.server.totals()
    assert states(world) == {"canceled": 28, "succeeded": 15}
    assert (totals["accepted"], totals["billed"], totals["accepted_twice"]) == (20, 15, 0)
    assert paid(world) == totals["billed"]
    assert all(cost > 0 for cost in [view.cost for view in reading.spend(world.runtime.database)])
    assert calls(world, "cancel") == 1


def test_records_enqueued_after_the_cancel_are_sent(world):
    world.packed(3)
    cancel_job(world.runtime, "job")
    world.enqueue(2, text="later")
    world.run_to_end()
    assert states(world) == {"canceled": 3, "succeeded": 2}


# Not sent


def test_one_record_leaves_a_packed_batch_and_the_others_go(world):
    world.packed(3)
    outcome = cancel_record(world.runtime, "item 1")
    assert (outcome.canceled, outcome.asked) == (1, 0)
    assert world.batches()[0].requests == 2
    world.run_to_end()
    assert states(world) == {"succeeded": 2, "canceled": 1}
    assert world.server.totals()["accepted"] == 2


def test_a_packed_batch_that_is_canceled_is_dissolved(make_world):
    world = make_world(max_batch_requests=3)
    first, _ = world.packed(6)
    assert cancel_batch(world.runtime, first).canceled == 3
    assert len(world.batches()) == 1
    assert submit(world.runtime, first) == "not due"
    with pytest.raises(ConfigurationError, match=f"no live batch {first}"):
        cancel_batch(world.runtime, first)


def test_more_than_a_span_is_canceled(world):
    world.client.enqueue_records(
        ({"params": world.params(str(number)), "custom_id": str(number)} for number in range(2100)), job="job"
    )
    accept(world.runtime)
    assert cancel_job(world.runtime, "job").canceled == 2100
    assert states(world) == {"canceled": 2100}


def test_only_the_named_job_is_canceled(world):
    world.enqueue(2, job="one")
    world.enqueue(2, job="two")
    cancel_record(world.runtime, "item 0", "one")
    assert states(world, "one") == {"pending": 1, "canceled": 1}
    assert states(world, "two") == {"pending": 2}
    assert cancel_record(world.runtime, "item 1").canceled == 2


def test_a_sender_that_takes_a_batch_at_the_same_moment_has_its_members_or_not(make_world):
    world = make_world(max_batch_requests=5)
    jobs = [f"job {turn}" for turn in range(4)]
    with ThreadPoolExecutor(3) as pool:
        for job in jobs:
            ids = world.packed(15, job=job, text=job)
            others = [world.worker() for _ in range(2)]
            sent = [pool.submit(submit, others[0], batch) for batch in ids]
            outcome = pool.submit(cancel_job, others[1], job).result(30)
            assert {each.result(30) for each in sent} <= {"submitted", "not due", "upload failed"}
            assert (outcome.canceled + outcome.asked, outcome.left) == (15, 0)
            for other in others:
                other.database.close()
    for job in jobs:
        world.run_to_end(job)
    totals = world.server.totals()
    assert totals["accepted"] == sum(ending.sendings for job in jobs for ending in world.endings(job).values())
    assert (totals["accepted_twice"], paid(world)) == (0, totals["billed"])


def test_a_batch_that_is_divided_loses_its_canceled_members_alone(world, monkeypatch):
    world.server.rules({"on": "create", "fault": "too_large", "min_items": 6})
    (batch,) = world.packed(8)
    whole = packing.dissolve

    def late(*words):
        for number in (0, 1, 2, 3, 6):
            cancel_record(world.runtime, f"item {number}")
        return whole(*words)

    with monkeypatch.context() as patched:
        patched.setattr(sending.packing, "dissolve", late)
        assert submit(world.runtime, batch) == "halved"
    assert [each.requests for each in world.batches()] == [3]
    world.books_agree()
    world.run_to_end()
    assert states(world) == {"succeeded": 3, "canceled": 5}
    assert world.server.totals()["accepted"] == 3


# Sent


def cancel_while_uploading(world, monkeypatch, batch, cancel, after):
    """Submit a batch that is canceled while its body streams."""
    whole = Body._requests

    def slow(self, piece):
        yield from whole(self, piece)
        cancel()
        after()

    with monkeypatch.context() as patched:
        patched.setattr(Body, "_requests", slow)
        return submit(world.runtime, batch)


def test_what_is_canceled_while_it_is_uploaded_is_canceled_at_the_api(world, monkeypatch):
    (batch,) = world.packed(5)
    cancel = lambda: cancel_job(world.runtime, "job")  # noqa: E731
    assert cancel_while_uploading(world, monkeypatch, batch, cancel, lambda: None) == "submitted"
    world.tick()
    assert state(world) == "canceling"
    world.run_to_end()
    assert states(world) == {"canceled": 5}
    assert world.server.totals()["billed"] == 0


def test_what_is_canceled_while_an_upload_fails_is_not_sent_again(world, monkeypatch):
    (batch,) = world.packed(5)

    def cancel():
        outcome = [cancel_record(world.runtime, f"item {number}") for number in (0, 3)]
        assert [each.asked for each in outcome] == [1, 1]

    def lose_the_lease():
        world.clock.now += world.settings.lease + 1
        rescue(world.worker())

    assert cancel_while_uploading(world, monkeypatch, batch, cancel, lose_the_lease) == "upload failed"
    assert states(world) == {"canceled": 2, "packed": 3}
    world.run_to_end()
    assert world.server.totals()["accepted"] == 3


def test_what_is_canceled_while_a_create_is_refused_is_not_sent_again(world, monkeypatch):
    world.server.rules({"on": "create", "fault": "rate_limit", "retry_after": 60, "times": 1})
    (batch,) = world.packed(5)
    cancel = lambda: cancel_job(world.runtime, "job")  # noqa: E731
    assert cancel_while_uploading(world, monkeypatch, batch, cancel, lambda: None) == "held"
    assert (states(world), world.batches()) == ({"canceled": 5}, [])
    holds.release(world.runtime.database)


def test_a_canceled_create_in_doubt_that_never_arrived_is_not_sent_again(world):
    world.server.rules({"on": "create", "fault": "lost_before_acceptance", "times": 1})
    (batch,) = world.packed(5)
    assert submit(world.runtime, batch) == "in doubt"
    assert cancel_job(world.runtime, "job").asked == 5
    assert states(world) == {"packed": 5}
    world.run_to_end()
    assert states(world) == {"canceled": 5}
    assert (calls(world, "create"), world.server.totals()["accepted"]) == (1, 0)


def test_a_canceled_create_in_doubt_that_arrived_is_kept_and_paid_but_not_canceled_as_it_may_be_anothers(world):
    world.server.rules({"on": "create", "fault": "lost_after_acceptance", "times": 1})
    (batch,) = world.packed(5)
    assert submit(world.runtime, batch) == "in doubt"
    cancel_job(world.runtime, "job")
    rescue(world.runtime)
    assert state(world) == "in_progress"
    again = cancel_job(world.runtime, "job")
    assert (again.asked, again.asked_before, again.sent.unproven) == (0, 5, 1)
    assert "not proven that they are ours: 1" in "\n".join(told(again))
    world.run_to_end()
    assert (states(world), calls(world, "cancel")) == ({"succeeded": 5}, 0)
    assert paid(world) == world.server.totals()["billed"] == 5


def test_a_batch_with_records_of_another_job_goes_on_until_they_are_canceled_too(world):
    world.enqueue(2, job="one", text="first")
    world.enqueue(2, job="two", text="second")
    accept(world.runtime)
    (batch,) = chunk(world.runtime)
    submit(world.runtime, batch)
    outcome = cancel_job(world.runtime, "one")
    assert (outcome.asked, outcome.sent.mixed, outcome.sent.whole) == (2, 1, 0)
    assert cancel_at_api(world.runtime) == 0
    assert cancel_job(world.runtime, "two").sent.whole == 1
    assert cancel_at_api(world.runtime) == 1
    world.run_to_end("one")
    world.run_to_end("two")
    assert (states(world, "one"), states(world, "two")) == ({"canceled": 2}, {"canceled": 2})


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        ({"fault": "errored", "type": "overloaded_error"}, "canceled"),
        ({"fault": "expired"}, "canceled"),
        ({"fault": "canceled"}, "canceled"),
        ({"fault": "errored", "type": "billing_error"}, "canceled"),
        ({"fault": "errored", "type": "invalid_request_error"}, "failed"),
        ({"fault": "refusal"}, "succeeded"),
    ],
)
def test_what_would_go_again_is_canceled_and_any_other_end_stays(world, fault, end):
    world.server.rules({"on": "result", "prompt": "item 1", "message": "so it is", "times": 1, **fault})
    world.submitted(3)
    assert cancel_record(world.runtime, "item 1").sent.mixed == 1
    world.run_to_end()
    assert states(world) == ({"succeeded": 3} if end == "succeeded" else {"succeeded": 2, end: 1})
    assert (calls(world, "create"), calls(world, "cancel")) == (1, 0)


def test_a_cancel_between_an_answer_and_its_decision_is_not_overlooked(world, monkeypatch):
    world.server.rules({"on": "result", "fault": "errored", "type": "overloaded_error", "times": 3})
    (batch,) = world.ended(3)
    collect(world.runtime, batch)
    whole, seen = results.settle, []

    def late(*words):
        if not seen:
            seen.append(cancel_record(world.runtime, "item 1").asked)
        return whole(*words)

    with monkeypatch.context() as patched:
        patched.setattr(results, "settle", late)
        settled = settle(world.runtime, batch)
    assert (seen, settled.again, settled.canceled) == ([1], 2, 1)
    assert states(world) == {"pending": 2, "canceled": 1}


# At the API


def test_the_tick_rings_for_a_batch_that_the_api_is_to_cancel_until_it_does(world):
    world.submitted(3)
    assert ("cancel", ()) not in list(ticking.due_doorbells(world.runtime))
    cancel_job(world.runtime, "job")
    assert ("cancel", ()) in list(ticking.due_doorbells(world.runtime))
    cancel_at_api(world.runtime)
    assert ("cancel", ()) not in list(ticking.due_doorbells(world.runtime))


@pytest.mark.parametrize("fault", ["server_error", "rate_limit", "unauthorized", "lost"])
def test_a_cancel_that_the_api_does_not_take_is_asked_for_again_and_says_why(world, fault):
    world.server.rules({"on": "cancel", "fault": fault, "times": 1})
    world.submitted(3)
    cancel_job(world.runtime, "job")
    assert cancel_at_api(world.runtime) == 0
    (batch,) = world.batches()
    assert batch.state == "in_progress"
    assert batch.alarm.startswith("not canceled at the API yet")
    assert cancel_at_api(world.runtime) == 0
    assert calls(world, "cancel") == 1
    world.pass_time(2)
    assert cancel_at_api(world.runtime) == 1
    (batch,) = world.batches()
    assert (batch.state, batch.alarm) == ("canceling", None)
    world.run_to_end()
    assert states(world) == {"canceled": 3}


def test_a_batch_that_had_ended_when_it_was_to_be_canceled_is_left_to_poll(world):
    world.submitted(3)
    cancel_job(world.runtime, "job")
    world.pass_time(61)
    assert cancel_at_api(world.runtime) == 0
    assert cancel_at_api(world.runtime) == 0
    assert calls(world, "cancel") == 1
    assert len(poll(world.runtime)) == 1
    world.run_to_end()
    assert states(world) == {"succeeded": 3}
    assert paid(world) == world.server.totals()["billed"] == 3


# What is told, and what comes after


def test_a_handler_is_told_of_a_canceled_record_once_and_that_it_was_never_sent(world, monkeypatch):
    delivered: list[Outcome] = []
    name = f"told_{world.prefix}"  # a handler is looked up once in a process
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(take=delivered.append))
    world.enqueue(1, on_result=f"{name}:take")
    cancel_job(world.runtime, "job")
    cancel_job(world.runtime, "job")
    world.tick()
    world.tick()
    (outcome,) = delivered
    assert (outcome.status, outcome.result, outcome.attempts, outcome.cost) == (
        "canceled",
        {"type": "canceled"},
        0,
        None,
    )
    line = orjson.loads(export.line(world.endings()["item 0"]))
    assert line == {"custom_id": "item 0", "result": {"type": "canceled"}, "attempts": 0}


def test_the_same_record_again_stays_canceled_and_a_replaced_one_is_sent(world):
    world.enqueue(2)
    cancel_job(world.runtime, "job")
    world.enqueue(2)
    accept(world.runtime)
    assert deadletters.requeue_failed(world.runtime.database, "job") == 0
    assert states(world) == {"canceled": 2}
    world.client.append([build(world.params("another body"), custom_id="item 1", job="job", replace=True)])
    world.run_to_end()
    assert states(world) == {"canceled": 1, "succeeded": 1}


def test_a_failed_record_that_was_to_be_canceled_is_sent_again_at_a_persons_word_and_not_canceled_by_the_old_one(world):
    world.server.rules({"on": "result", "fault": "errored", "type": "invalid_request_error", "times": 1})
    world.server.rules({"on": "result", "fault": "errored", "type": "overloaded_error", "first_times": 2})
    world.submitted(1)
    world.enqueue(1, job="other", text="other")
    cancel_record(world.runtime, "item 0")
    with world.runtime.database.write() as connection:  # its batch goes on, as if it held another's record
        connection.execute(text("UPDATE batch SET cancel_asked_at = NULL"))
    world.run_to_end()
    assert states(world) == {"failed": 1}
    assert deadletters.requeue_failed(world.runtime.database, "job") == 1
    world.run_to_end()
    assert states(world) == {"succeeded": 1}


def test_without_redis_what_is_accepted_is_canceled_and_the_inbox_is_said_not_to_be_reached(world):
    world.packed(2)
    alone = world.worker(redis_url="redis://127.0.0.1:1")
    outcome = cancel_job(alone, "job")
    assert (outcome.canceled, outcome.inbox) == (2, None)
    assert "Redis does not answer" in told(outcome)[-1]
    alone.database.close()


def test_a_restored_database_cancels_nothing_before_it_was_compared_with_the_api(world):
    world.packed(2)
    holds.hold(world.runtime.database, holds.RESTORED, "restored", None)
    with pytest.raises(ConfigurationError, match="restored"):
        cancel_job(world.runtime, "job")
    assert states(world) == {"packed": 2}
    epochs.rejoin(world.runtime.database, 0)


@pytest.mark.parametrize("words", [{}, {"batch_id": 1, "job": "job"}, {"job": "nobody's"}, {"custom_id": "unknown"}])
@ON_SQLITE
def test_what_is_not_named_or_not_known_is_said_in_one_sentence(world, words):
    from bakehouse_worker.cancel import plan

    world.packed(1)
    with pytest.raises(ConfigurationError, match=r"name what is to be canceled|there is no"):
        plan(world.runtime, **words)


def command(world, *words, answer=""):
    environment = {
        **os.environ,
        "BAKEHOUSE_DATA_DIR": str(world.home),
        "BAKEHOUSE_REDIS_URL": world.redis_url,
        "BAKEHOUSE_REDIS_PREFIX": world.prefix,
    }
    argv = [sys.executable, "-m", "bakehouse_worker", "cancel", *words]
    done = subprocess.run(argv, env=environment, input=answer, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@ON_SQLITE
def test_the_command_says_what_it_will_do_asks_and_does_it(make_world):
    world = make_world(max_batch_requests=2)
    world.submitted(2, text="sent")
    world.enqueue(3)
    code, said = command(world)
    assert (code, said.count("\n")) == (2, 1)
    assert "name what is to be canceled" in said
    code, said = command(world, "--job", "job", answer="n\n")
    assert code == 2
    assert "not sent, canceled at once: 3; sent" in said
    assert "asked to cancel: 2 (" in said
    assert states(world) == {"packed": 2, "pending": 3}
    code, said = command(world, "item 0", "-y")
    assert (code, states(world)) == (0, {"packed": 2, "pending": 2, "canceled": 1})
    code, said = command(world, "--job", "job", "-y")
    assert code == 0
    assert "canceled, not sent: 2\n" in said
    assert "asked to cancel, by a transfer worker: 1\n" in said
    world.run_to_end()
    assert states(world) == {"canceled": 5}
