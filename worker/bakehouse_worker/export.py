"""Answers back into a file, one line per record: JSONL, `{"custom_id", "result": {as the API's}, "attempts"}`, or CSV."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO

import orjson

from bakehouse import ConfigurationError
from bakehouse_worker.outcomes import outcome
from bakehouse_worker.states import TERMINAL, RecordState
from bakehouse_worker.store import outcomes, reading
from bakehouse_worker.store.database import Database
from bakehouse_worker.store.outcomes import Row

#: Records per read of the store, and of a follower's look at what has ended.
SPAN, FOLLOWED = 1_000, 5_000


def in_order(database: Database, job_id: int, job: str, custom_ids: Iterable[str]) -> Iterator[tuple[bytes, bool]]:
    """Yield (line, whether it succeeded) per custom_id, in their order; one that was rejected on acceptance says so."""
    remaining = iter(custom_ids)
    while span := list(islice(remaining, SPAN)):
        found = outcomes.by_custom_id(database, job_id, job, span, lines=True)
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


#: The columns of a CSV.
COLUMNS = (
    *("job", "custom_id", "status", "text", "stop_reason", "error_type", "error", "attempts", "model"),
    *("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens", "cost", "ended_at"),
)


def csv_row(row: Row) -> bytes:
    """Return a record's line of a CSV under COLUMNS: text as the answer has it, cost in USD, the end as UTC in ISO 8601."""
    told = outcome(row, "")
    usage, error = told.usage, told.error
    ended = "" if row.settled_at is None else datetime.fromtimestamp(row.settled_at, UTC).isoformat(timespec="seconds")
    return _csv(
        (
            *(told.job, told.custom_id, told.status, told.text, told.stop_reason),
            *((error.type, error.message) if error else ("", "")),
            *(told.attempts, told.model),
            *(
                (usage.input_tokens, usage.output_tokens, usage.cache_write_tokens, usage.cache_read_tokens)
                if usage
                else [""] * 4
            ),
            *("" if told.cost is None else f"{told.cost:.8f}", ended),
        )
    )


def csv_head() -> bytes:
    """Return the first line of a CSV."""
    return _csv(COLUMNS)


def _csv(cells: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def follow(
    database: Database, job: str, since: float, wanted: Callable[[Row], bool], pause: Callable[[], None]
) -> Iterator[Row]:
    """Yield a job's records as they end, until it is closed and done; `pause` is called where there is nothing new.

    What ended before `since` (seconds since 1970) is left out. One that ends again, after a requeue, comes again.
    """
    told: dict[tuple[int, int, int], float] = {}
    while True:
        views = reading.some_jobs(database, [job])
        done = bool(views) and views[0].expected is not None and views[0].expected <= views[0].known == views[0].ended
        start = max(since, max(told.values(), default=0.0) - outcomes.OVERLAP)
        ended = outcomes.settled(database, views[0].id, start) if views else iter(())
        came = False
        while part := list(islice(ended, FOLLOWED)):
            new = {each[:3]: each[3] for each in part if each[:3] not in told}
            yield from filter(wanted, outcomes.by_id(database, [record_id for record_id, _, _ in new]))
            latest = part[-1][3]  # they come by time: of what is older, nothing comes again
            told = {key: at for key, at in (told | new).items() if at >= latest - outcomes.OVERLAP}
            came = came or bool(new)
        if done and not came:
            return
        if not came:
            pause()


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
