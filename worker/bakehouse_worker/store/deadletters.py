"""Records that ended badly, sent again as new generations or dropped: a span per call, each one transaction.

A verb moves only those of its records that still stand as they did when they were chosen (`deadlist.choose`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, case, insert, literal, select, update

from bakehouse_worker.rewriting import Changes
from bakehouse_worker.states import RecordState
from bakehouse_worker.store import deadlist, lanes
from bakehouse_worker.store.caveats import Caveats
from bakehouse_worker.store.counters import Deltas
from bakehouse_worker.store.database import Database, spans
from bakehouse_worker.store.records import start_again
from bakehouse_worker.tables import Body, Job, Lane, Record, table

_record, _body, _job, _lane = (table(m) for m in (Record, Body, Job, Lane))

#: Bytes of params in memory at a time.
PIECE = 8_000_000


def requeue_failed(database: Database, job: str) -> int:
    """Send every failed record of a job again, as a new generation with all its attempts; returns how many.

    One whose content was pruned or erased has nothing to send, and stays failed.
    """
    chosen = deadlist.choose(database, deadlist.Selection(job=job))
    return sum(requeue(database, part, RecordState.FAILED) for part in spans(chosen.failed))


def requeue(database: Database, ids: Sequence[int], state: RecordState, changes: Changes | None = None) -> int:
    """Make a new generation of each of these records that still stands in `state`, `pending` in the end; returns how many.

    What succeeded loses its caveat, and an outcome that was not delivered yet is withdrawn: the new one is told instead.
    """
    now, deltas, odd_ones = database.now(), Deltas(), Caveats()
    with database.write() as connection:
        if state is RecordState.PENDING:
            database.exclusive(connection, "pack")  # no packer takes what is rewritten here
        rows = _locked(connection, ids, state)
        mine = [row.id for row in rows]
        if not mine:
            return 0
        if state is RecordState.SUCCEEDED:
            odd_ones.go(connection, mine)
        if changes is None:
            _same_bodies(connection, mine, state)
        else:
            _new_bodies(database, connection, rows, state, changes)
        if state is RecordState.PENDING:
            _rewritten(connection, mine, now)
        else:
            start_again(connection, mine, now, generation=_record.c.generation + 1)
            deltas.move([row.job_id for row in rows], state, RecordState.PENDING)
        odd_ones.write(database, connection)
        deltas.write(database, connection)
    return len(mine)


def _locked(connection: Connection, ids: Sequence[int], state: RecordState) -> Sequence[Any]:
    columns = (_record.c.id, _record.c.job_id, _record.c.lane_id, _record.c.bytes, _record.c.model)
    mine = _record.c.id.in_(list(ids)) & (_record.c.state == state) & _record.c.content_gone_at.is_(None)
    return connection.execute(select(*columns).where(mine).order_by(_record.c.id).with_for_update()).all()


def _rewritten(connection: Connection, ids: Sequence[int], now: float) -> None:
    """What waits keeps its place and its attempt, which was not sent; what backs off is due now."""
    due = case((_record.c.next_at > now, now), else_=_record.c.next_at)
    values = {"generation": _record.c.generation + 1, "failures": 0, "expiries": 0, "next_at": due}
    connection.execute(update(_record).where(_record.c.id.in_(ids)).values(values))


def _first_attempt(state: RecordState) -> Any:
    return _record.c.attempt + literal(0 if state is RecordState.PENDING else 1)


_LATEST = (_record.c.id == _body.c.record_id) & (_record.c.generation == _body.c.generation)


def _same_bodies(connection: Connection, ids: Sequence[int], state: RecordState) -> None:
    columns = {
        "record_id": _body.c.record_id,
        "generation": _body.c.generation + 1,
        "params": _body.c.params,
        "metadata_json": _body.c.metadata_json,
        "first_attempt": _first_attempt(state),
    }
    latest = select(*columns.values()).join(_record, _LATEST).where(_record.c.id.in_(ids))
    connection.execute(insert(_body).from_select(list(columns), latest))


def _new_bodies(
    database: Database, connection: Connection, rows: Sequence[Any], state: RecordState, changes: Changes
) -> None:
    """Write changed bodies, a piece of them in memory at a time, and bring their records' columns after them."""
    lane_of = _lanes(database, connection, {row.lane_id for row in rows}, changes.model)
    columns = (_record.c.id, _body.c.generation, _body.c.params, _body.c.metadata_json)
    latest = select(*columns, _first_attempt(state).label("first_attempt")).join(_record, _LATEST)
    by_id = {row.id: row for row in rows}
    for piece in _pieces(rows):
        bodies, values = [], []
        for row in connection.execute(latest.where(_record.c.id.in_(piece))):
            params, old = changes.apply(row.params), by_id[row.id]
            body = {"record_id": row.id, "generation": row.generation + 1, "params": params}
            bodies.append({**body, "metadata_json": row.metadata_json, "first_attempt": row.first_attempt})
            model, lane = changes.model or old.model, lane_of.get(old.lane_id, old.lane_id)
            values.append({"mine": row.id, "bytes": len(params), "model": model, "lane_id": lane})
        if bodies:
            connection.execute(insert(_body), bodies)
            changed: dict[str, Any] = {name: bindparam(name) for name in ("bytes", "model", "lane_id")}
            connection.execute(update(_record).where(_record.c.id == bindparam("mine")).values(changed), values)


def _lanes(database: Database, connection: Connection, lane_ids: set[int], model: str | None) -> dict[int, int]:
    """Return {lane: the lane that differs from it in the model alone}, made where there was none; empty without a model."""
    if model is None:
        return {}
    query = select(_lane, _job.c.name).join(_job, _job.c.id == _lane.c.job_id).where(_lane.c.id.in_(lane_ids))
    rows = connection.execute(query).all()
    wanted: dict[int, lanes.Common] = {
        row.id: (row.name, row.priority, row.api_version, row.betas, row.on_result, model) for row in rows
    }
    found = lanes.lanes(database, connection, {row.name: row.job_id for row in rows}, set(wanted.values()))
    return {lane_id: found[common] for lane_id, common in wanted.items()}


def _pieces(rows: Sequence[Any]) -> Iterator[list[int]]:
    piece: list[int] = []
    size = 0
    for row in rows:
        if piece and size + row.bytes > PIECE:
            yield piece
            piece, size = [], 0
        piece.append(row.id)
        size += row.bytes
    if piece:
        yield piece


def drop(database: Database, ids: Sequence[int]) -> int:
    """Make those of these records that failed `canceled`; what is known of them stays. Returns how many."""
    deltas = Deltas()
    with database.write() as connection:
        mine = _record.c.id.in_(list(ids)) & (_record.c.state == RecordState.FAILED)
        moved = update(_record).where(mine).values(state=RecordState.CANCELED).returning(_record.c.job_id)
        jobs = list(connection.scalars(moved))
        deltas.move(jobs, RecordState.FAILED, RecordState.CANCELED)
        deltas.write(database, connection)
    return len(jobs)
