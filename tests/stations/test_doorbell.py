"""Doorbells are few, and none is left out that somebody needs."""

from __future__ import annotations

import orjson
import pytest
from kombu.transport import redis as transport
from redis_machine import celery_at

from bakehouse_worker import doorbell, runtime


@pytest.fixture
def line(world, monkeypatch):
    """Rings go to this world's Redis; tells what waits in a queue, the first that was rung first."""
    monkeypatch.setattr(runtime, "current", lambda: world.runtime)

    def waiting(queue):
        messages = map(orjson.loads, reversed(world.runtime.redis.lrange(f"{world.prefix}:celery:{queue}", 0, -1)))
        return [(message["headers"]["shadow"], message["headers"]["argsrepr"]) for message in messages]

    with celery_at(world.redis_url, monkeypatch, world.prefix) as application:
        monkeypatch.setattr(doorbell, "app", application)
        yield waiting


def test_many_doorbells_are_sent_in_one_go_and_each_is_there(line, monkeypatch):
    flushed, flush = [], transport.PublishBatch.flush
    monkeypatch.setattr(transport.PublishBatch, "flush", lambda self: (flushed.append(self._buffered), flush(self))[1])
    doorbell.ring_each("settle", [(7, [1]), (7, [2]), (7, [3, 4, 5])])
    assert line("control") == [
        ("settle", "(batch 7, record 1)"),
        ("settle", "(batch 7, record 2)"),
        ("settle", "(batch 7, 3 results)"),
    ]
    assert flushed == [3]


def test_when_redis_goes_away_amid_many_doorbells_they_are_sent_one_by_one(line, monkeypatch):
    def broken(_):
        raise ConnectionResetError

    monkeypatch.setattr(transport.PublishBatch, "flush", broken)
    doorbell.ring_each("settle", [(7, [1]), (7, [2])])
    assert line("control") == [("settle", "(batch 7, record 1)"), ("settle", "(batch 7, record 2)")]


def test_a_doorbell_that_waits_already_is_not_rung_again(line, world):
    for _ in range(3):
        doorbell.ring_once("deliver")
    assert line("deliver") == [("deliver", "()")]
    world.runtime.redis.rpop(f"{world.prefix}:celery:deliver")  # taken: it may not see what is committed from now on
    doorbell.ring_once("deliver")
    assert line("deliver") == [("deliver", "()")]
