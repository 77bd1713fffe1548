"""A time limit leaves nothing armed behind, however close to its end the code within came."""

from __future__ import annotations

import faulthandler
import signal
import threading
import time

import pytest

from bakehouse_worker.limit import TimedOut, limited


@pytest.fixture
def watchdog(monkeypatch):
    """What is said to faulthandler's watchdog, which is called off at last in any case. The test's own limit waits meanwhile."""
    said, cancel = [], faulthandler.cancel_dump_traceback_later
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: (said.append("off"), cancel())[1])
    yield said
    cancel()
    signal.setitimer(signal.ITIMER_REAL, left)


def test_an_alarm_that_rings_as_the_code_ends_leaves_no_watchdog_behind(watchdog, monkeypatch):
    """It rings between the code's end and the moment when the timer is put back; the process was killed five seconds later."""
    before, set_timer = signal.getsignal(signal.SIGALRM), signal.setitimer

    def ring_first(which, seconds, *more):
        if not seconds:
            signal.raise_signal(signal.SIGALRM)
        return set_timer(which, seconds, *more)

    monkeypatch.setattr(signal, "setitimer", ring_first)
    with limited(60):
        pass
    assert watchdog == ["off"]
    assert signal.getsignal(signal.SIGALRM) is before


def test_code_that_takes_too_long_is_ended_and_nothing_is_left_armed(watchdog):
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimedOut), limited(0.05):
        time.sleep(60)
    assert watchdog == ["off"]
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_outside_the_main_thread_only_the_watchdog_is_armed(watchdog):
    def run():
        with limited(60):
            assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert watchdog == ["off"]
