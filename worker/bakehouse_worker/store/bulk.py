"""Many rows in one statement of constant text: new ones, and lists of ids or names to look among.

SQLAlchemy's own INSERT and IN write every value into the statement, which costs more than the database does; and PostgreSQL plans
`IN` over a list for a table whose statistics are old so that every look walks through all of a job. Here a list is one bound value:
rows of a table of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Dialect,
    Table,
    Text,
    any_,
    bindparam,
    column,
    func,
    select,
)
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlmodel import SQLModel

from bakehouse_worker.tables import table


def insert(
    connection: Connection,
    model: type[SQLModel],
    columns: tuple[str, ...],
    rows: Sequence[tuple[Any, ...]],
    *,
    key: tuple[str, ...] = (),
) -> None:
    """Insert rows, each a tuple of values in the order of `columns`; those whose unique `key` is taken are left out.

    Values go to the driver as they are: an integer for a float column is a mistake, None is NULL.
    """
    if not rows:
        return
    statement = _statement(table(model), columns, key, connection.dialect)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(statement, list(map(tuple, rows)))
    else:
        connection.exec_driver_sql(statement, tuple(map(list, zip(*rows, strict=True))))


def listed(connection: Connection, values: Sequence[int] | Sequence[str]) -> TableValuedAlias:
    """Return the values as a table with one column, `value`."""
    if connection.dialect.name == "sqlite":
        return func.json_each(orjson.dumps(values).decode()).table_valued("value")
    return func.unnest(_array(values)).table_valued(column("value", _kind(values))).render_derived()


def among(
    connection: Connection, found: ColumnElement[Any], values: Sequence[int] | Sequence[str]
) -> ColumnElement[bool]:
    """Return the condition that a column has one of the values."""
    if connection.dialect.name == "sqlite":
        return found.in_(select(listed(connection, values).c.value))
    return found == any_(_array(values))


def bound(sqlite: bool, found: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition `among` for a statement that is made once; `ids` are what is bound as `name` when it is executed."""
    if sqlite:
        return found.in_(select(func.json_each(bindparam(name, type_=Text())).table_valued("value").c.value))
    return found == any_(bindparam(name, type_=ARRAY(BigInteger())))


def ids(sqlite: bool, values: Sequence[int]) -> str | list[int]:
    """Return ids as `bound` takes them."""
    return orjson.dumps(values).decode() if sqlite else list(values)


def _array(values: Sequence[int] | Sequence[str]) -> ColumnElement[Any]:
    return bindparam(None, list(values), type_=ARRAY(_kind(values)))


def _kind(values: Sequence[int] | Sequence[str]) -> BigInteger | Text:
    return Text() if values and isinstance(values[0], str) else BigInteger()


@cache
def _statement(rows: Table, columns: tuple[str, ...], key: tuple[str, ...], dialect: Dialect) -> str:
    """Write the INSERT. The names in it are those of the tables; values are bound."""
    if dialect.name == "sqlite":
        values = f"VALUES ({', '.join('?' * len(columns))})"
    else:
        types = [rows.c[name].type.compile(dialect) for name in columns]
        # bytes as they are; what has a text form goes by that, and the server knows the type
        arrays = [f"{'%b' if kind == 'BYTEA' else '%s'}::{kind}[]" for kind in types]
        values = f"SELECT * FROM unnest({', '.join(arrays)})"  # noqa: S608
    skipping = f" ON CONFLICT ({', '.join(key)}) DO NOTHING" if key else ""
    return f"INSERT INTO {rows.name} ({', '.join(columns)}) {values}{skipping}"
