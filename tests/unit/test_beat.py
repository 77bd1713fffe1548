"""Beat ends when it is told to."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from celery import Celery
from journey_machine import wait_until

from bakehouse_worker.beat import Scheduler, listen


def test_a_stop_that_was_swallowed_on_its_way_ends_beat_at_the_next_tick(monkeypatch):
    scheduler = Scheduler.__new__(Scheduler)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        listen(scheduler)
        with suppress(SystemExit):  # as code in between may do
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit):
            scheduler.tick()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("hours", [-1, 1])
def test_beat_rings_on_when_the_clock_is_set_even_before_its_first_ring(hours, tmp_path, monkeypatch):
    monkeypatch.setenv("BAKEHOUSE_DATA_DIR", str(tmp_path))
    application = Celery("one", broker="memory://", set_as_default=False)
    application.conf.beat_schedule = {"tick": {"task": "nothing.there", "schedule": 0.02}}
    rung = []
    monkeypatch.setattr(Scheduler, "apply_entry", lambda self, entry, **_: rung.append(entry.name))
    with time_machine.travel(datetime(2026, 11, 1, tzinfo=UTC)) as wall:
        scheduler = Scheduler(application)
        try:
            for _ in range(3):
                del rung[:]
                wall.shift(timedelta(hours=hours))
                wait_until(lambda: scheduler.tick() >= 0 and rung, "beat rings", 5)
        finally:
            scheduler.close()
