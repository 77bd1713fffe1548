"""Clocks that a test may set: those of processes, and the one of a PostgreSQL database. Time since boot goes on as it is."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import psycopg
import pytest

_SERVER = (
    "CREATE TABLE wall (ahead float8)",
    "INSERT INTO wall VALUES (0)",
    (
        "CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
        "'SELECT pg_catalog.clock_timestamp() + ahead * interval ''1 second'' FROM wall'"
    ),
)


def faketime() -> Path | None:
    """The library that stands between a process and the machine's clock, from the package libfaketime; None if it is not there."""
    found = importlib.util.find_spec("libfaketime")
    file = Path(str(found.origin)).parent / "vendor/libfaketime/src/libfaketime.so.1" if found else None
    return file if file is not None and file.exists() else None


class Wall:
    """The clock on the wall as processes see it that are started with `env`, and as a database sees it that was `joined`."""

    def __init__(self, file: Path) -> None:
        self._file, self._url, self._ahead = file, "", 0.0
        self.env = {
            "LD_PRELOAD": str(_needed()),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self._tell()

    def join(self, url: str) -> None:
        """Let a PostgreSQL database tell this wall's time too."""
        self._url = url
        with psycopg.connect(url, autocommit=True) as connection:
            name = connection.info.dbname
            for statement in (*_SERVER, f"ALTER DATABASE {name} SET search_path = public, pg_catalog"):
                connection.execute(statement.encode())

    def leave(self) -> None:
        """Show the machine's time again, and let the database go."""
        self._url, self._ahead = "", 0.0
        self._tell()

    def step(self, seconds: float) -> None:
        """Set the clock forward, or back."""
        self._ahead += seconds
        self._tell()

    def _tell(self) -> None:
        fresh = self._file.with_suffix(".fresh")
        fresh.write_text(f"{self._ahead:+.0f}\n")
        fresh.replace(self._file)
        if self._url:
            with psycopg.connect(self._url, autocommit=True) as connection:
                connection.execute("UPDATE wall SET ahead = %s", (self._ahead,))


def _needed() -> Path:
    file = faketime()
    if file is None and not os.environ.get("CI"):
        pytest.skip("no clock to set: pip install libfaketime, on Linux")
    assert file is not None, "the package libfaketime is missing"
    return file
