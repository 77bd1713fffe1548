"""`enqueue_record()`: check, serialise, append to the inbox, hand back a receipt.

A receipt says that the record stands in Redis. From there a worker accepts it into the store. Without `session`, enqueueing is not
part of your database's transaction, so call it after your commit. Calling it again with the same custom_id and the same params is
harmless. docs/outbox.md says what the plain call, `durable=True` and `session=` promise.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bakehouse import outbox
from bakehouse.connection import connect, locate
from bakehouse.contract import (
    DEFAULT_API_VERSION,
    MAX_EXPECTED,
    Canary,
    Close,
    Keys,
    Record,
    encode_canary,
    encode_close,
    encode_record,
)
from bakehouse.errors import BakehouseError, ConfigurationError, InvalidRecord
from bakehouse.inbox import DEFAULT_MAX_INBOX_BYTES, Inbox
from bakehouse.record import build, check_job

if TYPE_CHECKING:
    from bakehouse.outbox import AnySession

#: A call to Redis carries at most this many records, and about this many bytes.
CHUNK_RECORDS = 500
CHUNK_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Receipt:
    """Names a record that stands in the inbox, or in your transaction: find it again by (job, custom_id).

    `digest` stands for what is asked.
    """

    job: str
    custom_id: str
    digest: str


class Client:
    """Enqueues into one installation. Make one per process; it connects on first use and may be shared by threads.

    Into a session it enqueues without any Redis: one that is not configured is told at the first call that needs it.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        prefix: str | None = None,
        max_inbox_bytes: int | None = None,
    ) -> None:
        self._limit = (
            max_inbox_bytes
            if max_inbox_bytes is not None
            else _whole_number("BAKEHOUSE_MAX_INBOX_BYTES", DEFAULT_MAX_INBOX_BYTES)
        )
        self._keys = Keys(prefix or os.environ.get("BAKEHOUSE_REDIS_PREFIX") or "bakehouse")
        self._url, self._data_dir = redis_url or os.environ.get("BAKEHOUSE_REDIS_URL"), data_dir
        self._opened = self._open() if self._url else None  # a URL that makes no sense is told at once

    @property
    def _inbox(self) -> Inbox:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> Inbox:
        return Inbox(connect(locate(self._url, self._data_dir)), self._keys, self._limit)

    def enqueue_record(
        self,
        params: Mapping[str, Any],
        *,
        custom_id: str | None = None,
        job: str = "default",
        priority: int = 0,
        betas: Sequence[str] = (),
        on_result: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        api_version: str = DEFAULT_API_VERSION,
        session: AnySession | None = None,
        durable: bool = False,
    ) -> Receipt:
        """Enqueue one request; see the module's function of the same name."""
        _check_way(session, durable)
        record = build(
            params,
            custom_id=custom_id,
            job=job,
            priority=priority,
            betas=betas,
            on_result=on_result,
            metadata=metadata,
            api_version=api_version,
        )
        self._put([encode_record(record)], session, durable)
        return Receipt(record.job, record.custom_id, record.digest)

    def enqueue_records(
        self,
        records: Iterable[Mapping[str, Any]],
        *,
        job: str = "default",
        session: AnySession | None = None,
        durable: bool = False,
    ) -> int:
        """Enqueue many; see the module's function of the same name."""
        return self.append(_built(records, job), session=session, durable=durable)

    def append(self, records: Iterable[Record], *, session: AnySession | None = None, durable: bool = False) -> int:
        """Enqueue records that are built already, in chunks; returns how many. Errors carry `.accepted`."""
        _check_way(session, durable)
        done = 0
        try:
            for chunk in _chunks(records):
                self._put(chunk, session, durable)
                done += len(chunk)
        except BakehouseError as error:
            error.accepted = done
            raise
        return done

    def _put(self, entries: Sequence[tuple[bytes, bytes]], session: AnySession | None, durable: bool) -> None:
        if session is not None:
            outbox.write(session, entries)
        else:
            self._inbox.append(entries, durable=durable)

    def send_ahead(self, job: str, records: int) -> None:
        """Let the first `records` of a job go ahead, and their results decide about the others; call it before you enqueue them."""
        if not isinstance(records, int) or isinstance(records, bool) or not 1 <= records <= MAX_EXPECTED:
            raise InvalidRecord("records", f"must be a whole number of records, not {records!r}")
        self._inbox.append([encode_canary(Canary(check_job(job), records))])

    def close(self, job: str, *, expected: int | None = None) -> None:
        """Say that `job` expects `expected` records in all, or those enqueued so far: its last batch leaves without waiting then."""
        whole = expected is None or (isinstance(expected, int) and not isinstance(expected, bool))
        if not whole or not 0 <= (expected or 0) <= MAX_EXPECTED:
            raise InvalidRecord("expected", f"must be a whole number of records, not {expected!r}")
        self._inbox.append([encode_close(Close(check_job(job), expected))])


