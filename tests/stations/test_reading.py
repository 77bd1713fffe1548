"""What became of records, as an application asks for it: by custom_id, by receipts, a whole job, and at no cost per record."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from sqlalchemy import event

import bakehouse
from bakehouse import ConfigurationError, InvalidRecord, NotEnded, UnknownJob, aio, get_outcome, iter_outcomes, wait
from bakehouse import reading as reading_door
from bakehouse.client import Receipt
from bakehouse.contract import GROUP
from bakehouse_worker.accept import accept
from bakehouse_worker.erase import erase
from bakehouse_worker.reader import StoreReader
from bakehouse_worker.store import outcomes
from bakehouse_worker.store.deadletters import requeue_failed


@pytest.fixture
def door(world, monkeypatch):
    """The application's side of a world: its functions read that store and write into that inbox."""
    monkeypatch.setattr(reading_door, "_reader", lambda: StoreReader(world.runtime))
    monkeypatch.setattr(reading_door, "default_client", lambda: world.client)
    return world


def send(world, *names, job="job", **more):
    return [world.client.enqueue_record(world.params(f"prompt of {n}"), custom_id=n, job=job, **more) for n in names]


def test_an_outcome_is_there_when_the_record_has_ended_and_not_before(door):
    (receipt,) = send(door, "a", metadata={"ticket": 7})
    assert get_outcome("a", job="job") is None  # in the inbox
    accept(door.runtime)
    assert get_outcome("a", job="job") is None  # pending
    door.run_to_end()
    found = get_outcome("a", job="job")
    assert (found.status, found.custom_id, found.job, found.attempts) == ("succeeded", "a", "job", 1)
    assert found.metadata == {"ticket": 7}
    assert found.text.startswith("answer to ")
    assert wait(receipt) == [found]
    assert get_outcome("a", job="another") is None
    assert get_outcome("b", job="job") is None


def test_wait_returns_outcomes_in_the_order_of_the_receipts_of_several_jobs(door):
    receipts = send(door, "c", "a", "b") + send(door, "z", job="other")
    receipts.reverse()
    door.run_to_end()
    door.run_to_end("other")
    assert [outcome.custom_id for outcome in wait(receipts)] == ["z", "b", "a", "c"]
    assert wait([]) == []


def test_wait_returns_as_soon_as_the_last_has_ended(door):
    receipts = send(door, "a", "b")
    worker = threading.Timer(0.3, door.run_to_end)
    worker.start()
    assert [outcome.status for outcome in wait(receipts, timeout=60)] == ["succeeded", "succeeded"]
    worker.join()


def test_wait_gives_up_at_its_time_out_with_what_has_ended(door):
    done = send(door, "a")
    door.run_to_end()
    open_one = send(door, "b")
    accept(door.runtime)
    with pytest.raises(NotEnded, match=r"1 of 2 records have not ended within 0\.2 s, such as 'b'") as trouble:
        wait(done + open_one, timeout=0.2)
    assert [outcome.custom_id for outcome in trouble.value.outcomes] == ["a"]
    assert trouble.value.waiting == open_one
    assert isinstance(trouble.value, TimeoutError)


def test_a_receipt_that_was_rejected_has_an_outcome_that_says_why(door):
    (first,) = send(door, "a")
    second = door.client.enqueue_record(door.params("another prompt"), custom_id="a", job="job")
    assert first.digest != second.digest
    door.run_to_end()
    good, refused = wait([first, second], timeout=5)
    assert good.status == "succeeded"
    assert (refused.status, refused.error.type) == ("rejected", "rejected")
    assert "another body is known" in refused.error.message
    assert [outcome.custom_id for outcome in iter_outcomes("job", status="rejected")] == ["a"]
    assert get_outcome("a", job="job").status == "succeeded"


def test_the_receipt_of_another_body_waits_until_its_own_entry_is_accepted(door):
    send(door, "a")
    door.run_to_end()
    again = door.client.enqueue_record(door.params("another prompt"), custom_id="a", job="job")
    with pytest.raises(NotEnded):
        wait(again, timeout=0.1)  # its entry is in the inbox; the outcome that is there is of another question
    accept(door.runtime)
    assert wait(again, timeout=5)[0].status == "rejected"


