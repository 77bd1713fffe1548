"""`bakehouse export`: what its options mean, and the loop behind it. `export.py` makes the lines."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from bakehouse import ConfigurationError
from bakehouse_worker import export
from bakehouse_worker.states import TERMINAL
from bakehouse_worker.store import outcomes, reading
from bakehouse_worker.store.database import Database
from bakehouse_worker.store.outcomes import Row

#: Seconds between two looks for new answers.
LOOK = 0.5

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be written. `since` is in seconds since 1970."""

    csv: bool
    states: tuple[str, ...]
    since: float
    follow: bool


def options(
    form: str, statuses: Sequence[str], since: str | None, *, follow: bool, output: Path | None, now: float
) -> Wanted:
    """Read the options. Raises ConfigurationError, one sentence, for what makes no sense."""
    if form not in ("jsonl", "csv"):
        raise ConfigurationError(f"--format is jsonl or csv, not {form!r}")
    if unknown := next((status for status in statuses if status not in TERMINAL), None):
        raise ConfigurationError(f"--status is {', '.join(TERMINAL[:-1])} or {TERMINAL[-1]}, not {unknown!r}")
    if follow and output is not None:
        raise ConfigurationError("--follow writes to standard output: redirect it (> FILE) instead of --output")
    return Wanted(form == "csv", tuple(statuses) or TERMINAL, 0.0 if since is None else _since(since, now), follow)


def _since(text: str, now: float) -> float:
    if ago := _AGO.fullmatch(text):
        return now - float(ago.group(1)) * _UNITS[ago.group(2)]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ConfigurationError(
            f"--since takes a time ago (90m, 12h, 7d) or a date and time (2026-11-21T18:00), not {text!r}"
        ) from None


def write(database: Database, job: str, wanted: Wanted, file: IO[bytes]) -> int:
    """Write what is wanted of a job; returns how many records. What is followed is written at once."""
    if wanted.csv:
        file.write(export.csv_head())
    line, written = export.csv_row if wanted.csv else export.line, 0
    for row in _rows(database, job, wanted):
        file.write(line(row))
        written += 1
        if wanted.follow:
            file.flush()
    return written


def write_file(database: Database, job: str, wanted: Wanted, path: Path) -> int:
    """Write a file that appears whole or not at all; returns how many records are in it."""
    with export.whole_file(path) as file:
        return write(database, job, wanted, file)


def _rows(database: Database, job: str, wanted: Wanted) -> Iterator[Row]:
    if wanted.follow:
        _tell_if_unknown(database, job)
        return export.follow(database, job, wanted.since, lambda row: row.state in wanted.states, _pause)
    [view] = reading.jobs(database, job)
    return outcomes.iterate(database, view.id, states=wanted.states, since=wanted.since)


def _tell_if_unknown(database: Database, job: str) -> None:
    """A job may be followed before its first record is accepted; a mistyped one would be followed for ever."""
    if not reading.some_jobs(database, [job]):
        sys.stderr.write(f"bakehouse: no job {job!r} is known yet; waiting for it (Ctrl-C ends)\n")


def _pause() -> None:
    sys.stdout.flush()
    time.sleep(LOOK)
