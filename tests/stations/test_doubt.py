"""Creates whose answer is lost, beside other software's batches, lists that err, clocks that differ and answers that come late."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
import uuid

import pytest

from bakehouse_emulator import EmulatorOptions, running
from bakehouse_worker import status
from bakehouse_worker.doubt import WATCH_FOR
from bakehouse_worker.rescue import rescue
from bakehouse_worker.store import answers, doubts, reading, submissions
from bakehouse_worker.store.answers import Settled
from bakehouse_worker.submit import submit

LOST = {"on": "create", "fault": "lost_after_acceptance", "times": 1}
NEVER = {"on": "create", "fault": "lost_before_acceptance", "times": 1}


def foreign(world, requests, *, key="key"):
    """Another program creates a batch of so many requests in the same workspace; returns its id."""
    mark = uuid.uuid4().hex
    body = {"requests": [{"custom_id": f"t{n}", "params": world.params(f"theirs {mark} {n}")} for n in range(requests)]}
    headers = {"x-api-key": key, "content-type": "application/json", "anthropic-version": "2023-06-01"}
    url = f"{world.server.url}/v1/messages/batches"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
        return json.load(answer)["id"]


def delete(world, remote_id):
    headers = {"x-api-key": "key", "anthropic-version": "2023-06-01"}
    url = f"{world.server.url}/v1/messages/batches/{remote_id}"
    urllib.request.urlopen(urllib.request.Request(url, headers=headers, method="DELETE")).read()


def state(world, batch):
    return next((view.state for view in world.batches() if view.id == batch), "finished")


def lost(world, count=3, rule=LOST, **more):
    """One batch whose answer is lost; returns its id and its doubt."""
    world.server.rules(rule)
    (batch,) = world.packed(count, **more)
    assert submit(world.runtime, batch) == "in doubt"
    return batch, next(each for each in doubts.in_doubt(world.runtime.database) if each.batch_id == batch)


def remotes(world):
    return [world.runtime.gateway.retrieve(one.id) for one in world.runtime.gateway.page().batches]


def test_of_five_in_doubt_beside_four_foreign_batches_of_their_sizes_exactly_the_two_that_never_arrived_go_again(
    make_world,
):
    world = make_world(max_batch_requests=10)
    world.submitted(1, text="anchor")
    arrived, sizes = {}, {}
    for number in range(5):
        (batch,) = world.packed(10 - number, job=f"job {number}", text=f"text {number}")
        if number < 4:
            foreign(world, 10 - number)
        world.server.rules(NEVER if number % 2 else LOST)
        assert submit(world.runtime, batch) == "in doubt"
        arrived[batch], sizes[batch] = number % 2 == 0, 10 - number
    before = world.server.totals()["accepted"]
    for number, size in enumerate(sizes.values()):
        assert world.run_to_end(job=f"job {number}", step=31)["succeeded"] == size
    totals = world.server.totals()
    assert totals["accepted"] - before == sum(size for batch, size in sizes.items() if not arrived[batch])
    assert totals["accepted_twice"] == 0


def test_a_deleted_anchor_is_no_reason_to_send_again(world):
    anchor = foreign(world, 7)
    world.pass_time(120)
    batch, _ = lost(world)
    delete(world, anchor)
    rescue(world.runtime)
    assert state(world, batch) == "in_progress"
    assert world.run_to_end()["succeeded"] == 3
    assert world.server.totals()["accepted"] == 10


def test_clocks_that_are_an_hour_apart_hide_no_candidate_and_make_none(world):
    anchor = foreign(world, 3)  # of the same size, and older
    world.server.advance(60)
    for hours in (1, -1):
        world.clock.now += hours * 3600
        batch, _ = lost(world, job=f"job {hours}", text=f"text {hours}")
        delete(world, anchor)
        rescue(world.runtime)
        assert state(world, batch) == "in_progress", hours
        anchor = foreign(world, 7)
        world.server.advance(120)
        world.pass_time(61)


def test_a_wrong_adoption_is_given_back_and_what_never_arrived_is_sent_once(world):
    world.server.rules(NEVER)
    (batch,) = world.packed(3)
    assert submit(world.runtime, batch) == "in doubt"
    theirs = foreign(world, 3)
    rescue(world.runtime)
    assert (state(world, batch), world.batches()[0].remote_id) == ("in_progress", theirs)
    assert world.run_to_end()["succeeded"] == 3
    totals = world.server.totals()
    assert (totals["accepted"], totals["accepted_twice"]) == (6, 0)  # 3 of ours, 3 of theirs


def answer(world, doubt, remote):
    return answers.answered(world.runtime.database, doubt.submission_id, remote, 0.0)


def test_an_answer_that_comes_after_the_adoption_confirms_it(world):
    batch, doubt = lost(world)
    rescue(world.runtime)
    (remote,) = remotes(world)
    assert answer(world, doubt, remote) is Settled.SUBMITTED
    assert state(world, batch) == "in_progress"
    assert world.run_to_end()["succeeded"] == 3


@pytest.mark.parametrize("seconds", [0, 61])
def test_an_answer_takes_the_place_of_a_wrong_adoption(world, seconds):
    """Also when the adopted batch has ended already."""
    batch, doubt = lost(world)
    theirs = foreign(world, 3)
    ours = next(one for one in remotes(world) if one.id != theirs)
    wrong = next(one for one in remotes(world) if one.id == theirs)
    assert submissions.accepted(world.runtime.database, doubt.submission_id, wrong, next_poll_at=0.0, confirmed=False)
    world.pass_time(seconds)
    assert answer(world, doubt, ours) is Settled.SUBMITTED
    assert world.batches()[0].remote_id == ours.id
    assert world.run_to_end()["succeeded"] == 3
    assert state(world, batch) == "finished"


def test_an_answer_for_a_batch_that_another_doubt_adopted_gives_it_to_whom_it_belongs(make_world):
    """Two sendings of one size: the second began when the first was adopted, and the wrong one was taken for it."""
    world = make_world(max_batch_requests=3)
    first, doubt = lost(world)
    (ours,) = remotes(world)
    theirs = foreign(world, 3)
    wrong = next(one for one in remotes(world) if one.id == theirs)
    assert submissions.accepted(world.runtime.database, doubt.submission_id, wrong, next_poll_at=0.0, confirmed=False)
    second, other = lost(world, rule=NEVER, job="second", text="second")
    assert submissions.accepted(world.runtime.database, other.submission_id, ours, next_poll_at=0.0, confirmed=False)
    assert answer(world, doubt, ours) is Settled.SUBMITTED
    assert {view.id: view.remote_id for view in world.batches()} == {first: ours.id, second: None}
    assert state(world, second) == "in_doubt"
    assert world.run_to_end()["succeeded"] == world.run_to_end("second")["succeeded"] == 3
    assert world.server.totals()["accepted_twice"] == 0


def abandoned(world, **more):
    """A batch at the API that the list did not show for longer than DOUBT_GRACE."""
    world.server.rules({"on": "list", "fault": "lagging", "seconds": 100_000})
    batch, doubt = lost(world, **more)
    for seconds in (601, 301):
        assert state(world, batch) == "in_doubt"
        world.pass_time(seconds)
        rescue(world.runtime)
    assert state(world, batch) == "packed"
    return batch, doubt


def retrieved(world):
    return world.runtime.gateway.retrieve(world.server.stats()["batches"][0]["id"])


def test_an_answer_that_comes_after_the_batch_was_believed_absent_takes_it_back_if_it_is_not_sent_again(world):
    batch, doubt = abandoned(world)
    assert answer(world, doubt, retrieved(world)) is Settled.SUBMITTED
    assert state(world, batch) == "in_progress"
    assert submit(world.runtime, batch) == "not due"
    assert world.run_to_end()["succeeded"] == 3
    assert world.server.totals()["accepted_twice"] == 0


def test_what_was_believed_absent_and_turns_up_a_day_later_is_told(world):
    """The one way to pay twice that evidence cannot close: a list that hid a batch for longer than DOUBT_GRACE."""
    batch, doubt = abandoned(world)
    assert submit(world.runtime, batch) == "submitted"
    assert answer(world, doubt, retrieved(world)) is Settled.LATE
    (late,) = reading.late(world.runtime.database)
    assert (late.batch_id, late.requests) == (batch, 3)
    assert any("twice" in line for line in status.told(status.take(world.runtime)))


def test_a_batch_that_was_believed_absent_is_looked_for_in_every_list_for_two_days(world):
    batch, _ = abandoned(world)
    assert submit(world.runtime, batch) == "submitted"
    world.pass_time(7_200)
    rescue(world.runtime)
    assert reading.late(world.runtime.database) == []
    world.server.clear()
    world.pass_time(3_600)
    rescue(world.runtime)
    (late,) = reading.late(world.runtime.database)
    assert late.batch_id == batch
    assert world.run_to_end()["succeeded"] == 3


def test_after_two_days_it_is_looked_for_no_more(world):
    batch, _ = abandoned(world)
    submit(world.runtime, batch)
    world.pass_time(WATCH_FOR + 1)
    world.server.clear()
    rescue(world.runtime)
    assert reading.late(world.runtime.database) == []
    assert world.run_to_end()["succeeded"] == 3


def test_with_a_key_of_another_workspace_nothing_is_decided_and_the_reason_is_told(make_world, monkeypatch):
    with running(EmulatorOptions(speed=0, keys={"key": "ours", "other": "theirs"})) as api:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        world = make_world()
        world.server = api
        batch, _ = lost(world)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "other")
        del world.runtime.gateway
        world.pass_time(700)
        rescue(world.runtime)
        assert state(world, batch) == "in_doubt"
        assert "another origin or workspace" in world.batches()[0].alarm
        monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
        del world.runtime.gateway
        assert world.run_to_end()["succeeded"] == 3
        assert api.totals()["accepted_twice"] == 0


@pytest.mark.parametrize("fault", ["not_found", "server_error", "empty"])
def test_a_gateway_without_an_honest_list_leaves_the_doubt_and_names_the_command(world, fault):
    foreign(world, 7)
    batch, _ = lost(world)
    world.server.rules({"on": "list", "fault": fault})
    for _ in range(5):
        world.pass_time(601)
        rescue(world.runtime)
    assert state(world, batch) == "in_doubt"
    assert "bakehouse batch adopt|release" in world.batches()[0].alarm
    world.server.clear()
    assert world.run_to_end()["succeeded"] == 3
    assert world.server.totals()["accepted_twice"] == 0


def bakehouse(world, *words, typed="", **env):
    """The command line, as a person uses it."""
    settings = {"BAKEHOUSE_DATA_DIR": str(world.home), "BAKEHOUSE_REDIS_PREFIX": world.prefix, "COLUMNS": "300"}
    settings |= {"BAKEHOUSE_DATABASE_URL": world.database_url, "BAKEHOUSE_REDIS_URL": world.redis_url}
    argv = [sys.executable, "-m", "bakehouse_worker", *map(str, words)]
    return subprocess.run(argv, env={**os.environ, **settings, **env}, input=typed, capture_output=True, text=True)


def test_a_person_may_adopt_a_batch_and_is_told_what_it_risks(world):
    batch, _ = lost(world)
    foreign(world, 3)
    theirs, ours = (one.id for one in world.runtime.gateway.page().batches)
    refused = bakehouse(world, "batch", "adopt", batch, ours, typed="n\n")
    assert refused.returncode == 2 and refused.stderr.endswith("bakehouse: nothing was changed\n")
    assert "if it is another's, its results will show it" in refused.stderr
    world.pass_time(61)
    wrong = bakehouse(world, "batch", "adopt", batch, theirs, "--yes")
    assert (wrong.returncode, "carry other ids" in wrong.stderr) == (2, True)
    done = bakehouse(world, "batch", "adopt", batch, ours, "--yes")
    assert (done.returncode, done.stdout) == (0, f"batch {batch} is {ours} now\n")
    assert world.run_to_end()["succeeded"] == 3
    assert world.server.totals()["accepted_twice"] == 0
    again = bakehouse(world, "batch", "adopt", batch, ours, "--yes")
    assert (again.returncode, "is not in doubt" in again.stderr) == (2, True)


def test_a_person_may_release_a_batch_and_is_told_that_it_may_be_billed_twice(world):
    batch, _ = lost(world, rule=NEVER)
    asked = bakehouse(world, "batch", "release", batch, typed="\n")
    assert (asked.returncode, state(world, batch)) == (2, "in_doubt")
    assert "3 requests are billed twice" in asked.stderr
    assert bakehouse(world, "batch", "release", batch, "--yes").returncode == 0
    assert state(world, batch) == "packed"
    assert world.run_to_end()["succeeded"] == 3


def test_a_batch_of_another_size_is_not_adopted(world):
    batch, _ = lost(world)
    other = foreign(world, 7)
    refused = bakehouse(world, "batch", "adopt", batch, other, "--yes")
    assert refused.stderr == f"bakehouse: {other} has 7 requests, batch {batch} has 3: not the same\n"
    missing = bakehouse(world, "batch", "adopt", batch, "msgbatch_nowhere", "--yes")
    assert missing.returncode == 2 and missing.stderr.startswith("bakehouse: msgbatch_nowhere cannot be adopted: ")
