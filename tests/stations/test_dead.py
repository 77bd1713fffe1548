"""Dead letters: what failed is told by reason, sent again as a new generation, corrected if need be, or given up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import types

import orjson
import pytest
from sqlalchemy import text

from bakehouse import ConfigurationError, InvalidRecord
from bakehouse.record import build, serialise
from bakehouse_worker import dead, export, rewriting, showing, sinks
from bakehouse_worker.accept import accept
from bakehouse_worker.deliver import deliver
from bakehouse_worker.erase import erase
from bakehouse_worker.prune import prune
from bakehouse_worker.store import caveats, deadletters, holds, reading
from bakehouse_worker.store.deadlist import Selection

NO = {"on": "result", "fault": "errored", "type": "invalid_request_error", "message": "not like this"}
OLD, NEW = "claude-haiku-5-5", "claude-sonnet-5-5"


@pytest.fixture
def application(monkeypatch):
    """A module of the application's, whose handler remembers."""
    module = types.ModuleType("an_application")
    module.seen = []
    module.save = module.seen.append
    monkeypatch.setitem(sys.modules, "an_application", module)
    sinks.find.cache_clear()
    return module


def params_of(world, custom_id):
    """What the store holds of a record: its generation, and the params of that."""
    query = (
        "SELECT record.generation, params, record.model, lane.model AS lane_model, bytes FROM record "
        "JOIN body ON body.record_id = record.id AND body.generation = record.generation "
        "JOIN lane ON lane.id = record.lane_id WHERE custom_id = :custom_id"
    )
    with world.runtime.database.read() as connection:
        return connection.execute(text(query), {"custom_id": custom_id}).one()


def failing(world, *numbers, count=3, **more):
    """Enqueue `count` records, of which those with these numbers fail for good."""
    world.server.rules(*({**NO, "prompt": f"item {number}", "first_times": 1} for number in numbers))
    world.enqueue(count, **more)
    return world.run_to_end()


def command(world, *words):
    mine = {
        "BAKEHOUSE_DATA_DIR": str(world.home),
        "BAKEHOUSE_REDIS_URL": world.redis_url,
        "BAKEHOUSE_REDIS_PREFIX": world.prefix,
        "BAKEHOUSE_DATABASE_URL": world.database_url,
        "COLUMNS": "80",
    }
    argv = [sys.executable, "-m", "bakehouse_worker", *words]
    return subprocess.run(
        argv, env={**os.environ, **mine}, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )


# Answers that are not what was asked


def test_answers_that_are_not_what_was_asked_are_counted_until_they_are_sent_again_or_replaced(world):
    faults = ("refusal", "max_tokens", "empty", "pause_turn")
    world.server.rules(
        *(
            {"on": "result", "fault": fault, "prompt": f"item {number}", "first_times": 1}
            for number, fault in enumerate(faults)
        )
    )
    world.enqueue(6)
    assert world.run_to_end()["succeeded"] == 6
    database, job = world.runtime.database, world.job().id
    assert caveats.of_job(database, job) == dict.fromkeys(faults, 1)
    assert dead.requeue(world.runtime, Selection(reason="empty")).succeeded == 1
    assert caveats.of_job(database, job) == dict.fromkeys(("refusal", "max_tokens", "pause_turn"), 1)
    world.client.append([build(world.params("another"), custom_id="item 0", job="job", replace=True)])
    accept(world.runtime)
    assert caveats.of_job(database, job) == dict.fromkeys(("max_tokens", "pause_turn"), 1)
    world.books_agree()
    assert world.run_to_end()["succeeded"] == 6
    assert caveats.of_job(database, job) == dict.fromkeys(("max_tokens", "pause_turn"), 1)


def test_an_answer_that_says_nothing_is_a_success_all_the_same(world, application):
    world.server.rules({"on": "result", "fault": "empty", "prompt": "item 1"})
    world.enqueue(2, on_result="an_application:save")
    assert world.run_to_end()["succeeded"] == 2
    deliver(world.runtime)
    assert {(each.status, each.error) for each in application.seen} == {("succeeded", None)}
    (group,) = dead.list_dead(world.runtime).odd
    assert (group.job, group.reason, group.records, group.example) == ("job", "empty", 1, "item 1")