def enqueue_record(
    params: Mapping[str, Any],
    *,
    custom_id: str | None = None,
    job: str = "default",
    priority: int = 0,
    betas: Sequence[str] = (),
    on_result: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    api_version: str = DEFAULT_API_VERSION,
    session: AnySession | None = None,
    durable: bool = False,
) -> Receipt:
    """Enqueue one Messages request; it goes out with the next batch.

    params       the Messages body: model, max_tokens, messages and whatever else a batch takes
    custom_id    yours, 1 to 512 characters, unique within the job; made up if you give none
    job          groups records for progress, fairness and export
    priority     -1000 to 1000; higher leaves earlier
    betas        `anthropic-beta` names this record needs; records with different betas never share a batch
    on_result    "package.module:function", called with the outcome by the deliver workers
    metadata     JSON of at most 16 KB that comes back with the outcome and is never sent to the API
    api_version  the `anthropic-version` header
    session      a Session of SQLAlchemy or SQLModel: the record is written into the table `bakehouse_outbox` in its transaction, and
                 goes on once you commit; a rollback enqueues nothing. Needs no Redis here, and BAKEHOUSE_OUTBOX_URL at the workers
    durable      wait until Redis has the record on disk, at most 5 seconds; not together with `session`

    Raises InvalidRecord (field and reason), InboxFull, InboxUnavailable or ConfigurationError; then nothing was enqueued, unless a
    durable call says that the record stands in Redis but is not known to be on disk. Enqueuing it again is harmless.
    """
    return default_client().enqueue_record(
        params,
        custom_id=custom_id,
        job=job,
        priority=priority,
        betas=betas,
        on_result=on_result,
        metadata=metadata,
        api_version=api_version,
        session=session,
        durable=durable,
    )


def enqueue_records(
    records: Iterable[Mapping[str, Any]],
    *,
    job: str = "default",
    session: AnySession | None = None,
    durable: bool = False,
) -> int:
    """Enqueue many requests, pipelined; returns how many.

    Each record is a mapping with `params` and any of the other arguments of `enqueue_record()`, such as `custom_id`. Records go
    in order, in chunks; an error carries `.accepted`, the number enqueued before it, so that a caller can go on from there.

    `session` and `durable` are those of `enqueue_record()`, for all of them. A durable call waits once for each chunk (500 records or
    4 MB), and `.accepted` counts those known to be on disk; with a session it counts those that stand in its transaction.
    """
    return default_client().enqueue_records(records, job=job, session=session, durable=durable)


@lru_cache(maxsize=1)
def default_client() -> Client:
    """Return this process's client, made from the environment at the first call."""
    return Client()


_FIELDS = frozenset({"params", "custom_id", "job", "priority", "betas", "on_result", "metadata", "api_version"})


def _built(records: Iterable[Mapping[str, Any]], job: str) -> Iterator[Record]:
    for position, fields in enumerate(records):
        if "params" not in fields or not fields.keys() <= _FIELDS:
            unknown = fields.keys() - _FIELDS
            raise InvalidRecord(
                f"records.{position}", f"unknown field {min(unknown)!r}" if unknown else "params is missing"
            )
        try:
            yield build(**{"job": job, **fields})
        except InvalidRecord as error:
            raise InvalidRecord(f"records.{position}.{error.field}", error.reason) from None


def _chunks(records: Iterable[Record]) -> Iterator[list[tuple[bytes, bytes]]]:
    chunk: list[tuple[bytes, bytes]] = []
    size = 0
    for record in records:
        entry = encode_record(record)
        chunk.append(entry)
        size += len(entry[0]) + len(entry[1])
        if len(chunk) >= CHUNK_RECORDS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _check_way(session: object, durable: bool) -> None:
    if session is not None and durable:
        raise InvalidRecord(
            "durable", "with a session the commit of its database is what makes it durable: leave it out"
        )


def _whole_number(name: str, default: int) -> int:
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError(f"{name} must be a whole number of bytes, not {text!r}") from None
