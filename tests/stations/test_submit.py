"""Station 3: a packed batch goes to the API once, whatever becomes of the answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from journey_machine import wait_until
from sqlalchemy import text

from bakehouse_worker import body as station
from bakehouse_worker.accept import accept
from bakehouse_worker.body import Body
from bakehouse_worker.chunk import chunk
from bakehouse_worker.rescue import rescue
from bakehouse_worker.store import batches, doubts, holds, packing, submissions
from bakehouse_worker.store.batches import Member
from bakehouse_worker.submit import submit


def accepted(world):
    return world.server.totals()["accepted"]


def test_the_body_has_exactly_the_length_it_announces(world):
    (batch,) = world.packed(1200, text="ünïcödé")
    sending = submissions.begin(world.runtime.database, batch, world.runtime.owner, 60, "o", "w")
    body = Body(world.runtime, sending, batches.members(world.runtime.database, batch))
    assert sum(len(piece) for piece in body) == body.length
    doubts.doubt(world.runtime.database, sending.submission_id, "test")


def test_a_submitted_batch_is_accepted_whole(world):
    world.submitted(30)
    assert accepted(world) == 30
    (batch,) = world.batches()
    assert batch.state == "in_progress"
    assert batch.remote_id.startswith("msgbatch_")


def test_a_lost_answer_bills_nothing_twice_and_finds_its_batch_by_itself(world):
    world.server.rules({"on": "create", "fault": "lost_after_acceptance", "times": 1})
    (batch,) = world.packed(5)
    assert submit(world.runtime, batch) == "in doubt"
    assert world.batches()[0].state == "in_doubt"
    assert submit(world.runtime, batch) == "not due"
    states = world.run_to_end()
    assert states["succeeded"] == 5
    totals = world.server.totals()
    assert (totals["accepted"], totals["billed"], totals["accepted_twice"]) == (5, 5, 0)


@pytest.mark.parametrize("fault", [{"status": 500}, {"fault": "overloaded"}, {"fault": "gateway_timeout"}])
def test_a_5xx_after_acceptance_bills_nothing_twice(world, fault):
    world.server.rules({"on": "create", "fault": "status", "accepted": True, "times": 1, **fault})
    world.packed(5)
    assert world.run_to_end()["succeeded"] == 5
    assert world.server.totals()["accepted_twice"] == 0


def test_an_answer_lost_before_acceptance_is_sent_again_once_and_only_after_the_grace(world):
    world.server.rules({"on": "create", "fault": "lost_before_acceptance", "times": 1})
    (batch,) = world.packed(5)
    assert submit(world.runtime, batch) == "in doubt"
    world.pass_time(world.settings.doubt_grace - 60)
    world.tick()
    assert accepted(world) == 0
    assert world.batches()[0].state == "in_doubt"
    assert world.run_to_end()["succeeded"] == 5
    assert world.server.totals()["accepted"] == 5


def test_a_connection_lost_while_uploading_leaves_no_doubt_and_goes_again(world):
    world.server.rules({"on": "create", "fault": "lost_before_acceptance", "at_bytes": 1000, "times": 1})
    world.client.enqueue_records(
        ({"params": world.params(f"{n} " + "x" * 3000), "custom_id": f"r{n}"} for n in range(3000)), job="job"
    )
    accept(world.runtime)
    (batch,) = chunk(world.runtime)
    result = submit(world.runtime, batch)
    assert result in ("upload failed", "in doubt")  # the kernel may have taken all bytes before the reset came
    assert world.run_to_end()["succeeded"] == 3000
    assert world.server.totals()["accepted_twice"] == 0


def test_a_sender_that_lost_its_lease_never_completes_the_body(world, monkeypatch):
    (batch,) = world.packed(5)
    whole = Body._requests

    def slow(self: Body, piece: list[Member]):
        yield from whole(self, piece)
        world.clock.now += world.settings.lease + 1
        assert doubts.rescue_leases(world.runtime.database) == (1, 0)

    with monkeypatch.context() as patched:
        patched.setattr(Body, "_requests", slow)
        assert submit(world.runtime, batch) == "upload failed"
    assert accepted(world) == 0
    assert world.run_to_end()["succeeded"] == 5
    assert accepted(world) == 5


def test_a_sender_that_stalls_before_its_last_bytes_gives_up(world, monkeypatch):
    (batch,) = world.packed(5)
    with monkeypatch.context() as patched:
        patched.setattr(station, "STALL", -1.0)
        assert submit(world.runtime, batch) == "upload failed"
    assert accepted(world) == 0
    assert world.run_to_end()["succeeded"] == 5


def test_no_two_submissions_in_doubt_look_alike(make_world):
    world = make_world(max_batch_requests=5)
    world.server.rules({"on": "create", "fault": "lost_after_acceptance", "times": 3})
    for batch in world.packed(15):
        submit(world.runtime, batch)
    counts = [doubt.requests for doubt in doubts.in_doubt(world.runtime.database)]
    assert counts == [5, 4, 3]
    assert world.run_to_end()["succeeded"] == 15
    assert world.server.totals()["accepted_twice"] == 0


def test_a_request_that_the_api_names_fails_alone(world):
    world.server.rules(
        {"on": "create", "fault": "bad_request", "prompt": "poison", "names_item": True, "message": "no"}
    )
    world.enqueue(4)
    world.client.enqueue_record(world.params("poison"), custom_id="bad", job="job")
    assert world.run_to_end() == {"pending": 0, "packed": 0, "succeeded": 4, "failed": 1}
    assert world.endings()["bad"].error_type == "invalid_request_error"
    assert world.server.totals()["accepted_twice"] == 0


def test_a_request_that_the_api_does_not_name_is_found_by_halving(world):
    world.server.rules({"on": "create", "fault": "bad_request", "prompt": "poison", "message": "something is wrong"})
    world.enqueue(40)
    world.client.enqueue_record(world.params("poison"), custom_id="bad", job="job")
    states = world.run_to_end()
    assert (states["succeeded"], states["failed"]) == (40, 1)
    assert world.endings()["bad"].error == "something is wrong"
    assert world.server.stats()["calls"]["create"] <= 16
    assert world.server.totals()["accepted_twice"] == 0


@pytest.mark.parametrize("fault", ["too_large", "edge_too_large"])
def test_a_body_that_is_too_large_for_the_api_is_halved(world, fault):
    world.server.rules({"on": "create", "fault": fault, "min_items": 6})
    world.enqueue(20)
    assert world.run_to_end()["succeeded"] == 20


def test_a_record_larger_than_a_batch_may_be_fails_alone_by_name(make_world):
    world = make_world(max_batch_bytes=10_000)
    world.enqueue(3)
    world.client.enqueue_record(world.params("x" * 20_000), custom_id="huge", job="job")
    states = world.run_to_end()
    assert (states["succeeded"], states["failed"]) == (3, 1)
    assert world.endings()["huge"].error_type == "too_large"


def test_retry_after_holds_all_submissions_burns_no_attempt_and_ends_by_itself(make_world):
    world = make_world(max_batch_requests=5)
    world.server.rules({"on": "create", "fault": "rate_limit", "retry_after": 3600, "times": 1})
    first, second = world.packed(10)
    assert submit(world.runtime, first) == "held"
    assert submit(world.runtime, second) == "held"
    assert "3,600 s" in holds.current(world.runtime.database).reason
    world.pass_time(3500)
    assert submit(world.runtime, second) == "held"
    world.pass_time(101)
    assert submit(world.runtime, second) == "submitted"
    assert holds.current(world.runtime.database) is None
    assert world.run_to_end()["succeeded"] == 10
    assert {ending.sendings for ending in world.endings().values()} == {1}


@pytest.mark.parametrize("fault", ["unauthorized", "billing", "forbidden", "spend_limit", "usage_limit"])
def test_the_accounts_trouble_pauses_submissions_with_its_reason_and_a_probe_ends_it(make_world, fault):
    world = make_world(max_batch_requests=5)
    world.server.rules({"on": "create", "fault": fault, "times": 1})
    first, second = world.packed(10)
    assert submit(world.runtime, first) == "held"
    wait = holds.current(world.runtime.database)
    assert wait.kind == "circuit"
    assert wait.reason
    assert submit(world.runtime, second) == "held"
    assert world.run_to_end()["succeeded"] == 10
    assert (
        world.server.stats()["calls"]["create"] == 4
    )  # refused; then one record as a probe, its four others, and the second


def test_only_one_probe_goes_after_a_pause(make_world):
    world = make_world(max_batch_requests=5)
    world.server.rules({"on": "create", "fault": "billing", "times": 2})
    first, second = world.packed(10)
    submit(world.runtime, first)
    world.pass_time(world.settings.probe_interval + 1)
    assert submit(world.runtime, first) == "held"  # the probe, refused again
    assert sorted(batch.requests for batch in world.batches()) == [1, 4, 5]
    assert submit(world.runtime, second) == "held"
    assert world.server.stats()["calls"]["create"] == 2
    assert world.run_to_end()["succeeded"] == 10


def test_another_origin_on_the_same_store_is_refused_in_one_sentence(world, monkeypatch):
    world.submitted(3)
    (batch,) = world.packed(2, text="more")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", world.server.url.replace("127.0.0.1", "localhost"))
    assert submit(world.worker(), batch) == "another identity"
    assert "localhost" in holds.current(world.runtime.database).reason
    holds.release(world.runtime.database)


def test_a_key_of_another_workspace_is_refused(world, monkeypatch):
    world.submitted(3)
    world.server.options({"keys": {"elsewhere": "wrkspc_other"}})
    (batch,) = world.packed(2, text="more")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "elsewhere")
    assert submit(world.worker(), batch) == "another identity"
    holds.release(world.runtime.database)


def test_a_base_url_that_ends_in_v1_is_the_same_origin(world, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"{world.server.url}/v1/")
    assert world.worker().gateway.origin == world.runtime.gateway.origin


def test_betas_and_api_versions_never_share_a_batch(world):
    world.enqueue(3)
    world.enqueue(3, text="beta", betas=["output-300k-2026-03-24"])
    world.enqueue(3, text="old", api_version="2023-06-01")
    assert world.run_to_end()["succeeded"] == 9
    assert world.server.stats()["calls"]["create"] == 3


def test_never_more_than_max_queued_requests_are_at_the_api(make_world):
    world = make_world(max_batch_requests=5, max_queued_requests=10)
    assert len(world.packed(40)) == 2
    assert packing.queued_requests(world.runtime.database) == 10
    assert world.run_to_end()["succeeded"] == 40


def test_a_sender_that_waits_for_its_answer_longer_than_its_lease_is_not_taken_for_dead(make_world):
    world = make_world(lease=1, create_timeout=30)
    world.server.rules({"on": "create", "fault": "slow_answer", "seconds": 2, "times": 1})
    (batch,) = world.packed(3)

    def lease_until():
        with world.runtime.database.read() as connection:
            return connection.execute(text("SELECT lease_until FROM batch WHERE state = 'closing'")).scalar()

    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(submit, world.runtime, batch)
        wait_until(lease_until, "the answer is awaited", 10)
        for _ in range(3):
            world.clock.now += 0.9
            wait_until(lambda: sent.done() or lease_until() > world.clock.now + 0.5, "the lease is renewed", 1.5)
            rescue(world.worker())
        assert sent.result(20) == "submitted"
    assert world.batches()[0].state == "in_progress"
    assert world.run_to_end()["succeeded"] == 3


def test_a_sender_that_is_told_to_stop_hands_its_batch_back_before_the_last_bytes(world):
    (batch,) = world.packed(3)
    world.runtime.stopping = lambda: True
    assert submit(world.runtime, batch) == "handed back"
    world.runtime.stopping = lambda: False
    assert world.batches()[0].state == "packed"
    assert submit(world.runtime, batch) == "submitted"
    assert world.server.totals()["accepted"] == 3
