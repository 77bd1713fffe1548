"""Before it is sent: models are looked up, canaries go ahead, and a job that fails as a whole is stopped after one batch."""

from __future__ import annotations

import pytest

from bakehouse_worker import models, pausing
from bakehouse_worker.store import holds

RETIRED = "claude-3-haiku-20240307"
WRONG = {"on": "result", "fault": "errored", "type": "invalid_request_error", "message": "max_tokens: 9 > 8"}


def parked(world):
    return [(each.what, each.name, each.reason) for each in holds.parked(world.runtime.database)]


def retired_models():
    from bakehouse_emulator.models import OFFERED

    return [model.id for model in OFFERED if model.retired]


def params(world, model, text):
    return {**world.params(text), "model": model}


def enqueue(world, model, count, job="job"):
    records = [{"params": params(world, model, f"{model} {n}"), "custom_id": f"{model} {n}"} for n in range(count)]
    world.client.enqueue_records(records, job=job)


def test_a_retired_model_is_found_before_anything_is_sent_and_waits_with_the_reason(world):
    retired = retired_models()[0]
    enqueue(world, retired, 40)
    enqueue(world, "claude-haiku-5-5", 10)
    for _ in range(5):
        world.tick()
        world.pass_time(61)
    assert world.job().states["pending"] == 40
    assert world.job().states["succeeded"] == 10
    assert world.server.totals()["accepted"] == 10
    ((what, name, reason),) = parked(world)
    assert (what, name) == ("model", retired)
    assert "is retired since 2026-" in reason


def test_a_model_that_the_api_does_not_have_is_parked_and_one_that_a_person_releases_goes(world):
    enqueue(world, "claude-imaginary-9", 3)
    for _ in range(3):
        world.tick()
        world.pass_time(61)
    assert parked(world) == [("model", "claude-imaginary-9", "the API has no model claude-imaginary-9")]
    assert "goes on" in pausing.resume(world.runtime, model="claude-imaginary-9")
    assert world.run_to_end()["failed"] == 3  # the API's own words, record by record
    assert world.server.totals()["accepted"] == 3


@pytest.mark.parametrize("fault", ["server_error", "not_found", "lost"])
def test_an_origin_that_tells_nothing_about_models_stops_nothing(world, fault):
    world.server.rules({"on": "models", "fault": fault})
    world.enqueue(3)
    assert world.run_to_end()["succeeded"] == 3
    assert parked(world) == []


def test_a_model_is_looked_up_once_a_day(world):
    for number in range(3):
        world.enqueue(2, text=f"round {number}")
        world.run_to_end()
    assert world.server.stats()["calls"]["models"] == 1
    world.pass_time(86_401)
    world.enqueue(2, text="tomorrow")
    world.run_to_end()
    assert world.server.stats()["calls"]["models"] == 2


def test_what_speaks_against_a_model_is_read_from_any_shape_of_facts():
    assert models.unfit("m", {"lifecycle": "active", "capabilities": {"batch": {"supported": True}}}) is None
    assert models.unfit("m", {}) is None
    assert models.unfit("m", {"capabilities": None, "lifecycle": None}) is None
    assert models.unfit("m", {"capabilities": {"batch": {"supported": False}}}) == "m cannot be used in batches"
    assert models.unfit("m", {"lifecycle": "retired", "retires_at": None}) == "m is retired"


def test_a_canary_that_fails_stops_all_the_others_until_a_person_lets_them_go(make_world):
    world = make_world(canary=20)
    world.server.rules(WRONG)
    world.enqueue(400)
    for _ in range(6):
        world.tick()
        world.pass_time(61)
    assert world.job().states == {"pending": 380, "packed": 0, "failed": 20}
    assert world.server.totals()["accepted"] == 20
    ((what, name, reason),) = parked(world)
    assert (what, name) == ("job", "job")
    assert reason.startswith("20 of 20 records of its canary failed, most as invalid_request_error, such as item ")
    world.server.clear()
    pausing.resume(world.runtime, job="job")
    assert world.run_to_end()["succeeded"] == 380


def test_a_canary_that_comes_back_well_lets_the_others_go_at_once(make_world):
    world = make_world(linger=600, max_batch_requests=100)
    world.client.send_ahead("job", 20)
    world.enqueue(300)
    world.tick()
    assert [batch.requests for batch in world.batches()] == [20]  # without waiting for LINGER
    world.tick()
    assert world.server.totals()["accepted"] == 20  # and nothing behind it
    assert world.run_to_end()["succeeded"] == 300
    assert parked(world) == []


def test_a_canary_is_for_the_start_of_a_job_alone(make_world):
    world = make_world()
    world.enqueue(5)
    world.run_to_end()
    world.client.send_ahead("job", 2)
    world.enqueue(5, text="more")
    world.tick()
    assert [batch.requests for batch in world.batches()] == [5]


def test_an_abnormal_share_of_refusals_in_one_batch_parks_that_job_and_no_other(make_world):
    world = make_world(max_batch_requests=60, max_queued_requests=60)
    world.server.rules({**WRONG, "prompt": "broken"})
    world.enqueue(120, text="broken", job="broken")
    world.enqueue(90, text="well", job="well")
    assert world.run_to_end("well")["succeeded"] == 90
    states = world.job("broken").states
    assert 20 <= states["failed"] <= 60
    assert states["pending"] == 120 - states["failed"]
    ((what, name, reason),) = parked(world)
    assert (what, name) == ("job", "broken")
    assert "failed, most as invalid_request_error, such as broken " in reason


def test_a_few_refusals_among_many_park_nothing(make_world):
    world = make_world(max_batch_requests=100)
    world.server.rules({**WRONG, "prompt": "item 7"})
    world.enqueue(100)
    assert world.run_to_end()["failed"] == 11
    assert parked(world) == []
