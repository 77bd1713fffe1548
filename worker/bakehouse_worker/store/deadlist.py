"""Which records failed, and which answers are not what was asked: by reason, and chosen by their ids. Nothing here writes."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, func, literal, select, text

from bakehouse_worker.states import RecordState
from bakehouse_worker.store.caveats import REASONS
from bakehouse_worker.store.database import Database, spans
from bakehouse_worker.tables import CAVEAT, Caveat, Counter, Job, Lane, Record, Result, table

_record, _job, _lane = (table(m) for m in (Record, Job, Lane))
_result, _caveat, _counter = (table(m) for m in (Result, Caveat, Counter))

#: The reason of a failed record whose answer was pruned.
PRUNED = "pruned"

_CURRENT = (_result.c.record_id == _record.c.id) & (_result.c.attempt == _record.c.attempt)
_FAILURE = func.coalesce(_result.c.error_type, _result.c.kind, PRUNED)
_ODDITY = func.coalesce(_result.c.error_type, _result.c.stop_reason)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters: those that meet everything that is given. With nothing given, all that failed."""

    custom_ids: tuple[str, ...] = ()
    job: str | None = None
    reason: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Records of one job with one reason, and one of them with its message."""

    job: str
    reason: str
    records: int
    example: str
    message: str | None


@dataclass(slots=True)
class Chosen:
    """Ids of the records that a selection met, by their state; and how many it met whose content is gone."""

    failed: array[int] = field(default_factory=lambda: array("q"))
    succeeded: array[int] = field(default_factory=lambda: array("q"))
    pending: array[int] = field(default_factory=lambda: array("q"))
    erased: int = 0
    pruned: int = 0

    @property
    def records(self) -> int:
        """All that can be moved."""
        return len(self.failed) + len(self.succeeded) + len(self.pending)


def failed(database: Database, job: str | None = None) -> list[Group]:
    """Return failed records by job and reason, the most frequent of each job first."""
    query = (
        select(_record.c.job_id, _FAILURE, func.count(), func.min(_record.c.id))
        .outerjoin(_result, _CURRENT)
        .where(_record.c.state == RecordState.FAILED)
        .group_by(_record.c.job_id, _FAILURE)
        .order_by(_record.c.job_id, func.count().desc(), _FAILURE)
    )
    example = select(_record.c.custom_id, _result.c.error).outerjoin(_result, _CURRENT)
    with database.read() as connection:
        names = _names(connection, job)
        rows = connection.execute(query.where(_record.c.job_id.in_(names)) if job else query).all()
        return [
            Group(names[job_id], reason, count, *connection.execute(example.where(_record.c.id == one)).one())
            for job_id, reason, count, one in rows
        ]


def odd(database: Database, job: str | None = None) -> list[Group]:
    """Return answers that are not what was asked, by job and reason; costs a look per reason, not per record."""
    query = select(_caveat).where(_caveat.c.records > 0).order_by(_caveat.c.job_id, _caveat.c.records.desc())
    found = []
    with database.read() as connection:
        names = _names(connection, job)
        for row in connection.execute(query.order_by(_caveat.c.reason)).all():
            if row.job_id in names:
                one = _oddities(row.reason).where(_record.c.job_id == row.job_id).limit(1)
                example = connection.scalar(one.with_only_columns(_record.c.custom_id)) or ""
                found.append(Group(names[row.job_id], row.reason, row.records, example, None))
    return found


def waiting_behind(database: Database, model: str | None, job: str | None) -> int:
    """Return how many pending records a model or a job has."""
    if model is None:
        query = select(func.coalesce(func.sum(_counter.c.records), 0)).join(_job, _job.c.id == _counter.c.job_id)
        query = query.where(_counter.c.state == RecordState.PENDING, _job.c.name == job)
    else:
        query = _pending(model).with_only_columns(func.count())
    with database.read() as connection:
        return int(connection.scalar(query) or 0)


def choose(
    database: Database, wanted: Selection, *, succeeded: bool = False, pending: bool = False, gone: bool = False
) -> Chosen:
    """Note the failed records that a selection meets.

    If asked for, also those that succeeded with its reason, the pending ones, and those whose content is gone.
    """
    chosen = Chosen()
    failures = select(_record.c.id).outerjoin(_result, _CURRENT).where(_record.c.state == RecordState.FAILED)
    if wanted.reason is not None:
        failures = failures.where(literal(wanted.reason) == _FAILURE)
    with database.read() as connection:
        names = _names(connection, wanted.job) if wanted.job is not None else None
        for part in spans(wanted.custom_ids) if wanted.custom_ids else [()]:
            for query, ids in (
                (failures, chosen.failed),
                (_oddities(wanted.reason) if succeeded and wanted.reason in REASONS else None, chosen.succeeded),
                (_pending(wanted.model) if pending else None, chosen.pending),
            ):
                if query is not None:
                    _note(connection, _narrowed(query, wanted, part, names), ids, None if gone else chosen)
    return chosen


def _narrowed(query: Select[Any], wanted: Selection, part: Sequence[str], names: dict[int, str] | None) -> Select[Any]:
    if names is not None:
        query = query.where(_record.c.job_id.in_(names))
    if wanted.model is not None:
        query = query.where(_record.c.model == wanted.model)
    if part:
        query = query.where(_record.c.custom_id.in_(part))
    return query


def _note(connection: Connection, query: Select[Any], ids: array[int], chosen: Chosen | None) -> None:
    """Note ids; those of records without content are counted in `chosen` instead, if it is given."""
    columns = query.with_only_columns(_record.c.id, _record.c.content_gone_at, _record.c.erased_at)
    for record_id, gone, erased in connection.execute(columns, execution_options={"yield_per": 10_000}):
        if gone is None or chosen is None:
            ids.append(record_id)
        elif erased is not None:
            chosen.erased += 1
        else:
            chosen.pruned += 1


def _oddities(reason: str | None) -> Select[Any]:
    query = select(_record.c.id).select_from(_result).join(_record, _CURRENT).order_by(_result.c.record_id)
    return query.where(text(CAVEAT), literal(reason) == _ODDITY, _record.c.state == RecordState.SUCCEEDED)


def _pending(model: str | None) -> Select[Any]:
    """A lane from before 0002 names no model and may hold several."""
    query = select(_record.c.id).select_from(_record).join(_lane, _lane.c.id == _record.c.lane_id)
    if model is not None:
        query = query.where(_lane.c.model.in_((model, "")), _record.c.model == model)
    return query.where(_record.c.state == RecordState.PENDING)


def _names(connection: Connection, job: str | None) -> dict[int, str]:
    query = select(_job.c.id, _job.c.name)
    rows = connection.execute(query if job is None else query.where(_job.c.name == job))
    return {job_id: name for job_id, name in rows}


def terms(database: Database, chosen: Chosen) -> tuple[set[str], int]:
    """Return the API versions of what was chosen, and the most bytes that one of its params has."""
    versions, most = set(), 0
    query = select(_lane.c.api_version, func.max(_record.c.bytes)).join(_lane, _lane.c.id == _record.c.lane_id)
    with database.read() as connection:
        for ids in (chosen.failed, chosen.succeeded, chosen.pending):
            for part in spans(ids):
                found = query.where(_record.c.id.in_(list(part))).group_by(_lane.c.api_version)
                for version, size in connection.execute(found):
                    versions.add(version)
                    most = max(most, size)
    return versions, most
