"""Who is rung for at a tick, and who comes first: what is short or frees something, before downloads and uploads."""

from __future__ import annotations

import pytest
from redis_machine import celery_at

from bakehouse_worker import ticking
from bakehouse_worker.app import TRANSFER


@pytest.fixture
def rung(world, monkeypatch):
    """Return what sends a doorbell as the workers do, in a world where ten submissions stand in line."""
    with celery_at(world.redis_url, monkeypatch, world.prefix) as application:

        def ring(station, *words):
            application.send_task(f"bakehouse.{station}", args=words)

        ring.application = application
        for batch in range(10):
            ring("submit", batch)
        yield ring


def test_a_rescue_does_not_wait_behind_the_downloads_and_uploads_that_stand_in_line(rung):
    rung("collect", 11)
    rung("rescue")
    with rung.application.connection_for_read() as connection:
        line = rung.application.amqp.queues[TRANSFER](connection.default_channel)
        order = [line.get(no_ack=True).headers["task"] for _ in range(12)]
    assert order == ["bakehouse.rescue", "bakehouse.collect"] + 10 * ["bakehouse.submit"]


def test_polls_are_rung_for_while_submissions_stand_in_line_and_submissions_are_not(world, rung):
    world.submitted(3)
    world.pass_time(world.settings.poll_interval + 1)
    world.packed(2, text="later")
    stations = [station for station, _ in ticking.due_doorbells(world.runtime)]
    assert "poll" in stations
    assert "submit" not in stations
    world.runtime.redis.delete(f"{world.prefix}:celery:{TRANSFER}\x06\x166")
    assert "submit" in [station for station, _ in ticking.due_doorbells(world.runtime)]
