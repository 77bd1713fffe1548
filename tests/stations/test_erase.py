"""Erasing: one custom_id's content is gone from the store at once, never sent, and gone at the API as soon as that can be."""

from __future__ import annotations

import os
import subprocess
import sys

import orjson
import pytest

from bakehouse import ConfigurationError
from bakehouse_worker import export, showing
from bakehouse_worker.accept import accept
from bakehouse_worker.chunk import chunk
from bakehouse_worker.collect import collect
from bakehouse_worker.erase import erase, told
from bakehouse_worker.errors import GatewayError
from bakehouse_worker.poll import poll
from bakehouse_worker.prune import prune
from bakehouse_worker.settle import settle
from bakehouse_worker.store import deadletters, reading, records
from bakehouse_worker.submit import submit

#: For what does not differ between the databases.
ON_SQLITE = pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)

TABLES = ("record", "body", "result", "delivery", "rejected", "submission", "batch", "meta")


def everything(world):
    """Every value of every row, as one text."""
    found = []
    with world.runtime.database.read() as connection:
        for name in TABLES:
            for row in connection.exec_driver_sql(f"SELECT * FROM {name}"):
                found += [bytes(v).decode() if isinstance(v, bytes | memoryview) else str(v) for v in row]
    return "\n".join(found)


def answer_of(world, custom_id):
    return orjson.loads(world.endings()[custom_id].line)["result"]["message"]["content"][0]["text"]


def remote_ids(world):
    return {batch["id"] for batch in world.server.stats()["batches"] if not batch["deleted"]}


def command(world, *words):
    """Run the command line as a process; returns its exit code and what it said."""
    environment = {
        **os.environ,
        "BAKEHOUSE_DATA_DIR": str(world.home),
        "BAKEHOUSE_REDIS_URL": world.redis_url,
    }
    argv = [sys.executable, "-m", "bakehouse_worker", *words]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


# What is gone, and what is told


def test_prompt_and_answer_of_a_record_that_succeeded_are_gone_and_its_row_says_when(world):
    world.client.enqueue_record(world.params("SECRET"), custom_id="a", job="job", metadata={"m": "SECRET"})
    world.enqueue(2)
    world.run_to_end()
    answer, others = answer_of(world, "a"), answer_of(world, "item 0")
    assert "SECRET" in everything(world)
    erase(world.runtime, "a")
    assert "SECRET" not in everything(world)
    assert answer not in everything(world)
    assert others in everything(world)
    assert world.job().states["succeeded"] == 3
    line = orjson.loads(export.line(world.endings()["a"]))
    assert line["result"]["error"]["error"]["type"] == "erased"
    assert "was erased at 2027-01-15" in line["result"]["error"]["error"]["message"]
    shown = "\n".join(showing.told(reading.history(world.runtime.database, "a"), [], [], world.clock.now))
    assert "erased at 2027-01-15" in shown
    assert "succeeded" in shown


@ON_SQLITE
def test_the_error_text_of_a_record_that_failed_is_gone_and_its_kind_stays(world):
    world.let_go("SECRET-model")
    world.client.enqueue_record(world.params(model="SECRET-model"), custom_id="a", job="job")
    world.run_to_end()
    assert "SECRET" in world.endings()["a"].error
    erase(world.runtime, "a")
    (ending,) = world.endings().values()
    assert (ending.state, ending.error_type, ending.error) == ("failed", "invalid_request_error", None)
    assert deadletters.requeue_failed(world.runtime.database, "job") == 0


def test_a_pending_record_is_canceled_and_never_sent(world):
    world.client.enqueue_record(world.params("SECRET"), custom_id="a", job="job")
    world.enqueue(2)
    accept(world.runtime)
    erase(world.runtime, "a")
    assert world.job().states == {"pending": 2, "canceled": 1}
    assert world.run_to_end()["succeeded"] == 2
    assert not world.server.ledger(prompt="SECRET")
    assert "SECRET" not in everything(world)


def test_a_record_whose_request_is_in_a_batch_is_refused_with_what_to_do(world):
    world.submitted(2)
    before = everything(world)
    with pytest.raises(ConfigurationError) as refused:
        erase(world.runtime, "item 0")
    assert str(refused.value) == (
        "'item 0' in job job is in a batch now (in_progress), so nothing was erased: "
        "erase it when that has ended; `bakehouse show` tells when"
    )
    assert everything(world) == before
    world.run_to_end()
    erase(world.runtime, "item 0")


@ON_SQLITE
def test_an_unknown_custom_id_is_one_sentence_and_exit_code_2(world):
    world.enqueue(1)
    accept(world.runtime)
    code, said = command(world, "erase", "nobody")
    assert code == 2
    assert said == ("bakehouse: no record 'nobody' is known; if it was enqueued just now, it may stand in the inbox\n")


@ON_SQLITE
def test_the_command_says_what_is_out_of_reach(world):
    world.enqueue(2)
    world.run_to_end()
    code, said = command(world, "erase", "item 0", "--job", "job")
    assert code == 0
    assert "item 0 in job job: erased (it had succeeded)" in said
    assert "with other records in them: 1" in said
    assert "backups" in said
    assert "append-only file of Redis until it is rewritten (it was asked to)" in said


def test_all_jobs_that_have_it_unless_one_is_named(world):
    for job in ("one", "two", "three"):
        world.client.enqueue_record(world.params(f"SECRET {job}"), custom_id="a", job=job)
    accept(world.runtime)
    assert [each.job for each in erase(world.runtime, "a", "two").erased] == ["two"]
    assert "SECRET one" in everything(world)
    assert len(erase(world.runtime, "a").erased) == 3
    assert "SECRET" not in everything(world)
    with pytest.raises(ConfigurationError, match="no record 'a' is known in job four"):
        erase(world.runtime, "a", "four")


