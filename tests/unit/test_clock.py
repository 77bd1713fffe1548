"""The clock of SQLite's installations, and the judgement on PostgreSQL's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakehouse_worker.store import clock
from bakehouse_worker.store.clock import DAY, STEP, LocalClock

HOUR = 3600.0


class Machine:
    """A machine: what its wall shows, and since when it runs."""

    def __init__(self, monkeypatch):
        self.wall, self.running, self.starts = 1_700_000_000.0, 100.0, 1
        monkeypatch.setattr(clock.time, "time", lambda: self.wall)
        monkeypatch.setattr(clock, "since_boot", lambda: self.running)
        monkeypatch.setattr(clock, "boot", lambda: f"start-{self.starts}")

    def goes_on(self, seconds):
        self.wall += seconds
        self.running += seconds

    def restarts(self):
        self.starts += 1
        self.wall += 30.0
        self.running = 5.0


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


@pytest.mark.parametrize("hour", [HOUR, -HOUR])
def test_the_clock_goes_on_evenly_when_the_machine_is_set(hour, machine, tmp_path):
    mine = LocalClock(tmp_path / "clock")
    began = mine.now()
    assert began == machine.wall
    machine.goes_on(10)
    machine.wall += hour
    assert mine.now() == pytest.approx(began + 10)
    later = LocalClock(tmp_path / "clock")  # another process, started afterwards
    assert later.now() == pytest.approx(mine.now())


@pytest.mark.parametrize("hour", [HOUR, -HOUR])
def test_it_goes_on_after_the_machine_started_anew(hour, machine, tmp_path):
    began = LocalClock(tmp_path / "clock").now()
    machine.wall += hour
    LocalClock(tmp_path / "clock").now()  # some process started since the clock was set
    machine.restarts()
    assert LocalClock(tmp_path / "clock").now() == pytest.approx(began + 30)


def test_a_machine_that_started_in_the_wrong_year_does_not_stay_there(machine, tmp_path):
    mine, other = LocalClock(tmp_path / "clock"), LocalClock(tmp_path / "clock")
    mine.now(), other.now()
    machine.wall += 5 * 365 * DAY
    assert mine.now() == other.now() == machine.wall
    machine.wall -= HOUR
    assert mine.now() == pytest.approx(machine.wall + HOUR)


def test_a_file_that_is_not_whole_or_cannot_be_written_stops_nothing(machine, tmp_path):
    (tmp_path / "clock").write_text("start-1 17")
    assert LocalClock(tmp_path / "clock").now() == machine.wall
    assert LocalClock(tmp_path / "nowhere" / "clock").now() == machine.wall


moments = st.floats(-2 * DAY, 2 * DAY)


@given(expected=moments, least=moments, width=st.floats(0, DAY))
def test_a_jump_is_never_more_than_what_must_have_happened(expected, least, width):
    most = least + width
    jump = clock._jump(expected, least, most)
    if least - STEP <= expected <= most + STEP:
        assert jump == 0  # a slow answer, or a process that was frozen while it asked, is no jump
    if jump:
        assert STEP < abs(jump) <= DAY
        assert min(abs(expected + jump - least), abs(expected + jump - most)) < 1e-6
