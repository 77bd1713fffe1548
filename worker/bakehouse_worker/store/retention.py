"""Deleting what need not be kept."""

from __future__ import annotations

from sqlalchemy import delete, select

from bakehouse_worker.store.database import SPAN, Database
from bakehouse_worker.tables import Body, Record, Result, table

_record, _body, _result = table(Record), table(Body), table(Result)


def drop_content(database: Database, before: float) -> int:
    """Delete bodies and answers of one span of records that ended before a time; returns how many records it was."""
    with database.write() as connection:
        ended = select(_record.c.id).join(_body, _body.c.record_id == _record.c.id).where(_record.c.settled_at < before)
        ids = list(connection.scalars(ended.distinct().limit(SPAN)))
        if ids:
            connection.execute(delete(_body).where(_body.c.record_id.in_(ids)))
            connection.execute(delete(_result).where(_result.c.record_id.in_(ids)))
        return len(ids)
