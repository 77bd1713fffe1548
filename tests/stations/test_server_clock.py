"""PostgreSQL's clock is set: processes that ran, that start afterwards, and that were frozen meanwhile agree on the time."""

from __future__ import annotations

import pytest
from clocks import Wall

from bakehouse_worker.store import clock
from bakehouse_worker.store.database import open_database

HOUR = 3_600.0
pytestmark = pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)


@pytest.fixture
def wall(tmp_path, new_database):
    made = Wall(tmp_path / "wall")
    made.url = new_database()
    made.join(made.url)
    return made


@pytest.fixture
def process(wall, tmp_path):
    """Make the store's view of one process; those of one host share a directory."""
    opened = []

    def make(host="a"):
        (tmp_path / host).mkdir(exist_ok=True)
        opened.append(open_database(wall.url, tmp_path / host / "bakehouse.sqlite"))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.mark.parametrize("hour", [HOUR, -HOUR])
def test_everybody_goes_on_evenly_who_ran_or_runs_on_another_host(wall, process, hour):
    one, other = process(), process("b")
    began = one.now()
    assert other.now() == pytest.approx(began, abs=1)
    wall.step(hour)
    for each in (one, other, process(), process("c")):
        assert each.now() == pytest.approx(began, abs=2)
    wall.step(-2 * hour)
    assert other.now() == pytest.approx(began, abs=2)
    assert one.now() == pytest.approx(began, abs=2)


@pytest.mark.parametrize("hour", [HOUR, -HOUR])
def test_a_process_that_starts_when_all_others_have_died_knows_what_they_saw(wall, process, hour):
    began = process().now()
    wall.step(hour)
    assert process().now() == pytest.approx(began, abs=2)


def test_a_jump_of_more_than_a_day_is_followed(wall, process):
    one = process()
    began = one.now()
    wall.step(3 * 24 * HOUR)
    assert one.now() == pytest.approx(began + 3 * 24 * HOUR, abs=2)
    assert process().now() == pytest.approx(one.now(), abs=2)


def test_without_the_machines_start_the_servers_time_is_taken_as_it_is(wall, process, monkeypatch):
    monkeypatch.setattr(clock, "boot", lambda: None)
    began = process().now()
    wall.step(HOUR)
    assert process().now() == pytest.approx(began + HOUR, abs=2)
