"""Station 5: every line once, whatever the stream does, and never done on a stream that is shorter than its batch."""

from __future__ import annotations

import hashlib

import orjson
import pytest

from bakehouse_worker import collect as station
from bakehouse_worker import wire
from bakehouse_worker.collect import collect
from bakehouse_worker.submit import submit


def answer_to(text):
    return f"answer to {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def test_each_record_gets_its_own_answer(world):
    world.enqueue(50)
    world.run_to_end()
    for custom_id, ending in world.endings().items():
        message = orjson.loads(ending.line)["result"]["message"]
        assert message["content"][0]["text"] == answer_to(custom_id)


@pytest.mark.parametrize(
    "fault", ["cut_mid_line", "cut_at_line_end", "reset", "missing_line", "doubled_line", "blank_line"]
)
@pytest.mark.parametrize("ending", ["clean", "reset"])
def test_a_stream_that_breaks_once_is_read_again_and_doubles_nothing(world, monkeypatch, fault, ending):
    monkeypatch.setattr(station, "SPAN", 7)
    world.server.rules({"on": "results", "fault": fault, "lines": 20, "ending": ending, "times": 1})
    world.enqueue(40)
    assert world.run_to_end()["succeeded"] == 40
    totals = world.server.totals()
    assert (totals["accepted"], totals["billed"]) == (40, 40)


def test_a_stream_that_stays_short_stays_open_with_an_alarm_and_resends_nothing(world):
    world.server.rules({"on": "results", "fault": "missing_line", "lines": 2})
    (batch,) = world.ended(5)
    for _ in range(5):
        collect(world.runtime, batch)
        world.pass_time(600)
    (view,) = world.batches()
    assert view.state == "ended"
    assert "4 of 5" in view.alarm
    world.server.clear()
    assert world.run_to_end()["succeeded"] == 5
    assert world.server.totals()["accepted"] == 5


def test_unknown_ids_are_set_aside_and_fail_nothing_else(world):
    world.server.rules({"on": "results", "fault": "unknown_id", "lines": 2})
    world.enqueue(5)
    assert world.run_to_end()["succeeded"] == 5


def test_an_unknown_result_type_is_no_success_and_is_tried_again(world):
    world.server.rules(
        {"on": "result", "fault": "unknown_type", "type": "postponed", "prompt": "item 1", "first_times": 1}
    )
    world.enqueue(3)
    assert world.run_to_end()["succeeded"] == 3
    assert world.endings()["item 1"].sendings == 2


def test_results_come_from_our_own_origin_whatever_the_url_says(world):
    world.server.options({"results_url": "https://elsewhere.invalid"})
    world.enqueue(3)
    assert world.run_to_end()["succeeded"] == 3


def test_two_collectors_do_not_collect_the_same_batch(world):
    (batch,) = world.ended(3)
    from bakehouse_worker.store import batches

    assert batches.claim_collect(world.runtime.database, batch, "another", 60)
    assert collect(world.runtime, batch) == "not due"
    world.pass_time(61)
    assert collect(world.runtime, batch) == "collected"


def test_an_adopted_batch_of_somebody_else_is_given_back(world):
    import httpx2

    world.server.rules({"on": "create", "fault": "lost_before_acceptance", "times": 1})
    (batch,) = world.packed(2)
    assert submit(world.runtime, batch) == "in doubt"
    foreign = [{"custom_id": f"theirs-{n}", "params": world.params("theirs")} for n in range(2)]
    headers = {"x-api-key": "k", "anthropic-version": "2026-10-21"}
    httpx2.post(f"{world.server.url}/v1/messages/batches", json={"requests": foreign}, headers=headers)
    assert world.run_to_end()["succeeded"] == 2
    ledger = world.server.ledger(prompt="item")
    assert [entry["accepted"] for entry in ledger.values()] == [1, 1]
    assert [ending.sendings for ending in world.endings().values()] == [1, 1]  # and it cost no attempt


def test_ids_of_another_installation_are_not_ours_though_they_carry_the_same_nonce(make_world, monkeypatch):
    """As after a database was copied: what tells two installations apart is the first part of the id, and nothing else."""
    monkeypatch.setattr(wire, "new_nonce", lambda: "0123456789abcdef")
    mine, theirs = make_world(), make_world()
    mine.server.rules({"on": "create", "fault": "lost_before_acceptance", "times": 1})
    (batch,) = mine.packed(2, text="mine")
    assert submit(mine.runtime, batch) == "in doubt"
    theirs.submitted(2, text="theirs")
    monkeypatch.undo()
    monkeypatch.setenv("ANTHROPIC_BASE_URL", mine.server.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    for world in (mine, theirs):
        assert world.run_to_end()["succeeded"] == 2
        for custom_id, ending in world.endings().items():
            text = orjson.loads(ending.line)["result"]["message"]["content"][0]["text"]
            assert text == answer_to(custom_id)
    assert mine.server.totals()["accepted_twice"] == 0
