"""Answers back into a file: one line per record, `{"custom_id", "result": {as the API's}, "attempts"}`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO

import orjson

from bakehouse import ConfigurationError
from bakehouse_worker.states import TERMINAL, RecordState
from bakehouse_worker.store import outcomes, reading
from bakehouse_worker.store.database import Database
from bakehouse_worker.store.outcomes import Row

#: Records per read of the store.
SPAN = 500


def in_order(database: Database, job_id: int, job: str, custom_ids: Iterable[str]) -> Iterator[tuple[bytes, bool]]:
    """Yield (line, whether it succeeded) per custom_id, in their order; one that was rejected on acceptance says so."""
    remaining = iter(custom_ids)
    while span := list(islice(remaining, SPAN)):
        found = outcomes.by_custom_id(database, job_id, job, span)
        rejected = reading.rejected_among(database, job, span)
        for custom_id in span:
            reason = rejected.get(custom_id)
            if reason is not None or custom_id not in found:
                yield _rejected(custom_id, reason or "was not accepted"), False
            else:
                yield line(found[custom_id]), found[custom_id].state == RecordState.SUCCEEDED


def line(ending: Row) -> bytes:
    """Return a record's output line. The result is the API's own object, under the caller's custom_id."""
    result = orjson.loads(ending.line).get("result") if ending.line else None
    if result is None and ending.state == RecordState.CANCELED and ending.erased_at is None:
        result = {"type": "canceled"}  # as the API says it of those that it had
    if result is None:
        result = _error("erased" if ending.erased_at else "unavailable", _why_not(ending))
    return orjson.dumps({"custom_id": ending.custom_id, "result": result, "attempts": ending.sendings}) + b"\n"


def _why_not(ending: Row) -> str:
    if ending.erased_at is not None:
        at = datetime.fromtimestamp(ending.erased_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"its content was erased at {at} (it had the state {ending.state})"
    if ending.state in TERMINAL:
        return "its content is past its retention"
    return f"has not ended (it is {ending.state})"


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {(error.strerror or 'error').lower()}") from None
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise ConfigurationError now if the output could not be written later."""
    if path.is_dir():
        raise ConfigurationError(f"{path} is a directory; name a file for the output")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.exists():
            path.open("ab").close()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {(error.strerror or 'error').lower()}") from None


def _rejected(custom_id: str, reason: str) -> bytes:
    return orjson.dumps({"custom_id": custom_id, "result": _error("rejected", reason), "attempts": 0}) + b"\n"


def _error(error_type: str, message: str) -> dict[str, object]:
    return {"type": "errored", "error": {"type": "error", "error": {"type": error_type, "message": message}}}
