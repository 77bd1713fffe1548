"""Beat ends when it is told to."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

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