@ON_SQLITE
def test_a_custom_id_that_was_pruned_is_told_to_be_gone(make_world):
    world = make_world(retain_rows=1)
    world.enqueue(1)
    world.run_to_end()
    world.pass_time(2 * 86_400)
    prune(world.runtime)
    outcome = erase(world.runtime, "item 0")
    assert told("item 0", outcome)[0] == "item 0 in job job: nothing to erase, its row was pruned on 2027-01-17"


@ON_SQLITE
def test_an_outcome_that_waits_to_be_delivered_is_withdrawn_and_says_so(world):
    world.client.enqueue_record(world.params("SECRET"), custom_id="a", job="job", on_result="no_such:handler")
    world.run_to_end()
    world.tick()  # fails, and waits to be tried again
    erase(world.runtime, "a")
    (record,) = reading.history(world.runtime.database, "a")
    assert record["deliveries"][0]["state"] == "failed"
    assert record["deliveries"][0]["error"].startswith("withdrawn")


@ON_SQLITE
def test_a_rejected_receipt_stays_without_what_the_database_said_of_it(world, monkeypatch):
    world.client.enqueue_record(world.params(), custom_id="a", job="job")
    row = records._row
    monkeypatch.setattr(records, "_row", lambda *given: (*row(*given)[:6], None, *row(*given)[7:]))
    accept(world.runtime)
    erase(world.runtime, "a")
    assert reading.rejections(world.runtime.database, "job") == [("a", "the database refuses it")]
    assert world.job().states == {"rejected": 1}


@ON_SQLITE
def test_an_erased_record_that_comes_again_is_known_and_with_a_new_body_it_may_be_replaced(world):
    from bakehouse.record import build

    world.enqueue(1)
    world.run_to_end()
    erase(world.runtime, "item 0")
    world.enqueue(1)
    accept(world.runtime)
    assert world.job().states["succeeded"] == 1
    world.client.append([build(world.params("a new question"), custom_id="item 0", job="job", replace=True)])
    assert world.run_to_end()["succeeded"] == 1
    assert answer_of(world, "item 0")


def test_results_that_are_read_again_do_not_bring_an_erased_answer_back(world):
    world.client.enqueue_record(world.params("SECRET"), custom_id="a", job="job")
    world.enqueue(4)
    accept(world.runtime)
    (batch,) = chunk(world.runtime)
    submit(world.runtime, batch)
    world.pass_time(61)
    poll(world.runtime)
    answers = []

    def erase_and_break(rows):
        settle(world.runtime, batch, [row.record_id for row in rows])
        answers.append(answer_of(world, "a"))
        erase(world.runtime, "a")
        raise GatewayError("the stream broke")

    assert collect(world.runtime, batch, erase_and_break) == "again"
    world.pass_time(600)
    assert collect(world.runtime, batch) == "collected"
    world.run_to_end()
    assert answers[0] not in everything(world)


# At the API


def test_a_batch_is_deleted_at_the_api_with_its_last_record_and_not_before(world):
    world.enqueue(3)
    world.run_to_end()
    for number in range(2):
        outcome = erase(world.runtime, f"item {number}")
        assert (outcome.remote.deleted, outcome.shared) == (0, 1)
        assert len(remote_ids(world)) == 1
    outcome = erase(world.runtime, "item 2")
    assert (outcome.remote.deleted, outcome.shared) == (1, 0)
    assert remote_ids(world) == set()
    assert erase(world.runtime, "item 2").remote.deleted == 0


@ON_SQLITE
def test_an_api_that_is_down_is_asked_again_by_the_janitor(world):
    world.enqueue(1)
    world.run_to_end()
    world.server.rules({"on": "delete", "fault": "lost"})
    outcome = erase(world.runtime, "item 0")
    assert outcome.remote.left == 1
    assert "the workers try again every hour" in "\n".join(told("item 0", outcome))
    world.server.clear()
    prune(world.runtime)
    assert remote_ids(world) == set()


@ON_SQLITE
def test_what_we_had_deleted_is_not_missed_in_the_list_when_a_create_is_in_doubt(world):
    """An older doubt is believed absent only if the list shows what it must; a deleted batch it cannot show."""
    world.server.rules({"on": "create", "fault": "lost_before_acceptance", "times": 1})
    (first,) = world.packed(2)
    assert submit(world.runtime, first) == "in doubt"
    world.submitted(1, text="later")
    world.pass_time(61)
    world.tick()
    assert erase(world.runtime, "later 0").remote.deleted == 1
    assert remote_ids(world) == set()
    assert world.run_to_end()["succeeded"] == 3


# The file


@ON_SQLITE
def test_no_byte_of_prompt_or_answer_is_left_in_sqlite_files(world):
    marks = [f"MARK-{number:03d}" for number in range(60)]
    for mark in marks:
        padding = "x" * (37 * int(mark[5:]) % 9_000)
        metadata = {"m": mark + "-meta"}
        params = world.params(f"{mark}-prompt {padding}")
        world.client.enqueue_record(params, custom_id=mark.lower(), job="job", metadata=metadata)
    world.run_to_end()
    gone = {mark: answer_of(world, mark.lower()) for mark in marks[::3]}
    kept = answer_of(world, marks[1].lower())

    def on_disk():
        return b"".join(path.read_bytes() for path in sorted(world.home.glob("bakehouse.sqlite*")))

    assert all(mark.encode() in on_disk() for mark in gone)
    for mark in gone:
        assert erase(world.runtime, mark.lower()).journal_emptied
    data = on_disk()
    assert [mark for mark, answer in gone.items() if mark.encode() in data or answer.encode() in data] == []
    assert kept.encode() in data
