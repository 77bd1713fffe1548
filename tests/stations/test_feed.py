"""A file's records go straight into the store: once each, in order, whatever happens to the database meanwhile."""

from __future__ import annotations

import dataclasses
import types

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError

from bakehouse import BakehouseError
from bakehouse.record import build
from bakehouse_worker.chunk import chunk
from bakehouse_worker.local import feed as station
from bakehouse_worker.local.feed import feed
from bakehouse_worker.store import records
from bakehouse_worker.tables import Record, table

_record = table(Record)


class Stack:
    """What feeding needs of a stack: the store, and to be tended."""

    def __init__(self, runtime):
        self.runtime, self.rung, self.tended = runtime, [], 0

    def tend(self):
        self.tended += 1

    def ring(self, name):
        self.rung.append(name)


@pytest.fixture
def stack(world):
    return Stack(world.runtime)


def without_redis(runtime):
    """The same store, and a Redis where nobody listens."""
    return dataclasses.replace(
        runtime, settings=runtime.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    )


def lines(world, count, first=0):
    return [build(world.params(f"line {n}"), custom_id=f"r{n}", job="job") for n in range(first, first + count)]


def stored(world):
    with world.runtime.database.read() as connection:
        return list(connection.execute(select(_record.c.custom_id, _record.c.seq).order_by(_record.c.id)))


def test_records_are_in_the_store_in_order_and_none_is_in_the_inbox(world, stack, monkeypatch):
    monkeypatch.setattr(station, "RECORDS", 3)
    feed(stack, "job", lines(world, 8), 8, None, fresh=True)
    found = stored(world)
    assert [custom_id for custom_id, _ in found] == [f"r{n}" for n in range(8)]
    assert [seq for _, seq in found] == sorted({seq for _, seq in found})
    assert world.runtime.redis.xlen(world.runtime.keys.inbox) == 0
    assert (world.job().known, world.job().expected) == (8, 8)
    world.run_to_end()
    assert world.job().states["succeeded"] == 8


def test_chunk_is_rung_for_whenever_a_batch_is_full_and_at_the_end(make_world, monkeypatch):
    monkeypatch.setattr(station, "RECORDS", 2)
    world = make_world(max_batch_requests=4)
    stack = Stack(world.runtime)
    feed(stack, "job", lines(world, 9), 9, None, fresh=True)
    assert stack.rung == ["chunk"] * 3
    assert stack.tended == 5


def test_what_the_store_knows_is_not_written_again(world, stack):
    feed(stack, "job", lines(world, 5), 5, None, fresh=True)
    before = stored(world)
    feed(stack, "job", lines(world, 7), 7, None, fresh=False)
    assert stored(world)[:5] == before
    assert world.job().states == {"pending": 7}


def test_the_same_file_fed_twice_at_once_is_one_job(world, stack):
    for _ in range(2):
        feed(stack, "job", lines(world, 5), 5, None, fresh=True)
    assert world.job().states == {"pending": 5}


def test_a_database_that_goes_away_in_the_middle_costs_a_wait_and_no_record(world, stack, monkeypatch):
    monkeypatch.setattr(station, "RECORDS", 2)
    monkeypatch.setattr(station, "PAUSE", 0)
    calls, accept = [], records.accept

    def shaky(*arguments):
        calls.append(arguments)
        if len(calls) in (2, 3):
            raise OperationalError("INSERT", {}, Exception("the database is starting up"))
        done = accept(*arguments)
        if len(calls) == 5:  # committed, and the answer is lost
            raise OperationalError("COMMIT", {}, Exception("server closed the connection"))
        return done

    monkeypatch.setattr(records, "accept", shaky)
    feed(stack, "job", lines(world, 7), 7, None, fresh=True)
    assert [custom_id for custom_id, _ in stored(world)] == [f"r{n}" for n in range(7)]
    assert world.job().states == {"pending": 7}


def test_a_server_that_ended_with_the_command_that_had_it_costs_a_wait_until_another_one_is_there(world, monkeypatch):
    monkeypatch.setattr(station, "PAUSE", 0)

    class Joined(Stack):
        """It has the server of a command that has just ended; tended, it takes over."""

        def __init__(self, runtime):
            super().__init__(without_redis(runtime))
            self._own = runtime

        def tend(self):
            super().tend()
            self.runtime = self._own

    stack = Joined(world.runtime)
    feed(stack, "job", lines(world, 3), 3, None, fresh=True)
    assert world.job().states == {"pending": 3}


def test_a_redis_that_stays_away_is_one_sentence_and_the_same_command_goes_on(world, monkeypatch):
    monkeypatch.setattr(station, "PAUSE", 0)
    monkeypatch.setattr(station, "AWAY", 0)
    with pytest.raises(
        BakehouseError, match=r"Redis has not answered .*BAKEHOUSE_REDIS_URL .*the same command goes on"
    ):
        feed(Stack(without_redis(world.runtime)), "job", lines(world, 3), 3, None, fresh=True)
    feed(Stack(world.runtime), "job", lines(world, 3), 3, None, fresh=True)
    assert world.job().states == {"pending": 3}


def test_any_other_error_ends_the_command(world, stack, monkeypatch):
    monkeypatch.setattr(records, "accept", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        feed(stack, "job", lines(world, 1), 1, None, fresh=True)


def test_a_record_that_cannot_be_accepted_is_rejected_and_the_others_are_not(world, stack):
    feed(stack, "job", lines(world, 3), 3, None, fresh=True)
    other = [build(world.params("another body"), custom_id="r1", job="job"), *lines(world, 2, first=3)]
    feed(stack, "job", other, 5, None, fresh=False)
    assert world.job().states == {"pending": 5, "rejected": 1}


def test_a_canary_goes_ahead_of_a_file(world, stack):
    feed(stack, "job", lines(world, 6), 6, 2, fresh=True)
    chunk(world.runtime)
    assert world.job().states == {"packed": 2, "pending": 4}


def test_few_large_records_are_one_transaction_each(world, stack, monkeypatch):
    monkeypatch.setattr(station, "BYTES", 10)
    commits = []
    event.listen(world.runtime.database.engine, "commit", lambda _: commits.append(1))
    few = len(commits)
    feed(stack, "job", lines(world, 4), 4, None, fresh=True)
    assert len(commits) - few >= 4
    assert stack.tended == 4


@pytest.mark.parametrize("dice", [0.0, 0.5, 0.999999])
def test_no_id_of_a_fed_record_is_one_that_redis_gives(dice):
    entries = station._entries(1_800_000_000_000, [types.SimpleNamespace()] * station.RECORDS, dice)
    numbers = [int(entry.entry_id.partition("-")[2]) for entry in entries]
    assert min(numbers) >= station.FIRST
    assert max(numbers) < station.NUMBERS
    assert numbers == sorted(set(numbers))