def test_what_is_pruned_takes_its_caveat_with_it(make_world):
    world = make_world(retain_content=1)
    world.server.rules({"on": "result", "fault": "refusal", "prompt": "item 1"}, {**NO, "prompt": "item 2"})
    world.enqueue(3)
    world.run_to_end()
    world.clock.now += 2 * 86_400
    prune(world.runtime)
    assert caveats.of_job(world.runtime.database, world.job().id) == {}
    assert [group.reason for group in dead.list_dead(world.runtime).failed] == ["pruned"]
    assert dead.requeue(world.runtime, Selection(), everything=True) == dead.Moved(pruned=1)


# Sent again


def test_a_requeued_record_is_a_new_generation_and_its_new_outcome_is_delivered_again(world, application):
    states = failing(world, 1, on_result="an_application:save", metadata={"ticket": 42})
    assert states["failed"] == 1
    deliver(world.runtime)
    assert dead.requeue(world.runtime, Selection(reason="invalid_request_error")).failed == 1
    assert world.run_to_end()["succeeded"] == 3
    deliver(world.runtime)
    told = [(each.status, each.delivery_id, each.metadata) for each in application.seen if each.custom_id == "item 1"]
    assert [status for status, _, _ in told] == ["failed", "succeeded"]
    assert len({delivery for _, delivery, _ in told}) == 2
    assert told[1][2] == {"ticket": 42}


def test_an_outcome_that_was_not_delivered_yet_is_withdrawn_by_a_requeue(make_world, application):
    world = make_world(max_attempts=50)
    application.save = None  # no handler takes it yet
    failing(world, 1, count=2, on_result="an_application:save")
    dead.requeue(world.runtime, Selection(custom_ids=("item 1",)))
    application.save = application.seen.append
    sinks.find.cache_clear()
    world.run_to_end()
    world.pass_time(4000)
    deliver(world.runtime)
    assert [each.status for each in application.seen] == ["succeeded", "succeeded"]


def test_the_selectors_given_must_all_be_met(world):
    world.server.rules(
        {**NO, "prompt": "item 1"}, {**NO, "prompt": "item 2", "type": "not_found_error"}, {**NO, "prompt": "other 0"}
    )
    world.enqueue(3)
    world.enqueue(1, job="another", text="other")
    world.run_to_end("another")
    world.run_to_end()
    runtime = world.runtime
    assert dead.requeue(runtime, Selection(job="another", reason="not_found_error")).failed == 0
    assert dead.requeue(runtime, Selection(job="job", reason="not_found_error")).failed == 1
    assert dead.requeue(runtime, Selection(custom_ids=("item 0", "item 1"))).failed == 1
    assert dead.requeue(runtime, Selection(model="none")).failed == 0
    assert dead.requeue(runtime, Selection(), everything=True).failed == 1
    with pytest.raises(ConfigurationError, match="say which"):
        dead.requeue(runtime, Selection())
    with pytest.raises(ConfigurationError, match="no job 'nowhere'"):
        dead.drop(runtime, Selection(job="nowhere"))


def test_erased_content_is_left_out_and_counted(world):
    failing(world, 0, 1)
    erase(world.runtime, "item 1")
    assert dead.requeue(world.runtime, Selection(job="job")) == dead.Moved(failed=1, erased=1)
    assert world.run_to_end()["failed"] == 1


# Corrected


def test_a_new_value_is_what_the_api_is_sent_and_the_record_is_still_known_as_the_same(world):
    world.let_go("claude-none")
    record = world.params("hello", model="claude-none", temperature=None, metadata={"user_id": "äöü"})
    del record["temperature"]
    world.client.enqueue_record(record, custom_id="bad", job="job")
    assert world.run_to_end()["failed"] == 1
    moved = dead.requeue(world.runtime, Selection(job="job"), {"model": OLD, "max_tokens": 7, "top": {"a": [1]}})
    assert moved.failed == 1
    row = params_of(world, "bad")
    assert orjson.loads(row.params) == {**record, "model": OLD, "max_tokens": 7, "top": {"a": [1]}}
    assert list(orjson.loads(row.params)) == [*record, "top"]
    assert serialise(orjson.loads(row.params)) == bytes(row.params)
    assert (row.generation, row.model, row.lane_model, row.bytes) == (1, OLD, OLD, len(row.params))
    world.client.enqueue_record(record, custom_id="bad", job="job")
    accept(world.runtime)
    assert "rejected" not in world.job().states
    dead.requeue(world.runtime, Selection(job="job"), {"top": 1})  # nothing failed: nothing changes
    assert params_of(world, "bad").generation == 1


