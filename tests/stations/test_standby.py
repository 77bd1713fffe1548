"""A control worker that ticks by itself, and one that no message reaches any more although its connection looks well."""

from __future__ import annotations

import pytest

from bakehouse_worker import runtime, tasks, ticking, worker
from bakehouse_worker.store import holds
from bakehouse_worker.worker import Standby


@pytest.fixture
def alone(world, monkeypatch):
    """A world in this process, where nobody rings; tells the late ticks made and whether the worker ended."""
    monkeypatch.setattr(runtime, "current", lambda: world.runtime)
    monkeypatch.setattr(tasks, "ring", lambda *_: None)
    return world


def late(world):
    world.pass_time(max(ticking.LATE, ticking.LATE_TICKS * world.settings.tick) + 1)


def put_message(world):
    world.runtime.redis.lpush(f"{world.prefix}:celery:control", "{}")


def test_without_ticks_it_ticks_and_goes_on_as_long_as_no_message_waits(alone):
    ended = []
    standby = Standby(lambda: ended.append(True), lambda: 0)
    for _ in range(5):
        before = ticking.last(alone.runtime)
        late(alone)
        standby()
        assert ticking.last(alone.runtime) != before or before is None
    assert ended == []


def test_when_messages_wait_and_nothing_comes_again_and_again_the_worker_ends(alone):
    ended = []
    standby = Standby(lambda: ended.append(True), lambda: 0)
    standby()
    put_message(alone)
    late(alone)
    standby()
    assert ended == []
    alone.pass_time(5)
    standby()  # not late: its own tick was just now
    late(alone)
    standby()
    assert ended == [True]


def test_messages_that_waited_behind_long_work_end_nothing(alone):
    ended = []
    standby = Standby(lambda: ended.append(True), lambda: 0)
    standby()
    for _ in range(4):
        put_message(alone)
        late(alone)
        standby()
        holds.put(alone.runtime.database, "ticked_at", repr(alone.clock() + 1))  # then the messages were worked on
        alone.pass_time(5)
        standby()
    assert ended == []


def test_what_beat_rang_while_no_worker_was_there_is_not_worked_through_one_by_one(alone, monkeypatch):
    monkeypatch.setattr(worker, "BACKLOG", 10)
    for _ in range(10):
        put_message(alone)
    worker._forget_backlog()
    assert ticking.messages(alone.runtime) == 10
    put_message(alone)
    worker._forget_backlog()
    assert ticking.messages(alone.runtime) == 0


def test_a_queue_that_is_long_because_there_is_much_to_do_ends_nothing(alone):
    ended, received = [], iter(range(100))
    standby = Standby(lambda: ended.append(True), lambda: next(received))
    put_message(alone)
    for _ in range(4):
        late(alone)
        standby()
    assert ended == []
