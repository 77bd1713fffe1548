"""The clock that leases, backoff and grace are measured by. It goes on evenly when somebody sets the machine's clock.

A clock set back by an hour would make everything wait for an hour; one set forward would end the grace of a create that is still on
its way. What never jumps is the time since the machine started, and both clocks here hold the wall's time against it. It is known
where a machine tells its start (Linux); elsewhere the wall's time is taken as it is. A wall that is wrong by more than a day is
followed: a machine that started in the wrong year must not stay there.
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path

from sqlalchemy import Engine, column, select, text
from sqlalchemy import table as lightweight
from sqlalchemy.exc import ProgrammingError

#: Seconds by which a clock must jump before it counts as set.
STEP = 5.0
DAY = 86_400.0
#: Seconds between two times that a process tells the others of its machine what it sees.
REFRESH = 60.0
#: Where PostgreSQL's installations keep by how many seconds its clock was set forward since (less than 0: back).
STEPPED = "clock_stepped"


@cache
def boot() -> str | None:
    """Return what names this start of the machine; None if the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def since_boot() -> float:
    """Return the seconds since the machine started, its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class _Shared:
    """What the processes of one machine tell each other: two numbers, and during which start of the machine they were told."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> tuple[str, float, float]:
        """Return (start of the machine, two numbers); an empty name if nothing readable is there."""
        try:
            name, one, other = self._file.read_text().split()
            return name, float(one), float(other)
        except (OSError, ValueError):
            return "", 0.0, 0.0

    def write(self, name: str, one: float, other: float) -> None:
        """Put the file there in one piece. Without a place for it, each process is on its own."""
        fresh = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        try:
            fresh.write_text(f"{name} {one!r} {other!r}\n")
            fresh.replace(self._file)
        except OSError:
            fresh.unlink(missing_ok=True)


class LocalClock:
    """SQLite's clock: one machine, whose processes agree by a file beside the database.

    The file holds the machine's start, the wall's time at that start, and by how much this clock is ahead of the wall.
    """

    def __init__(self, file: Path) -> None:
        self._shared = _Shared(file)
        self._started: float | None = None

    def now(self) -> float:
        """Return seconds since 1970, as the wall told them when the machine's clock was last trusted."""
        if boot() is None:
            return time.time()
        if self._started is None or abs(time.time() - since_boot() - self._started) > DAY:
            self._started = self._agree(str(boot()))
        return self._started + since_boot()

    def _agree(self, name: str) -> float:
        wall = time.time() - since_boot()
        held, started, ahead = self._shared.read()
        if held == name and abs(started - wall) <= DAY:
            if abs(started - wall - ahead) > STEP:
                self._shared.write(name, started, started - wall)
            return started
        ahead = 0.0 if held == name or abs(ahead) > DAY else ahead  # after a restart it goes on from where it was
        self._shared.write(name, wall + ahead, ahead)
        return wall + ahead


class ServerClock:
    """PostgreSQL's clock, which all hosts share. Whoever first sees it jump notes by how much, and every process reads that note.

    A process that finds the note changed takes the new time without judging it, so that two hosts never correct each other. One that
    has just started knows from a file in its data directory what the others of its machine saw.
    """

    def __init__(self, engine: Engine, file: Path) -> None:
        self._engine = engine
        self._shared = _Shared(file)
        self._seen: tuple[float, float] | None = None  # the note, and what time it was when this machine started
        self._told = 0.0  # when the file was written last, in seconds since the machine's start

    def now(self) -> float:
        """Return seconds since 1970, as the server told them before it was set."""
        name = boot()
        before = since_boot() if name else 0.0
        wall, noted = self._ask()
        if name is None:
            return wall - noted
        after = since_boot()
        if self._seen is None:
            held, *seen = self._shared.read()
            self._seen = (seen[0], seen[1]) if held == name else None
        now = wall - noted
        if self._seen and self._seen[0] == noted and (jump := _jump(self._seen[1], now - after, now - before)):
            noted = self._note(noted, jump)
            now = wall - noted
        if after - before < STEP / 10:  # a slow answer tells little
            changed = self._seen is None or self._seen[0] != noted
            self._seen = noted, now - after
            if changed or after - self._told > REFRESH:  # clocks drift apart, slowly
                self._told = after
                self._shared.write(name, *self._seen)
        return now

    def _ask(self) -> tuple[float, float]:
        meta = lightweight("meta", column("key"), column("value"))
        wall = text("extract(epoch FROM clock_timestamp())::float8")
        note = select(meta.c.value).where(meta.c.key == STEPPED).scalar_subquery()
        with self._engine.connect() as connection:
            try:
                row = connection.execute(select(wall, note)).one()
            except ProgrammingError:  # no tables yet
                connection.rollback()
                row = connection.execute(select(wall, text("NULL"))).one()
            return float(row[0]), float(row[1] or 0.0)

    def _note(self, noted: float, jump: float) -> float:
        """Note the jump unless another process was faster; returns what is noted now."""
        meta = lightweight("meta", column("key"), column("value"))
        with self._engine.connect() as connection, connection.begin():
            told = {"key": STEPPED, "old": repr(noted), "new": repr(noted + jump)}
            first = text("INSERT INTO meta (key, value) VALUES (:key, '0.0') ON CONFLICT DO NOTHING")
            connection.execute(first, {"key": STEPPED})
            connection.execute(text("UPDATE meta SET value = :new WHERE key = :key AND value = :old"), told)
            return float(connection.scalar(select(meta.c.value).where(meta.c.key == STEPPED)) or 0.0)


def _jump(expected: float, least: float, most: float) -> float:
    """Return by how much a clock was set that should stand at `expected` and stands between two times; 0 if it was not.

    Pure. A day and more is followed, not noted.
    """
    by = least - expected if least > expected else most - expected if most < expected else 0.0
    return by if STEP < abs(by) <= DAY else 0.0
