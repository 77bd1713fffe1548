"""Station 4: one question about all open batches, not too often."""

from __future__ import annotations

import httpx2

from bakehouse_worker.poll import poll

HEADERS = {"x-api-key": "k", "anthropic-version": "2026-10-21"}


def test_many_open_batches_cost_one_call(make_world):
    world = make_world(max_batch_requests=1)
    world.submitted(30)
    before = world.server.stats()["calls"]
    world.pass_time(10)
    assert poll(world.runtime) == []
    after = world.server.stats()["calls"]
    assert after["list"] - before.get("list", 0) == 1
    assert after.get("retrieve", 0) == before.get("retrieve", 0)


def test_questions_come_at_most_once_per_interval_over_all_workers(world):
    world.submitted(3)
    world.pass_time(10)
    poll(world.runtime)
    calls = world.server.stats()["calls"]
    for _ in range(5):
        poll(world.worker())
    assert world.server.stats()["calls"] == calls


def test_an_ended_batch_is_noticed(world):
    (batch,) = world.submitted(3)
    world.pass_time(61)
    assert poll(world.runtime) == [batch]
    assert world.batches()[0].state == "ended"


def test_open_batches_are_found_behind_many_of_other_software(make_world):
    world = make_world(max_batch_requests=1)
    world.submitted(4)
    requests = [{"custom_id": "x", "params": world.params()}]
    with httpx2.Client(base_url=world.server.url, headers=HEADERS) as other_software:
        for _ in range(1100):
            other_software.post("/v1/messages/batches", json={"requests": requests})
    world.pass_time(61)
    assert len(poll(world.runtime)) == 4


def test_a_batch_that_the_api_no_longer_has_ends_and_its_members_fail_as_gone(world):
    world.ended(3)
    remote = world.batches()[0].remote_id
    httpx2.delete(f"{world.server.url}/v1/messages/batches/{remote}", headers=HEADERS)
    assert world.run_to_end()["failed"] == 3
    assert {ending.error_type for ending in world.endings().values()} == {"results_gone"}
    assert world.server.totals()["accepted_twice"] == 0