def test_a_thousand_receipts_cost_no_question_each(door):
    receipts = send(door, *(f"r{n}" for n in range(1_000)))
    accept(door.runtime)
    asked = []
    event.listen(door.runtime.database.engine, "before_cursor_execute", lambda *about: asked.append(about[2]))
    with pytest.raises(NotEnded):
        wait(receipts, timeout=1.0)
    looks = 1.0 / reading_door.FIRST_LOOK
    assert len(asked) < 10 + 3 * looks  # two statements a look, and the rows asked for once
    asked.clear()
    door.run_to_end()
    asked.clear()
    assert len(wait(receipts)) == 1_000
    assert len(asked) < 20


def test_a_job_tells_its_progress_closes_waits_and_is_done(door):
    work = bakehouse.job("weekly")
    assert work.progress().known == 0
    send(door, "a", "b", "c", job="weekly")
    accept(door.runtime)
    assert (work.progress().pending, work.progress().expected, work.progress().done) == (3, None, False)
    with pytest.raises(NotEnded, match=r"0 of 3 records have ended, and the job is not closed: call \.close\(\)"):
        work.wait(timeout=0.1)
    work.close()
    door.run_to_end("weekly")
    progress = work.wait(timeout=10)
    assert (progress.expected, progress.succeeded, progress.ended, progress.done) == (3, 3, 3, True)
    assert [outcome.custom_id for outcome in work.outcomes()] == ["a", "b", "c"]


def test_a_job_that_is_closed_with_a_number_waits_for_all_of_them(door):
    work = bakehouse.job("weekly")
    send(door, "a", job="weekly")
    work.close(expected=2)
    door.run_to_end("weekly")
    assert not work.progress().done
    send(door, "b", job="weekly")
    door.run_to_end("weekly")
    assert work.wait(timeout=5).succeeded == 2


def test_a_close_without_a_number_waits_for_what_another_worker_has_in_hand(door):
    """Entries before it were read by a worker that was lost: they are of the job, and are not accepted yet."""
    send(door, "a", "b", job="weekly")
    runtime = door.runtime
    runtime.redis.xgroup_create(runtime.keys.inbox, GROUP, id="0", mkstream=True)
    runtime.redis.xreadgroup(GROUP, "a lost worker", {runtime.keys.inbox: ">"}, count=1)
    bakehouse.job("weekly").close()
    accept(runtime)
    assert bakehouse.job("weekly").progress().expected is None
    accept(runtime, stale_after=0)
    accept(runtime, stale_after=0)
    assert bakehouse.job("weekly").progress().expected == 2


def test_a_job_is_canceled_from_python(door):
    send(door, "a", "b", job="weekly")
    assert bakehouse.job("weekly").cancel() == 2
    assert bakehouse.job("weekly").progress().canceled == 2
    assert {(outcome.status, outcome.attempts, outcome.error) for outcome in iter_outcomes("weekly")} == {
        ("canceled", 0, None)
    }
    with pytest.raises(UnknownJob, match="no job 'monthly' is known"):
        bakehouse.job("monthly").cancel()


def test_outcomes_are_iterated_by_status_in_the_order_of_acceptance(door):
    door.let_go("none")
    for number in range(1_200):
        model = {"model": "none"} if number % 100 == 0 else {}
        door.client.enqueue_record(door.params(f"p{number}", **model), custom_id=f"r{number}", job="job")
    door.run_to_end()
    assert [outcome.custom_id for outcome in iter_outcomes("job")] == [f"r{n}" for n in range(1_200)]
    failed = list(iter_outcomes("job", status="failed"))
    assert [outcome.custom_id for outcome in failed] == [f"r{n}" for n in range(0, 1_200, 100)]
    assert {outcome.error.type for outcome in failed} == {"invalid_request_error"}
    with pytest.raises(UnknownJob):
        iter_outcomes("no such job")
    with pytest.raises(InvalidRecord, match="status: must be one of succeeded, failed, canceled, rejected, not 'done'"):
        iter_outcomes("job", status="done")


def test_what_was_erased_is_told_without_its_content(door):
    send(door, "a")
    door.run_to_end()
    erase(door.runtime, "a", "job")
    found = get_outcome("a", job="job")
    assert (found.status, found.raw, found.text, found.result, found.metadata) == ("succeeded", b"", "", {}, {})


def test_the_twins_for_asyncio_do_the_same_and_leave_the_loop_alone(door):
    receipts = send(door, "a", "b")

    async def application():
        beats = 0

        async def beat():
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0.01)

        beating = asyncio.create_task(beat())
        with pytest.raises(NotEnded):
            await aio.wait(receipts, timeout=0.3)
        assert beats > 5
        beating.cancel()
        await asyncio.to_thread(door.run_to_end)
        assert len(await aio.wait(receipts)) == 2
        assert (await aio.get_outcome("a", job="job")).status == "succeeded"
        assert [outcome.custom_id async for outcome in aio.iter_outcomes("job")] == ["a", "b"]
        bakehouse.job("job").close()
        accept(door.runtime)
        assert (await aio.wait_for_job("job", timeout=5)).succeeded == 2

    asyncio.run(application())


