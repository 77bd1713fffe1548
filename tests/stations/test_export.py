"""`bakehouse export`: what has come, by status and time, as JSONL or CSV, and as it comes."""

from __future__ import annotations

import csv
import io
from itertools import count

import orjson
import pytest

from bakehouse import ConfigurationError
from bakehouse_worker import export, exporting
from bakehouse_worker.store import outcomes
from bakehouse_worker.store.database import Database


def written(world, *, form="jsonl", statuses=(), since=None):
    file = io.BytesIO()
    now = world.runtime.database.now()
    wanted = exporting.options(form, statuses, since, follow=False, output=None, now=now)
    number = exporting.write(world.runtime.database, "job", wanted, file)
    lines = file.getvalue().splitlines()
    assert number == len(lines) - (form == "csv")
    return lines


@pytest.fixture
def mixed(world):
    """Three answers and a failure; a day later two more answers."""
    world.let_go("none")
    world.enqueue(3)
    world.client.enqueue_record(world.params('a "quoted", prompt\n', model="none"), custom_id="bad, id", job="job")
    world.run_to_end()
    world.pass_time(86_400)
    world.enqueue(2, text="later")
    world.run_to_end()
    return world


def names(lines):
    return [orjson.loads(line)["custom_id"] for line in lines]


def test_what_is_asked_for_is_written_in_the_order_of_acceptance(mixed):
    assert names(written(mixed)) == ["item 0", "item 1", "item 2", "bad, id", "later 0", "later 1"]
    assert names(written(mixed, statuses=["failed"])) == ["bad, id"]
    assert names(written(mixed, statuses=["failed", "canceled"])) == ["bad, id"]
    assert names(written(mixed, since="12h")) == ["later 0", "later 1"]
    assert names(written(mixed, since="3d")) == names(written(mixed))
    assert names(written(mixed, since="1970-01-02")) == names(written(mixed))
    assert names(written(mixed, since="12h", statuses=["failed"])) == []


def test_a_csv_can_be_read_back_whatever_is_in_the_answers(mixed):
    rows = list(csv.DictReader(io.StringIO(b"\n".join(written(mixed, form="csv")).decode())))
    assert [row["custom_id"] for row in rows] == ["item 0", "item 1", "item 2", "bad, id", "later 0", "later 1"]
    assert tuple(rows[0]) == export.COLUMNS
    good, bad = rows[0], rows[3]
    assert (good["status"], good["error"], good["attempts"]) == ("succeeded", "", "1")
    assert good["text"].startswith("answer to ") and float(good["cost"]) > 0 and int(good["output_tokens"]) > 0
    assert good["ended_at"].startswith("2027-01-15T") and good["ended_at"].endswith("+00:00")
    assert (bad["status"], bad["error_type"], bad["text"], bad["cost"]) == ("failed", "invalid_request_error", "", "")


@pytest.mark.parametrize(
    ("form", "statuses", "since", "follow", "output", "sentence"),
    [
        ("xml", [], None, False, None, "--format is jsonl or csv, not 'xml'"),
        ("csv", ["done"], None, False, None, "--status is succeeded, failed or canceled, not 'done'"),
        ("csv", [], "yesterday", False, None, "--since takes a time ago"),
        ("csv", [], None, True, "file", "--follow writes to standard output"),
    ],
)
def test_an_option_that_makes_no_sense_is_one_sentence(form, statuses, since, follow, output, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        exporting.options(form, statuses, since, follow=follow, output=output, now=0.0)


def test_what_is_followed_comes_as_it_ends_each_once_until_the_job_is_closed_and_done(world):
    turns = count()

    def work():
        """Between two looks more is enqueued, and worked on; then the job is closed."""
        turn = next(turns)
        if turn < 3:
            world.enqueue(4, text=f"turn {turn}")
        elif turn == 3:
            world.client.close("job")
        world.tick()
        world.pass_time(61)
        world.tick()

    followed = [row.custom_id for row in export.follow(world.runtime.database, "job", 0.0, lambda row: True, work)]
    assert sorted(followed) == sorted(f"turn {turn} {n}" for turn in range(3) for n in range(4))
    assert [name.rpartition(" ")[0] for name in followed] == [f"turn {turn}" for turn in range(3) for _ in range(4)]


def test_a_transaction_that_looked_at_the_clock_early_and_committed_late_is_followed_all_the_same(world):
    world.enqueue(2)
    world.run_to_end()
    world.client.close("job")
    world.tick()
    database: Database = world.runtime.database
    late = outcomes.by_custom_id(database, world.job().id, "job", ["item 1"])["item 1"]
    hidden = [late.record_id]

    def settled(*about, whole=outcomes.settled):
        """At the first look the second record's transaction has not committed, though its time is before the first one's."""
        rows = [(*row[:3], row[3] - (row[0] == late.record_id)) for row in whole(*about)]
        return (row for row in rows if row[0] not in hidden)

    outcomes.settled, before = settled, outcomes.settled
    try:
        found = []
        for row in export.follow(database, "job", 0.0, lambda row: True, lambda: None):
            found.append(row.custom_id)
            hidden.clear()
    finally:
        outcomes.settled = before
    assert found == ["item 0", "item 1"]


def test_what_ended_long_ago_is_followed_in_parts_and_not_held_in_memory(world, monkeypatch):
    """A job of millions was listed, and remembered, before its first line was written."""
    world.enqueue(6)
    world.run_to_end()
    world.client.close("job")
    world.tick()
    read = []

    def settled(*about, whole=outcomes.settled):
        return (read.append(row[0]) or row for row in whole(*about))

    monkeypatch.setattr(outcomes, "settled", settled)
    monkeypatch.setattr(export, "FOLLOWED", 2)
    following = export.follow(world.runtime.database, "job", 0.0, lambda row: True, lambda: None)
    first = next(following)
    assert len(read) == 2
    assert [first.custom_id, *(row.custom_id for row in following)] == [f"item {n}" for n in range(6)]
