"""Station 6: each result is decided alone, and each decision holds once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

from bakehouse_worker.collect import collect
from bakehouse_worker.retry import Answer, decide
from bakehouse_worker.settle import settle
from bakehouse_worker.store import holds, reading, results, successes


def test_a_failing_request_is_tried_again_with_backoff_and_its_attempts_are_kept(world):
    fault = {"on": "result", "fault": "errored", "type": "overloaded_error", "message": "busy", "prompt": "item 1"}
    world.server.rules({**fault, "first_times": 2})
    world.enqueue(3)
    assert world.run_to_end()["succeeded"] == 3
    (record,) = reading.history(world.runtime.database, "item 1")
    assert [sending["kind"] for sending in record["sendings"]] == ["errored", "errored", "succeeded"]
    assert record["failures"] == 2
    assert record["sendings"][0]["error"] == "busy"


def test_a_request_that_never_succeeds_fails_after_max_attempts(make_world):
    world = make_world(max_attempts=3)
    world.server.rules(
        {"on": "result", "fault": "errored", "type": "from_the_future", "message": "no", "prompt": "item 1"}
    )
    world.enqueue(3)
    states = world.run_to_end()
    assert (states["succeeded"], states["failed"]) == (2, 1)
    assert world.endings()["item 1"].sendings == 3


def test_an_invalid_request_fails_at_once_with_the_apis_own_words(world):
    world.let_go("claude-none")
    world.client.enqueue_record(world.params(model="claude-none"), custom_id="bad", job="job")
    world.enqueue(2)
    states = world.run_to_end()
    assert (states["succeeded"], states["failed"]) == (2, 1)
    ending = world.endings()["bad"]
    assert ending.sendings == 1
    assert "claude-none" in ending.error


def test_an_expired_request_goes_again_without_costing_an_attempt(world):
    world.server.rules({"on": "result", "fault": "expired", "prompt": "item 1", "first_times": 1})
    world.enqueue(3)
    assert world.run_to_end()["succeeded"] == 3
    (record,) = reading.history(world.runtime.database, "item 1")
    assert (record["failures"], record["expiries"]) == (0, 1)


def test_a_low_credit_balance_fails_nobody_burns_nothing_and_pauses(world):
    text = "Your credit balance is too low to access the Anthropic API."
    world.server.rules({"on": "result", "fault": "errored", "type": "invalid_request_error", "message": text})
    (batch,) = world.ended(5)
    collect(world.runtime, batch)
    settle(world.runtime, batch)
    assert world.job().states["pending"] == 5
    assert "credit balance" in holds.current(world.runtime.database).reason
    world.server.clear()
    assert world.run_to_end()["succeeded"] == 5
    assert {
        record["failures"] for n in range(5) for record in reading.history(world.runtime.database, f"item {n}")
    } == {0}


def test_settling_twice_changes_nothing(world):
    (batch,) = world.ended(5)
    collect(world.runtime, batch)
    assert settle(world.runtime, batch, [1, 2]).records == 2
    assert settle(world.runtime, batch, [1, 2]).records == 0
    assert settle(world.runtime, batch).records == 3
    assert settle(world.runtime, batch).records == 0
    assert world.job().states["succeeded"] == 5


def test_what_answers_cost_is_added_once_per_answer(world):
    world.server.rules(
        {"on": "result", "fault": "errored", "type": "api_error", "message": "x", "share": 0.5, "first_times": 1}
    )
    world.enqueue(20)
    world.run_to_end()
    (spend,) = reading.spend(world.runtime.database, world.job().id)
    assert spend.answers == 20
    assert spend.cost > 0
    assert abs(spend.cost_sync - 2 * spend.cost) < 1e-12


def test_an_unknown_model_has_no_price_and_is_counted_as_such(world):
    from bakehouse_worker import pricing

    assert pricing.cost("claude-of-tomorrow", pricing.tokens({"input_tokens": 1})) is None


def test_a_decision_that_comes_twice_moves_nothing_twice(world):
    """As when two workers looked at the same results before either wrote."""
    world.server.rules({"on": "result", "fault": "errored", "type": "overloaded_error", "prompt": "item 1"})
    (batch,) = world.ended(3)
    collect(world.runtime, batch)
    database = world.runtime.database
    decisions = [
        (member, decide(Answer(member.kind, member.error_type), 0, 0, world.runtime.limits, 0.5))
        for member in results.unsettled(database, batch, 100)
    ]
    assert len(results.settle(database, batch, decisions).record_ids) == 1
    assert results.settle(database, batch, decisions).record_ids == frozenset()
    assert world.job().states == {"pending": 1, "packed": 2}


def test_a_span_of_successes_that_comes_twice_moves_nothing_twice(world):
    (batch,) = world.ended(3)
    collect(world.runtime, batch)
    database = world.runtime.database
    assert successes.settle(database, batch, 2).records == 2
    assert successes.settle(database, batch, 2, [1, 2, 3]).records == 1
    assert successes.settle(database, batch, 100) == successes.Succeeded()
    assert world.job().states == {"pending": 0, "packed": 0, "succeeded": 3}


def test_two_workers_that_settle_the_same_successes_at_once_count_them_once(world, monkeypatch):
    (batch,) = world.ended(3)
    collect(world.runtime, batch)
    database, choose = world.runtime.database, successes._choose
    first, second = Event(), Event()

    def chosen(*words):
        if first.is_set():
            found = choose(*words)
            second.set()
            return found
        found = choose(*words)
        first.set()
        if database.sqlite:
            assert second.wait(10)  # both choose the same, and one of them comes too late with it
        else:
            assert not second.wait(0.5)  # the other one waits for what this one has in hand
        return found

    monkeypatch.setattr(successes, "_choose", chosen)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(successes.settle, database, batch, 100)
        assert first.wait(10)
        other = pool.submit(successes.settle, database, batch, 100)
        assert sorted((one.result(30).records, other.result(30).records)) == [0, 3]
    assert world.job().states == {"pending": 0, "packed": 0, "succeeded": 3}
    assert [spend.answers for spend in reading.spend(database, world.job().id)] == [3]
