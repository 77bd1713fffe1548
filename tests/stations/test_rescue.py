"""Janitor: work of the lost is taken up, and doubt ends only on evidence."""

from __future__ import annotations

from bakehouse_worker.rescue import after_crash, rescue
from bakehouse_worker.store import submissions
from bakehouse_worker.submit import submit


def begin(world, batch):
    runtime = world.runtime
    page = runtime.gateway.newest()
    sending = submissions.begin(runtime.database, batch, runtime.owner, 60, runtime.gateway.origin, page.workspace)
    submissions.anchor(runtime.database, sending, page.batches[0] if page.batches else None)
    return sending


def test_a_sender_lost_while_uploading_leaves_no_doubt(world):
    (batch,) = world.packed(3)
    begin(world, batch)
    rescue(world.runtime)
    assert world.batches()[0].state == "uploading"
    world.pass_time(61)
    rescue(world.runtime)
    assert world.batches()[0].state == "packed"
    assert world.run_to_end()["succeeded"] == 3


def test_a_sender_lost_while_closing_leaves_a_doubt_that_is_looked_into(world):
    (batch,) = world.packed(3)
    assert submissions.closing(world.runtime.database, begin(world, batch), 180)
    world.pass_time(181)
    rescue(world.runtime)
    assert world.batches()[0].state == "in_doubt"
    assert world.run_to_end()["succeeded"] == 3
    assert world.server.totals()["accepted"] == 3


def test_after_a_crash_on_one_machine_nothing_waits_for_leases(make_world):
    world = make_world(max_batch_requests=3)
    uploading, closing = world.packed(6)
    begin(world, uploading)
    assert submissions.closing(world.runtime.database, begin(world, closing), 180)
    after_crash(world.runtime)
    assert {batch.id: batch.state for batch in world.batches()} == {uploading: "packed", closing: "in_doubt"}
    assert world.run_to_end()["succeeded"] == 6


def test_an_empty_list_is_no_evidence_when_a_batch_of_ours_must_be_in_it(make_world):
    world = make_world(max_batch_requests=3)
    world.server.rules({"on": "create", "fault": "lost_after_acceptance", "times": 1})
    first, second = world.packed(6)
    assert submit(world.runtime, first) == "in doubt"
    assert submit(world.runtime, second) == "submitted"
    world.server.rules({"on": "list", "fault": "empty"})
    for _ in range(30):
        world.pass_time(61)
        rescue(world.runtime)
    assert {batch.id: batch.state for batch in world.batches()}[first] == "in_doubt"
    world.server.clear()
    assert world.run_to_end()["succeeded"] == 6
    assert world.server.totals()["accepted_twice"] == 0


def test_one_empty_answer_to_the_list_is_no_evidence_even_where_nothing_is_known_to_be_there(make_world):
    """The first creates of a workspace are all lost, and the one look after DOUBT_GRACE is answered by a list that is empty."""
    world = make_world(max_batch_requests=3)
    world.server.rules({"on": "create", "fault": "lost_after_acceptance"})
    first, second = world.packed(6)
    world.server.rules({"on": "list", "fault": "empty"})  # neither has an anchor
    assert submit(world.runtime, first) == submit(world.runtime, second) == "in doubt"
    world.server.clear()
    world.pass_time(601)
    world.server.rules({"on": "list", "fault": "empty", "times": 1})
    rescue(world.runtime)
    assert {view.state for view in world.batches()} == {"in_doubt"}
    assert all("it is read again later" in view.alarm for view in world.batches())
    assert world.run_to_end()["succeeded"] == 6
    assert world.server.totals()["accepted_twice"] == 0


def test_an_empty_list_is_no_evidence_when_it_showed_more_to_a_later_create(make_world):
    """The second create's anchor is the first one's batch, whose own answer was lost."""
    world = make_world(max_batch_requests=3)
    world.server.rules({"on": "create", "fault": "lost_after_acceptance"})
    first, second = world.packed(6)
    assert submit(world.runtime, first) == submit(world.runtime, second) == "in doubt"
    world.server.clear()
    world.server.rules({"on": "list", "fault": "empty"})
    for _ in range(30):
        world.pass_time(61)
        rescue(world.runtime)
    assert {view.state for view in world.batches()} == {"in_doubt"}
    assert all("which is there" in view.alarm for view in world.batches())
    world.server.clear()
    assert world.run_to_end()["succeeded"] == 6
    assert world.server.totals()["accepted_twice"] == 0


def test_a_list_that_lags_does_not_make_a_batch_absent_before_the_grace(world):
    world.submitted(4, text="earlier")
    world.pass_time(400)  # that one is listed: what is known to be there speaks for the list
    world.server.rules(
        {"on": "create", "fault": "lost_after_acceptance", "times": 1},
        {"on": "list", "fault": "lagging", "seconds": 300},
    )
    (batch,) = world.packed(3)
    assert submit(world.runtime, batch) == "in doubt"
    assert world.run_to_end()["succeeded"] == 7
    assert world.server.totals()["accepted_twice"] == 0


def test_a_list_without_the_anchor_is_no_evidence_while_the_anchor_is_there(world):
    world.submitted(4, text="earlier")
    world.server.rules({"on": "create", "fault": "lost_after_acceptance", "times": 1})
    (batch,) = world.packed(3)
    assert submit(world.runtime, batch) == "in doubt"
    world.server.rules({"on": "list", "fault": "empty"})
    for _ in range(30):
        world.pass_time(61)
        rescue(world.runtime)
    (doubted,) = [view for view in world.batches() if view.id == batch]
    assert doubted.state == "in_doubt"
    assert "does not show" in doubted.alarm
    world.server.clear()
    assert world.run_to_end()["succeeded"] == 7
    assert world.server.totals()["accepted_twice"] == 0
