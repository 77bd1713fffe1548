"""What a tick, a poll and a look by custom_id cost does not grow with what is finished: shown by the plans of both databases."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import event, text

from bakehouse_worker import ticking
from bakehouse_worker.chunk import chunk, worthwhile
from bakehouse_worker.store import batches, deliveries, due, outcomes, reading, records

FINISHED = 20_000
#: A table walked through whole; an index of what is not finished may be.
WALKS = re.compile(
    r"\bSCAN (record|result|body|batch|submission|delivery)\b(?! USING (COVERING )?INDEX (batch_live|submission_distinct))"
    r"|Seq Scan on (record|result|body)\b"
)


def fill(database):
    """Many finished records of one job, and what they left behind."""
    many = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {FINISHED})"
    with database.write() as connection:
        for statement in (
            "INSERT INTO job (id, name, created_at, rejected_pruned) VALUES (90, 'old', 0, 0)",
            "INSERT INTO lane (id, job_id, key, priority, api_version, betas, model) VALUES (90, 90, 'k', 0, 'v', '', 'm')",
            f"""INSERT INTO record (id, job_id, custom_id, lane_id, seq, bytes, digest, model, state, batch_id, generation,
                attempt, failures, expiries, next_at, settled_at)
                {many} SELECT i, 90, 'old ' || i, 90, i, 10, 'd', 'm', 'succeeded', 1 + i / 100, 0, 0, 0, 0, 0, i FROM n""",
            f"""INSERT INTO result (record_id, attempt, batch_id, kind, input_tokens, output_tokens, cache_write_tokens,
                cache_read_tokens, received_at, line)
                {many} SELECT i, 0, 1 + i / 100, 'succeeded', 1, 1, 0, 0, 0, 'x' FROM n""",
            f"INSERT INTO counter (job_id, state, records) VALUES (90, 'succeeded', {FINISHED})",
            f"""INSERT INTO batch (id, state, api_version, betas, requests, bytes, created_at, not_before, tries, lease_until,
                next_poll_at, finished_at)
                {many} SELECT i, 'collected', 'v', '', 100, 1000, 0, 0, 0, 0, 0, 1 FROM n WHERE i <= {FINISHED // 100 + 1}""",
        ):
            connection.execute(text(statement.replace("'x'", "X'00'" if database.sqlite else "'\\x00'")))
        if not database.sqlite:
            connection.execute(text("SELECT setval('record_id_seq', 100000), setval('batch_id_seq', 100000)"))
            connection.execute(text("SELECT setval('job_id_seq', 1000), setval('lane_id_seq', 1000)"))


def plans(database, work):
    """The plan of every statement that some work runs, under its text."""
    statements = []

    def note(_connection, _cursor, statement, parameters, _context, _many):
        if statement.lstrip().startswith(("SELECT", "UPDATE", "WITH", "DELETE")):
            statements.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    work()
    event.remove(database.engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN" if database.sqlite else "EXPLAIN"
    found = []
    for statement, parameters in statements:
        with database.engine.connect() as connection:
            rows = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
        found.append((statement, "\n".join(str(row) for row in rows)))
    assert found
    return found


@pytest.fixture
def full(world):
    """A store with much that is finished, a little that waits and a batch that is open."""
    fill(world.runtime.database)
    world.submitted(3)
    world.enqueue(3, text="later")
    if not world.runtime.database.sqlite:
        with world.runtime.database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))
    return world


def walked(found):
    return [f"{statement}\n{plan}" for statement, plan in found if WALKS.search(plan)]


def test_a_tick_walks_through_no_table(full):
    runtime = full.runtime

    def work():
        list(ticking.due_doorbells(runtime))
        worthwhile(runtime)
        due.idle(runtime.database)

    assert not walked(plans(runtime.database, work))


def test_a_poll_and_packing_walk_through_no_table(full):
    database = full.runtime.database
    assert not walked(plans(database, lambda: batches.open_batches(database)))
    assert not walked(plans(database, lambda: chunk(full.runtime)))


def test_what_a_run_shows_walks_through_no_table(full):
    database = full.runtime.database

    def work():
        job = reading.jobs(database, "job")[0]
        reading.live_batches(database)
        reading.next_due(database, job.id)

    assert not walked(plans(database, work))


@pytest.mark.parametrize("look", [records.known_digests, outcomes.by_custom_id])
def test_a_look_by_custom_id_costs_an_index_seek_each_though_nothing_was_analysed(world, look):
    database = world.runtime.database
    fill(database)
    names = [f"old {number}" for number in range(1, 500)]
    some = (database, "old", names) if look is records.known_digests else (database, 90, "old", names)
    for statement, plan in plans(database, lambda: look(*some)):
        if "custom_id = " in statement:
            assert "record_by_custom_id" in plan, plan
            break
    else:
        pytest.fail("nothing was looked up by custom_id")
    assert len(look(*some)) == len(names)


def test_what_waits_to_be_delivered_is_not_walked_through_for_what_is_free_or_lost_nor_bodies_for_metadata(world):
    """Each turn of a deliver worker looks for both; a slow handler may have a million outcomes before it."""
    database = world.runtime.database
    fill(database)
    with database.write() as connection:
        for statement in (
            "INSERT INTO body (record_id, generation, params) SELECT id, 0, line FROM record JOIN result ON record_id = id",
            """INSERT INTO delivery (record_id, generation, sink, state, attempts, next_at, lease_until)
                SELECT id, 0, 'a:b', 'waiting', 0, id, 0 FROM record""",
        ):
            connection.execute(text(statement))
    if not database.sqlite:
        with database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))

    def work():
        assert len(deliveries.claim(database, 100, 60.0)) == 100
        assert deliveries.claim_lost(database, 60.0, 5) is None
        assert due.due(database, 10).deliver == 1_000

    found = plans(database, work)
    assert not walked((statement, plan) for statement, plan in found if "JOIN" not in statement)
    looks = [plan for statement, plan in found if "delivery.next_at <= " in statement]
    assert len(looks) == 4
    if database.sqlite:  # PostgreSQL may count a thousand of so many in any way
        ranges = re.compile(r"INDEX delivery_waiting \(lease_until(=\? AND next_at<\?|>\? AND lease_until<\?)\)")
        assert all(ranges.search(plan) for plan in looks), looks
    else:
        assert all("delivery_waiting" in plan for plan in looks[:2]), looks
    metadata = [plan for statement, plan in found if "metadata_json" in statement]
    assert ["body_with_metadata" in plan for plan in metadata] == [True], metadata