def test_a_refused_value_is_one_sentence_and_changes_nothing(world):
    failing(world, 0, 1)
    wrong = {"max_tokens": 0, "model": "", "stream": True, "store": True, "temperature": 0.5, "top": float("nan")}
    for name, value in wrong.items():
        with pytest.raises(InvalidRecord, match=f"params.{name}"):
            dead.requeue(world.runtime, Selection(job="job"), {name: value})
    assert world.job().states["failed"] == 2
    assert params_of(world, "item 0").generation == 0


def test_a_retired_model_is_corrected_for_what_failed_and_for_what_waits(world):
    failing(world, 0, count=1)
    world.enqueue(4, text="later")
    world.client.enqueue_record(world.params("mine", model=NEW), custom_id="not of it", job="job")
    accept(world.runtime)
    holds.park(world.runtime.database, holds.MODEL, OLD, "model: retired")
    (parked,) = dead.list_dead(world.runtime).parked
    assert (parked.what, parked.name, parked.records) == ("model", OLD, 4)
    assert dead.requeue(world.runtime, Selection(model=OLD), {"model": NEW}) == dead.Moved(failed=1, pending=4)
    assert dead.list_dead(world.runtime).parked == ()  # nothing waits for that model any more
    assert {params_of(world, f"later {number}")[0] for number in range(4)} == {1}
    assert params_of(world, "not of it").generation == 0
    assert {params_of(world, custom_id).lane_model for custom_id in ("item 0", "later 3")} == {NEW}
    world.server.clear()
    assert world.run_to_end()["succeeded"] == 6
    assert {ending.sendings for name, ending in world.endings().items() if name != "item 0"} == {1}
    lines = [orjson.loads(ending.line) for ending in world.endings().values()]
    assert {line["result"]["message"]["model"] for line in lines} == {NEW}


def test_a_record_replaced_with_another_model_waits_behind_that_model(world):
    failing(world, 0, count=1)
    world.client.append([build(world.params("new", model=NEW), custom_id="item 0", job="job", replace=True)])
    accept(world.runtime)
    assert params_of(world, "item 0").lane_model == NEW
    holds.park(world.runtime.database, holds.MODEL, NEW, "model: retired")
    assert dead.list_dead(world.runtime).parked[0].records == 1


