"""A database restored from a backup is noticed, and nothing that was sent since is sent again."""

from __future__ import annotations

import shutil
import uuid

import psycopg
import pytest

from bakehouse_worker import epoch
from bakehouse_worker.accept import accept
from bakehouse_worker.chunk import chunk
from bakehouse_worker.doctor.reconcile import reconcile
from bakehouse_worker.poll import poll
from bakehouse_worker.store import doubts, holds, submissions
from bakehouse_worker.submit import submit
from bakehouse_worker.ticking import due_doorbells

OVERLOADED = {"on": "result", "fault": "errored", "type": "overloaded_error", "message": "busy", "prompt": "item 1"}


class Backup:
    """A copy of a world's database, to be put back later."""

    def __init__(self, world):
        self.world, self.name = world, f"b{uuid.uuid4().hex[:12]}"
        world.runtime.database.empty_journal()
        world.runtime.database.close()
        if world.database_url:
            self._make(self.name, self.of(world.database_url))
        else:
            shutil.copy(self.file, self.file.with_name("backup"))

    @property
    def file(self):
        return self.world.home / "bakehouse.sqlite"

    @staticmethod
    def of(url):
        return url.partition("?")[0].rpartition("/")[2]

    def _make(self, name, template):
        url = self.world.database_url
        with psycopg.connect(url.replace(f"/{self.of(url)}?", "/postgres?"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")

    def put_back(self):
        """Restore the copy and start new workers on it."""
        world = self.world
        world.runtime.database.close()
        if world.database_url:
            self._make(self.of(world.database_url), self.name)
        else:
            for rest in ("-wal", "-shm"):
                self.file.with_name(self.file.name + rest).unlink(missing_ok=True)
            shutil.copy(self.file.with_name("backup"), self.file)
        world.runtime = world.worker()


@pytest.fixture
def mid_run(make_world):
    """Ten records in batches of two: two batches are at the API, one packed, the rest waits. The copy is of this moment."""
    world = make_world(max_batch_requests=2)
    list(due_doorbells(world.runtime))
    world.enqueue(10)
    accept(world.runtime)
    first, second, *_ = chunk(world.runtime)
    assert submit(world.runtime, first) == submit(world.runtime, second) == "submitted"
    return world, Backup(world)


def forget(world):
    """Flush what Redis holds of this world."""
    redis = world.runtime.redis
    for key in redis.scan_iter(f"*{world.prefix}*"):
        redis.delete(key)


def standing(world):
    found = holds.standing(world.runtime.database)
    return (found.kind, found.reason) if found else (None, "")


@pytest.mark.parametrize("memory", ["the same Redis", "a flushed Redis"])
def test_a_database_restored_from_a_copy_made_mid_run_sends_nothing_twice(mid_run, memory):
    world, backup = mid_run
    assert world.run_to_end()["succeeded"] == 10
    backup.put_back()
    if memory == "a flushed Redis":
        forget(world)
    for _ in range(5):
        list(due_doorbells(world.runtime))
        world.tick()
        world.pass_time(61)
    kind, reason = standing(world)
    assert kind == holds.RESTORED
    assert "restored from a backup" in reason
    assert "`bakehouse doctor --reconcile`" in reason
    assert world.server.totals()["accepted"] == 10
    found = reconcile(world.runtime)
    assert [finding for finding in found if finding.ok is not True] == []
    assert any("3 of ours taken back, with answers to 6 records" in finding.told for finding in found)
    assert standing(world) == (None, "")
    assert world.run_to_end()["succeeded"] == 10
    assert world.server.totals()["accepted_twice"] == 0
    world.enqueue(3, text="new")
    assert world.run_to_end()["succeeded"] == 13
    assert world.server.totals()["accepted_twice"] == 0


def test_a_redis_flushed_mid_run_pauses_nothing(mid_run):
    world, _ = mid_run
    forget(world)
    world.runtime = world.worker()
    assert world.run_to_end()["succeeded"] == 10
    assert standing(world) == (None, "")
    assert epoch.remembered(world.runtime).mark == 5
    assert world.server.totals()["accepted_twice"] == 0


def test_a_redis_flushed_beside_other_software_pauses_nothing(mid_run):
    world, _ = mid_run
    others_batch(world, 2)
    forget(world)
    world.runtime = world.worker()
    assert world.run_to_end()["succeeded"] == 10
    assert standing(world) == (None, "")


def others_batch(world, requests):
    """A batch of other software in the same workspace."""
    body = b",".join(
        b'{"custom_id":"theirs-%d","params":{"model":"claude-haiku-5-5","max_tokens":5,'
        b'"messages":[{"role":"user","content":"theirs %d"}]}}' % (number, number)
        for number in range(requests)
    )
    body = b'{"requests":[' + body + b"]}"
    return world.runtime.gateway.create(iter([body]), len(body), (), "2026-10-21")


def test_a_batch_in_doubt_in_the_copy_is_adopted_once(make_world):
    world = make_world()
    world.server.rules({"on": "create", "fault": "lost_after_acceptance", "times": 1})
    (batch,) = world.packed(3)
    assert submit(world.runtime, batch) == "in doubt"
    backup = Backup(world)
    assert world.run_to_end()["succeeded"] == 3
    backup.put_back()
    assert len(doubts.in_doubt(world.runtime.database)) == 1
    assert world.run_to_end()["succeeded"] == 3
    assert world.server.totals()["accepted_twice"] == 0


def test_a_copy_made_while_a_body_streamed_is_noticed(make_world, monkeypatch):
    world = make_world()
    list(due_doorbells(world.runtime))
    (batch,) = world.packed(3)
    note, copies = submissions.anchor, []

    def copied(*arguments):
        note(*arguments)
        copies.append(Backup(world))

    with monkeypatch.context() as patch:
        patch.setattr(submissions, "anchor", copied)
        assert submit(world.runtime, batch) == "submitted"
    assert world.run_to_end()["succeeded"] == 3
    copies[0].put_back()
    world.pass_time(61)
    for _ in range(3):
        world.tick()
    assert standing(world)[0] == holds.RESTORED
    assert all(finding.ok for finding in reconcile(world.runtime))
    assert world.run_to_end()["succeeded"] == 3
    assert world.server.totals()["accepted_twice"] == 0


def test_records_sent_more_than_once_since_the_copy_are_followed_to_their_last_sending(make_world):
    world = make_world()
    list(due_doorbells(world.runtime))
    world.packed(3)
    backup = Backup(world)
    world.server.rules({**OVERLOADED, "first_times": 2})
    assert world.run_to_end()["succeeded"] == 3
    accepted = world.server.totals()["accepted"]
    assert accepted == 5
    backup.put_back()
    world.tick()
    assert standing(world)[0] == holds.RESTORED
    assert all(finding.ok for finding in reconcile(world.runtime))
    assert world.run_to_end()["succeeded"] == 3
    assert world.server.totals()["accepted"] == accepted


def test_a_sending_after_one_that_is_still_to_be_collected_keeps_submissions_waiting(make_world):
    world = make_world()
    list(due_doorbells(world.runtime))
    world.submitted(3)
    backup = Backup(world)
    world.server.rules({**OVERLOADED, "first_times": 1})
    assert world.run_to_end()["succeeded"] == 3
    accepted = world.server.totals()["accepted"]
    backup.put_back()
    list(due_doorbells(world.runtime))
    assert standing(world)[0] == holds.RESTORED
    found = {finding.check: finding for finding in reconcile(world.runtime)}
    assert found["submissions"].ok is False
    assert "whose earlier sending is not collected yet" in found["undecided"].told
    for _ in range(4):
        world.tick()
        world.pass_time(61)
    assert standing(world)[0] == holds.RESTORED
    assert world.server.totals()["accepted"] == accepted
    assert all(finding.ok for finding in reconcile(world.runtime))
    assert world.run_to_end()["succeeded"] == 3
    assert world.server.totals()["accepted"] == accepted


def test_answers_to_lost_records_are_never_given_to_new_ones_of_the_same_number(make_world):
    world = make_world()
    list(due_doorbells(world.runtime))
    backup = Backup(world)
    world.enqueue(3, text="before")
    assert world.run_to_end()["succeeded"] == 3
    backup.put_back()
    world.server.rules({"on": "result", "fault": "text", "text": "an answer to what came after", "prompt": "after"})
    world.enqueue(3, text="after")
    world.tick()
    assert standing(world)[0] == holds.RESTORED
    found = {finding.check: finding for finding in reconcile(world.runtime)}
    assert "3 answers are to records that this database does not know" in found["lost records"].told
    assert found["submissions"].ok
    assert world.run_to_end()["succeeded"] == 3
    assert all(name.startswith("after") for name in world.endings())
    assert all(b"an answer to what came after" in ending.line for ending in world.endings().values())


def test_another_database_at_the_same_redis_starts_paused(make_world):
    world, other = make_world(), make_world()
    world.submitted(3)
    stranger = other.worker(redis_prefix=world.prefix)
    assert epoch.notice(stranger)
    assert "and this is another one" in standing(other)[1]
    assert all(finding.ok for finding in reconcile(stranger))
    assert standing(other) == (None, "")
    assert epoch.notice(world.worker())
    epoch.rejoin(world.runtime)


def test_an_unknown_batch_that_came_in_a_silence_is_waited_for_until_it_ends(make_world):
    world = make_world(max_batch_requests=3)
    list(due_doorbells(world.runtime))
    world.submitted(3)
    world.pass_time(61)
    list(due_doorbells(world.runtime))
    world.clock.now += 1_000
    world.server.advance(1_000)
    others_batch(world, 2)
    list(due_doorbells(world.runtime))
    world.runtime.looked = False
    (batch,) = world.packed(3, text="later")
    assert submit(world.runtime, batch) == "held"
    kind, reason = standing(world)
    assert kind == holds.RETRY_AFTER
    assert "when it has ended" in reason
    assert poll(world.runtime) is not None
    assert world.run_to_end()["succeeded"] == 6
    assert standing(world) == (None, "")
