"""Records with the answer that counts: by custom_id, one after the other, or as they end. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, case, null, select

from bakehouse_worker.states import TERMINAL, RecordState
from bakehouse_worker.store import bulk, tombstones
from bakehouse_worker.store.database import Database, spans
from bakehouse_worker.tables import Body, Job, Record, Result, table

_record, _body, _job, _result = (table(m) for m in (Record, Body, Job, Result))

#: Seconds that a transaction may take from its look at the clock to its commit, for `settled` to miss nothing of it.
OVERLAP = 30.0
#: Bytes of answers that are read at a time, about, and the records that are read first, to learn how large theirs are.
BYTES, FIRST = 8_000_000, 50


class Row(NamedTuple):
    """One record's end, or its present, with what the API said of its latest sending.

    `line` is the API's; empty after pruning or erasing, None if it was never sent. A pruned record has neither id nor sendings any
    more: 0. `metadata` is only there where it was asked for.
    """

    record_id: int
    generation: int
    job: str
    custom_id: str
    state: str
    digest: str
    sendings: int
    settled_at: float | None
    content_gone_at: float | None
    erased_at: float | None
    kind: str | None = None
    error_type: str | None = None
    error: str | None = None
    request_id: str | None = None
    stop_reason: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_read_tokens: int | None = None
    cost: float | None = None
    line: bytes | None = None
    metadata: bytes | None = None


_RESULT = (
    *("kind", "error_type", "error", "request_id", "stop_reason", "model"),
    *("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens", "cost", "line"),
)
_COLUMNS: tuple[ColumnElement[Any], ...] = (
    _record.c.id,
    _record.c.generation,
    _job.c.name,
    _record.c.custom_id,
    _record.c.state,
    _record.c.digest,
    # one that was canceled while it waited was not sent again
    case(
        ((_record.c.state == RecordState.CANCELED) & _result.c.record_id.is_(None), _record.c.attempt),
        else_=_record.c.attempt + 1,
    ),
    _record.c.settled_at,
    _record.c.content_gone_at,
    _record.c.erased_at,
    *(_result.c[name] for name in _RESULT),
)


#: Columns of a Row that say nothing of the answer but the API's line itself.
_BRIEF = 10
#: Columns of a whole Row: the last is for the metadata.
_WIDTH = len(_COLUMNS) + 1


def brief(values: Any) -> Row:
    """Make a Row of a query whose last column is the line; what else the result has is None."""
    return Row(*values[:_BRIEF], line=values[_BRIEF])  # type: ignore[misc]


def query(*, lines: bool = False) -> Select[Any]:
    """Return the SELECT of rows for `row`, or for `brief` with `lines`, to be narrowed."""
    latest = (_result.c.record_id == _record.c.id) & (_result.c.attempt == _record.c.attempt)
    columns = (*_COLUMNS[:_BRIEF], _result.c.line) if lines else (*_COLUMNS, null())
    return select(*columns).select_from(_record).join(_job, _job.c.id == _record.c.job_id).outerjoin(_result, latest)


def row(values: Any) -> Row:
    """Make a Row of what a `query` returned; columns behind its own are left alone."""
    return Row._make(values[:_WIDTH])


def with_metadata(database: Database, connection: Connection, rows: Sequence[Row]) -> Sequence[Row]:
    """Return rows with what their records were enqueued with.

    It lies behind the params, so it is read by itself: an index finds those that have any.
    """
    asked = {"ids": bulk.ids(database.sqlite, [each.record_id for each in rows])}
    found = {(record_id, of): told for record_id, of, told in connection.execute(_metadata(database.sqlite), asked)}
    if not found:
        return rows
    return [each._replace(metadata=found.get((each.record_id, each.generation))) for each in rows]


@cache
def _metadata(sqlite: bool) -> Select[Any]:
    """Make the statement once for each database."""
    there = bulk.bound(sqlite, _body.c.record_id, "ids") & _body.c.metadata_json.is_not(None)
    return select(_body.c.record_id, _body.c.generation, _body.c.metadata_json).where(there)


def by_custom_id(
    database: Database, job_id: int, job: str, custom_ids: Sequence[str], *, metadata: bool = False, lines: bool = False
) -> dict[str, Row]:
    """Return {custom_id: where it stands, or stood when it was pruned} for at most a few hundred custom_ids.

    With `lines`, the line is all that is told of a result.
    """
    with database.read() as connection:
        asked = bulk.listed(connection, custom_ids)
        mine = (_record.c.job_id == job_id) & (_record.c.custom_id == asked.c.value)
        ids = connection.scalars(select(select(_record.c.id).where(mine).scalar_subquery()).select_from(asked))
        wanted = bulk.among(connection, _record.c.id, [each for each in ids if each is not None])
        rows: Sequence[Row] = [*map(brief if lines else row, connection.execute(query(lines=lines).where(wanted)))]
        if metadata:
            rows = with_metadata(database, connection, rows)
    found = {each.custom_id: each for each in rows}
    missing = [custom_id for custom_id in custom_ids if custom_id not in found]
    for custom_id, stone in tombstones.known(database, job_id, missing).items() if missing else ():
        gone = stone.pruned_at
        found[custom_id] = Row(0, 0, job, custom_id, stone.state, stone.digest, 0, None, gone, None)
    return found


def iterate(
    database: Database,
    job_id: int,
    *,
    span: int = 500,
    states: Sequence[str] = TERMINAL,
    since: float = 0.0,
    metadata: bool = False,
) -> Iterator[Row]:
    """Yield a job's records in some states, in the order of acceptance; memory does not grow with their number.

    With `since`, seconds since 1970, only those that ended then or later.
    """
    after, most, span = 0, span, min(span, FIRST)
    wanted = query().where(_record.c.job_id == job_id, _record.c.state.in_(states))
    if since:
        wanted = wanted.where(_record.c.settled_at >= since)
    while True:
        part = wanted.where(_record.c.id > after).order_by(_record.c.id).limit(span)
        with database.read() as connection:
            rows: Sequence[Row] = [row(values) for values in connection.execute(part)]
            if metadata:
                rows = with_metadata(database, connection, rows)
        yield from rows
        if len(rows) < span:
            return
        after = rows[-1].record_id
        size = sum(len(each.line or b"") for each in rows) / span
        span = max(1, min(most, 2 * span, int(BYTES / max(1.0, size))))


def settled(database: Database, job_id: int, since: float, span: int = 5_000) -> Iterator[tuple[int, int, int, float]]:
    """Yield (record id, generation, attempt, when) of what ended of a job at or after a time, in the order of the ends.

    Transactions commit in another order than they look at the clock: a follower goes back by OVERLAP and leaves out what it had.
    """
    at, after = since, 0
    columns = (_record.c.id, _record.c.generation, _record.c.attempt, _record.c.settled_at)
    of_job = _record.c.job_id + 0 == job_id  # not by an index of the job, which would sort all of it at every look
    there = _record.c.settled_at.is_not(None) & _record.c.content_gone_at.is_(None)
    wanted = select(*columns).where(there, of_job)
    while True:
        later = (_record.c.settled_at > at) | ((_record.c.settled_at == at) & (_record.c.id > after))
        part = wanted.where(_record.c.settled_at >= at, later).order_by(_record.c.settled_at, _record.c.id).limit(span)
        with database.read() as connection:
            rows = [(each[0], each[1], each[2], each[3]) for each in connection.execute(part)]
        yield from rows
        if len(rows) < span:
            return
        after, at = rows[-1][0], rows[-1][3]


def by_id(database: Database, ids: Sequence[int]) -> Iterator[Row]:
    """Yield records by their ids, in this order; those that are pruned are left out."""
    for part in spans(ids, 500):
        with database.read() as connection:
            found = {
                each.record_id: each
                for each in map(row, connection.execute(query().where(bulk.among(connection, _record.c.id, part))))
            }
        yield from (found[record_id] for record_id in part if record_id in found)