def test_values_are_replaced_where_they_stand_and_added_where_they_are_not():
    params = {"model": "a", "max_tokens": 1, "messages": [{"role": "user", "content": '"model":"a"'}], "top_p": 1e-7}
    values = {"max_tokens": 4096, "messages": ["x"], 'odd "key"': None}
    made = rewriting.changes(values).apply(serialise(params))
    assert made == serialise({**params, **values})
    odd = orjson.Fragment('{"n":[12345678901234567890123,1E5,1e400,-0.0,"é"]}')
    assert rewriting.changes({"max_tokens": 2}).apply(serialise({**params, "odd": odd})) == serialise(
        {**params, "max_tokens": 2, "odd": odd}
    )
    for unreadable in (b"[1]", b'{"a":', b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        with pytest.raises(InvalidRecord, match="can be changed"):
            rewriting.changes({"max_tokens": 2}).apply(unreadable)
    again = rewriting.changes({"max_tokens": 1, "messages": params["messages"]}).apply(made)
    assert orjson.loads(again) == {**params, 'odd "key"': None}


# Given up


def test_what_is_dropped_is_canceled_and_stays_in_export_and_show(world):
    failing(world, 1)
    assert dead.drop(world.runtime, Selection(job="job")).failed == 1
    states = world.job().states
    assert (states["canceled"], states["failed"]) == (1, 0)
    assert b"not like this" in export.line(world.endings()["item 1"])
    shown = "\n".join(showing.told(reading.history(world.runtime.database, "item 1"), [], [], world.clock.now))
    assert "canceled" in shown
    assert "not like this" in shown
    assert dead.drop(world.runtime, Selection(job="job")).failed == 0


# Shown


def test_every_failed_attempt_is_shown_with_all_that_support_asks_for_in_80_columns(make_world):
    world = make_world(max_attempts=2)
    long = "prompt is too long: " + "217,000 tokens > 200,000 maximum; " * 8
    world.server.rules({**NO, "type": "overloaded_error", "message": long, "prompt": "item 0", "first_times": 3})
    world.enqueue(1)
    world.run_to_end()
    with world.runtime.database.write() as connection:
        connection.execute(text("UPDATE result SET request_id = 'req_011CX' WHERE attempt = 1"))
    dead.requeue(world.runtime, Selection(job="job"))
    world.run_to_end()
    found = reading.history(world.runtime.database, "item 0")
    assert [sending["generation"] for sending in found[0]["sendings"]] == [0, 0, 1, 1]
    lines = showing.told(found, [], [], world.clock.now)
    assert max(len(line) for line in lines) <= 80
    assert sum("errored overloaded_error" in line for line in lines) == 3
    assert sum("prompt is too long" in line for line in lines) == 3
    assert sum("batch 1, msgbatch_" in line for line in lines) == 1
    generations = [line.strip() for line in lines if "generation" in line]
    assert generations == ["generation 1: requeued or replaced"]
    assert lines.index("     request id req_011CX") < lines.index("  generation 1: requeued or replaced")


# The commands


def test_the_commands_say_what_they_concern_and_ask_first(world):
    odd = {"on": "result", "fault": "refusal", "prompt": "item 1"}
    world.server.rules({**NO, "message": "not like this " * 12, "prompt": "item 0"}, odd)
    world.enqueue(3)
    world.run_to_end()
    listed = command(world, "dead", "list")
    assert listed.returncode == 0, listed.stderr
    assert max(len(line) for line in listed.stdout.splitlines()) <= 80
    assert "job: 1 invalid_request_error, such as item 0" in listed.stdout
    assert "job: 1 refusal, such as item 1" in listed.stdout
    assert json.loads(command(world, "dead", "list", "--json").stdout)["failed"][0]["records"] == 1
    nothing = command(world, "dead", "requeue")
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    wrong = command(world, "dead", "requeue", "--all", "--set", "max_tokens=many", "-y")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "params.max_tokens" in wrong.stderr
    asked = command(world, "dead", "drop", "item 0")
    assert asked.returncode != 0
    assert "1 failed record" in asked.stderr
    assert world.job().states["failed"] == 1
    done = command(world, "dead", "requeue", "item 0", "item 2", "--set", "max_tokens=99", "-y")
    assert done.returncode == 0, done.stderr
    assert "requeued: 1 failed record" in done.stdout
    assert "not among them: 1" in done.stdout
    assert orjson.loads(params_of(world, "item 0").params)["max_tokens"] == 99


# Many


def test_many_are_requeued_in_short_transactions(world, monkeypatch):
    """Six thousand here; a hundred thousand take no more than sixteen times as long."""
    failing(world, 0, count=1)
    database = world.runtime.database
    columns = (
        "job_id, lane_id, seq, bytes, digest, model, state, batch_id, generation, attempt, failures, expiries, "
        "next_at, settled_at"
    )
    with database.write() as connection:
        connection.execute(
            text(
                f"INSERT INTO record (custom_id, {columns}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                f"FROM n WHERE i < 6000) SELECT 'copy ' || i, {columns} FROM record, n WHERE custom_id = 'item 0'"
            )
        )
        connection.execute(
            text(
                "INSERT INTO body (record_id, generation, params) SELECT r.id, 0, b.params "
                "FROM record r, body b WHERE r.custom_id LIKE 'copy %' AND b.record_id <> r.id"
            )
        )
        connection.execute(text("UPDATE counter SET records = records + 6000 WHERE state = 'failed'"))
    spans, verb = [], deadletters.requeue
    monkeypatch.setattr(deadletters, "requeue", lambda *given: spans.append(len(given[1])) or verb(*given))
    started = time.monotonic()
    assert dead.requeue(world.runtime, Selection(job="job"), {"model": NEW}).failed == 6001
    assert time.monotonic() - started < 30
    assert max(spans) <= 1000
    with database.read() as connection:
        assert connection.scalar(text(f"SELECT count(*) FROM record WHERE model = '{NEW}' AND generation = 1")) == 6001
