"""The wire between an application and the workers: what one entry of the inbox looks like. Both sides import this file.

The inbox is one Redis stream. An entry has two fields: `h`, a small JSON header that carries the wire version and everything
a worker needs to know about the record, and `p`, the request's params as the exact bytes that will go to the API. Params are
serialised once, here, and never parsed again on their way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import orjson

T = TypeVar("T")

#: Version of the entry's layout. A reader that meets a version it does not know parks the entry and says so.
WIRE_VERSION = 1

#: The API version that sampling rules are checked against when the caller names none (message-batches API, October 2026).
DEFAULT_API_VERSION = "2026-10-21"

#: The most records that a job may expect: what any store can count.
MAX_EXPECTED = 2**53

#: Consumer group of the workers on the inbox stream.
GROUP = "accept"


@dataclass(frozen=True, slots=True)
class Keys:
    """The Redis keys of one installation. The braces keep them in one slot of a Redis Cluster."""

    prefix: str = "bakehouse"

    @property
    def inbox(self) -> str:
        """Stream of entries that no worker has accepted yet."""
        return f"{{{self.prefix}}}:inbox"

    @property
    def inbox_bytes(self) -> str:
        """Bytes (headers and params) that stand in the inbox: the high-water mark is checked against it."""
        return f"{{{self.prefix}}}:inbox:bytes"

    @property
    def parked(self) -> str:
        """Stream of entries whose wire version this release cannot read."""
        return f"{{{self.prefix}}}:parked"

    @property
    def epoch(self) -> str:
        """The installation and the highest mark that its database ever reached: a database that knows less was restored."""
        return f"{{{self.prefix}}}:epoch"


class Record(NamedTuple):
    """One request on its way to a batch. A tuple, because an application makes thousands a second.

    `digest` identifies what is asked (params, betas, API version): the same custom_id with another digest is a conflict.
    """

    job: str
    custom_id: str
    params: bytes
    digest: str
    model: str
    api_version: str = DEFAULT_API_VERSION
    priority: int = 0
    betas: tuple[str, ...] = ()
    on_result: str | None = None
    metadata: bytes | None = None
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """Says that a job expects `expected` records in all, so that its last batch need not wait for more.

    None: as many as were accepted before this entry.
    """

    job: str
    expected: int | None


@dataclass(frozen=True, slots=True)
class Canary:
    """Says that a job's first `records` go ahead, and that their results decide about the others."""

    job: str
    records: int


class UnknownWireVersion(ValueError):
    """The entry was written by a newer producer. It is parked, not lost."""


def compact(body: bytes) -> bytes:
    """Return a copy that takes no more memory than its content: orjson gives away its work buffer, 8 KB for a body of 1 KB.

    Where many are kept, touching that memory takes longer than serialising.
    """
    return bytes(memoryview(body))


def encode_record(record: Record) -> tuple[bytes, bytes]:
    """Return the entry's two field values, (header, params)."""
    header: dict[str, Any] = {
        "v": WIRE_VERSION,
        "job": record.job,
        "id": record.custom_id,
        "digest": record.digest,
        "model": record.model,
        "api": record.api_version,
    }
    if record.priority:
        header["priority"] = record.priority
    if record.betas:
        header["betas"] = record.betas
    if record.on_result:
        header["on_result"] = record.on_result
    if record.metadata is not None:
        header["metadata"] = orjson.Fragment(record.metadata)
    if record.replace:
        header["replace"] = True
    return compact(orjson.dumps(header)), record.params


def encode_close(close: Close) -> tuple[bytes, bytes]:
    """Return the field values of an entry that closes a job."""
    return orjson.dumps({"v": WIRE_VERSION, "close": close.job, "expected": close.expected}), b""


def encode_canary(canary: Canary) -> tuple[bytes, bytes]:
    """Return the field values of an entry that gives a job a canary."""
    return orjson.dumps({"v": WIRE_VERSION, "canary": canary.job, "records": canary.records}), b""


def decode(header: bytes, params: bytes) -> Record | Close | Canary:
    """Read one entry back. Raises UnknownWireVersion for a newer layout and ValueError for anything that is no entry."""
    fields = orjson.loads(header)
    if not isinstance(fields, dict):
        raise ValueError("the entry's header is not an object")
    if fields.get("v") != WIRE_VERSION:
        raise UnknownWireVersion(f"wire version {fields.get('v')!r}; this release reads {WIRE_VERSION}")
    if "close" in fields:
        known = fields.get("expected") is None and "expected" in fields
        return Close(_typed(fields, "close", str), None if known else _whole(fields, "expected", 0, MAX_EXPECTED))
    if "canary" in fields:
        return Canary(job=_typed(fields, "canary", str), records=_whole(fields, "records", 1, MAX_EXPECTED))
    metadata = fields.get("metadata")
    return Record(
        job=_typed(fields, "job", str),
        custom_id=_typed(fields, "id", str),
        params=params,
        digest=_typed(fields, "digest", str),
        model=_typed(fields, "model", str),
        api_version=_typed(fields, "api", str),
        priority=_whole(fields, "priority", -1000, 1000) if "priority" in fields else 0,
        betas=_betas(fields["betas"]) if "betas" in fields else (),
        on_result=None if fields.get("on_result") is None else _typed(fields, "on_result", str),
        metadata=None if metadata is None else compact(orjson.dumps(metadata)),
        replace=fields.get("replace") is True,
    )


def _typed(fields: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = fields.get(name)
    if not isinstance(value, kind):
        raise ValueError(f"the entry's header has no {name}")
    return value


def _whole(fields: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = _typed(fields, name, int)
    if isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"the entry's {name} is out of range")
    return value


def _betas(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(beta, str) for beta in value):
        raise ValueError("the entry's betas are no list of names")
    return tuple(value)