def test_a_store_that_is_not_there_is_told_in_one_sentence_and_none_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("BAKEHOUSE_DATA_DIR", str(tmp_path))
    reading_door._reader_of.cache_clear()
    with pytest.raises(ConfigurationError, match=r"there is no store in .* yet: set BAKEHOUSE_DATA_DIR"):
        get_outcome("a")
    assert not list(tmp_path.iterdir())


def test_looks_become_rarer_while_nothing_happens_and_quick_again_when_something_does(door, monkeypatch):
    naps = []
    monkeypatch.setattr(time, "sleep", naps.append)
    looks = reading_door._looks({"job"}, None)
    assert next(looks) == {"job"}
    for _ in range(12):
        assert next(looks) == set()
    assert naps[0] == reading_door.FIRST_LOOK and naps[-1] == reading_door.LONGEST_LOOK
    send(door, "a")
    door.run_to_end()
    assert next(looks) == {"job"}
    next(looks)
    assert naps[-1] == reading_door.FIRST_LOOK


def test_a_receipt_can_be_kept_and_made_again(door):
    (receipt,) = send(door, "a")
    door.run_to_end()
    assert wait(Receipt(receipt.job, receipt.custom_id, receipt.digest))[0].custom_id == "a"


def test_a_span_of_a_large_job_is_found_by_an_index_and_sorted_by_none(world):
    """SQLite takes the index by custom_id for any job, and sorts all of it for every span, if it has no better one."""
    database = world.runtime.database
    if not database.sqlite:
        pytest.skip("PostgreSQL chooses by what it has counted")
    statements = []
    event.listen(database.engine, "before_cursor_execute", lambda *about: statements.append(about[2:4]))
    world.enqueue(2)
    world.run_to_end()
    statements.clear()
    for _ in range(2):
        assert len(list(outcomes.iterate(database, world.job().id, span=1, metadata=True))) == 2
        assert len(list(outcomes.settled(database, world.job().id, 0.0))) == 2
    with database.read() as connection:
        plans = [
            str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values).all())
            for sql, values in list(statements)
            if "ORDER BY record" in sql
        ]
    assert len(plans) >= 6
    assert not [plan for plan in plans if "TEMP B-TREE" in plan]


def test_a_receipt_that_was_rejected_stays_so_when_the_record_of_its_custom_id_goes_again(door):
    """A record that is requeued is a new generation, and was taken for what came in the place of any other body."""
    door.let_go("none")
    first = door.client.enqueue_record(door.params(model="none"), custom_id="a", job="job")
    second = door.client.enqueue_record(door.params("another prompt"), custom_id="a", job="job")
    door.run_to_end()
    assert requeue_failed(door.runtime.database, "job") == 1
    door.run_to_end()
    assert [outcome.status for outcome in wait([first, second], timeout=5)] == ["failed", "rejected"]


@pytest.mark.parametrize("wrong", ["ticket-42", ["ticket-42"], [None, 7]])
def test_what_is_no_receipt_is_refused_in_one_sentence(wrong):
    with pytest.raises(InvalidRecord, match=r"^receipts: must be what enqueue_record\(\) returned"):
        wait(wrong)


@pytest.mark.parametrize("wrong", [Receipt("job", "a", ""), 42, "", "a\0b", "\ud800"])
def test_what_can_be_no_custom_id_is_refused_in_one_sentence(wrong):
    with pytest.raises(InvalidRecord, match=r"^custom_id: "):
        get_outcome(wrong)


def test_a_job_that_was_done_before_waits_for_what_was_enqueued_since(door):
    """Last week's close and answers are in the store; this week's records are in the inbox still."""
    work = bakehouse.job("weekly")
    send(door, "a", "b", job="weekly")
    work.close()
    door.run_to_end("weekly")
    assert work.wait(timeout=5).succeeded == 2
    send(door, "c", "d", job="weekly")
    work.close()
    with pytest.raises(NotEnded):
        work.wait(timeout=0.2)
    worker = threading.Timer(0.2, lambda: (accept(door.runtime), door.run_to_end("weekly")))
    worker.start()
    assert work.wait(timeout=30).succeeded == 4
    worker.join()
