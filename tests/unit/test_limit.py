"""A time limit leaves nothing armed behind, however close to its end the code within came."""

from __future__ import annotations

import faulthandler
import signal
import threading
import time

import pytest

from bakehouse_worker import limit
from bakehouse_worker.limit import TimedOut, Watchdog, limited


@pytest.fixture
def watchdog(monkeypatch):
    """What is said to faulthandler's watchdog, which is called off at last in any case. The test's own limit waits meanwhile."""
    said, cancel, arm = [], faulthandler.cancel_dump_traceback_later, faulthandler.dump_traceback_later
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: (said.append("off"), cancel())[1])
    monkeypatch.setattr(
        faulthandler, "dump_traceback_later", lambda after, **how: (said.append(after), arm(after, **how))
    )
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
    with Watchdog() as mine, limited(60, mine):
        pass
    assert watchdog == [60 + limit.LATEST, "off"]
    assert signal.getsignal(signal.SIGALRM) is before


def test_code_that_takes_too_long_is_ended_and_nothing_is_left_armed(watchdog):
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimedOut), Watchdog() as mine, limited(0.05, mine):
        time.sleep(60)
    assert watchdog == [0.05 + limit.LATEST, "off"]
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_outside_the_main_thread_only_the_watchdog_is_armed(watchdog):
    def run():
        with Watchdog() as mine, limited(60, mine):
            assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert watchdog == [60 + limit.LATEST, "off"]


def test_calls_that_follow_each_other_arm_the_watchdog_once_and_each_has_its_whole_time(watchdog, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(limit.time, "monotonic", lambda: now[0])
    with Watchdog() as mine:
        for _ in range(3):
            with limited(60, mine):
                now[0] += 0.4
        assert watchdog == [60 + limit.LATEST]  # the third had GRACE and 0.2 s more
        with limited(60, mine):
            pass
        assert watchdog == [60 + limit.LATEST] * 2
        with limited(2, mine):  # another limit
            pass
        assert watchdog[2:] == [2 + limit.LATEST]
    assert watchdog[3:] == ["off"]


def test_between_calls_the_watchdog_can_be_called_off_for_work_that_has_no_limit(watchdog):
    with Watchdog() as mine:
        with limited(60, mine):
            pass
        mine.off()
        mine.off()
        assert watchdog == [60 + limit.LATEST, "off"]
        with limited(60, mine):
            pass
        assert watchdog[2:] == [60 + limit.LATEST]
    assert watchdog[3:] == ["off"]
