"""`enqueue_record()`: check, serialise, append to the inbox, hand back a receipt.

A receipt says that the record stands in Redis. From there a worker accepts it into the store; enqueueing is not part of your
database's transaction, so call it after your commit. Calling it again with the same custom_id and the same params is harmless.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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

#: A call to Redis carries at most this many records, and about this many bytes.
CHUNK_RECORDS = 500
CHUNK_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Receipt:
    """Names a record that stands in the inbox: find it again by (job, custom_id). `digest` stands for what is asked."""

    job: str
    custom_id: str
    digest: str


class Client:
    """Enqueues into one installation. Make one per process; it connects on first use and may be shared by threads."""

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        prefix: str | None = None,
        max_inbox_bytes: int | None = None,
    ) -> None:
        limit = (
            max_inbox_bytes
            if max_inbox_bytes is not None
            else _whole_number("BAKEHOUSE_MAX_INBOX_BYTES", DEFAULT_MAX_INBOX_BYTES)
        )
        keys = Keys(prefix or os.environ.get("BAKEHOUSE_REDIS_PREFIX") or "bakehouse")
        self._inbox = Inbox(connect(locate(redis_url, data_dir)), keys, limit)

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
    ) -> Receipt:
        """Enqueue one request; see the module's function of the same name."""
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
        self._inbox.append([encode_record(record)])
        return _receipt(record)

    def enqueue_records(self, records: Iterable[Mapping[str, Any]], *, job: str = "default") -> int:
        """Enqueue many; see the module's function of the same name."""
        return self.append(_built(records, job))

    def append(self, records: Iterable[Record]) -> int:
        """Enqueue records that are built already, in chunks; returns how many. Errors carry `.accepted`."""
        done = 0
        try:
            for chunk in _chunks(records):
                self._inbox.append(chunk)
                done += len(chunk)
        except BakehouseError as error:
            error.accepted = done
            raise
        return done

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

    Raises InvalidRecord (field and reason), InboxFull, InboxUnavailable or ConfigurationError; then nothing was enqueued.
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
    )


def enqueue_records(records: Iterable[Mapping[str, Any]], *, job: str = "default") -> int:
    """Enqueue many requests, pipelined; returns how many.

    Each record is a mapping with `params` and any of the other arguments of `enqueue_record()`, such as `custom_id`. Records go
    in order, in chunks; an error carries `.accepted`, the number enqueued before it, so that a caller can go on from there.
    """
    return default_client().enqueue_records(records, job=job)


@lru_cache(maxsize=1)
def default_client() -> Client:
    """Return this process's client, made from the environment at the first call."""
    return Client()


_FIELDS = frozenset({"params", "custom_id", "job", "priority", "betas", "on_result", "metadata", "api_version"})


def _built(records: Iterable[Mapping[str, Any]], job: str) -> Iterator[Record]:
    for position, fields in enumerate(records):
        unknown = fields.keys() - _FIELDS
        if unknown or "params" not in fields:
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


def _receipt(record: Record) -> Receipt:
    return Receipt(record.job, record.custom_id, record.digest)


def _whole_number(name: str, default: int) -> int:
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError(f"{name} must be a whole number of bytes, not {text!r}") from None
