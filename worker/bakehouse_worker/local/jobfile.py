"""The input of `run`: one {"custom_id", "params"} a line, checked whole before anything is enqueued.

Reading keeps nothing but eight bytes per line, so a file of many millions of lines is as cheap in memory as one of ten.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import orjson

from bakehouse import ConfigurationError, InvalidRecord
from bakehouse.contract import Record
from bakehouse.record import MAX_PARAMS_BYTES, build, check

#: Lines per question to the store about what is known already.
SPAN = 1_000
#: Hashes of custom_ids are sorted in this many parts, so that finding doubles needs little memory.
PARTS = 64
#: Bytes of a line whose params are not too large, however they are written: no character of JSON grows sixfold.
SURELY = MAX_PARAMS_BYTES // 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be sent, and why in one sentence."""

    number: int
    reason: str


@dataclass(slots=True)
class Scan:
    """What a file holds. `bad` lines are left out of every count; `changed` ones are known under another body;
    `others` are the job's records that the file does not have.
    """

    path: Path
    total: int = 0
    new: int = 0
    known: int = 0
    others: int = 0
    changed: list[tuple[int, str]] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    fingerprint: tuple[int, int] = (0, 0)

    @property
    def bad_numbers(self) -> frozenset[int]:
        """The numbers of the lines to leave out."""
        return frozenset(line.number for line in self.bad)


#: What asks the store for the digests of some custom_ids; None: it knows nothing of the job.
Known = Callable[[Sequence[str]], dict[str, str]] | None


def default_job(path: Path) -> str:
    """Return the job's name for an input file: its stem, and six digits that stand for its place."""
    place = blake2b(str(path.resolve()).encode(), digest_size=3).hexdigest()
    return f"{path.stem[:100]}-{place}"


def scan(path: Path, job: str, *, limit: int | None, known: Known) -> Scan:
    """Read the whole file: check every line, find doubles, and compare with what the store knows. Enqueues nothing."""
    found, doubles = _scan(path, job, limit, known, {})
    if doubles:
        found, _ = _scan(path, job, limit, known, _repeats(path, limit, doubles))
    return found


def _scan(path: Path, job: str, limit: int | None, known: Known, repeats: dict[int, BadLine]) -> tuple[Scan, set[int]]:
    """Read the file once, leaving out lines known to repeat a custom_id; returns also the hashes that still occur twice."""
    found = Scan(path, fingerprint=_fingerprint(path))
    hashes = [array("q") for _ in range(PARTS)]
    span: list[tuple[int, Record]] = []
    read: Callable[[bytes], Record | str] = _checked if known is None else partial(_record, job=job)
    for number, line in _items(path, limit, read):
        item = repeats.get(number, line)
        if isinstance(item, BadLine):
            found.bad.append(item)
            continue
        hashed = hash(item if isinstance(item, str) else item.custom_id)
        hashes[hashed % PARTS].append(hashed)
        if isinstance(item, str):
            found.total, found.new = found.total + 1, found.new + 1
            continue
        span.append((number, item))
        if len(span) == SPAN:
            _compare(found, span, known)
            span = []
    _compare(found, span, known)
    return found, {value for part in hashes for value in _doubles(part)}


def lines(found: Scan, job: str, *, limit: int | None, replace: bool = False) -> Iterator[Record]:
    """Read a scanned file again and yield its good lines as records, in order."""
    if _fingerprint(found.path) != found.fingerprint:
        raise ConfigurationError(f"{found.path} changed while it was read; run the command again")
    left_out = found.bad_numbers
    for number, item in _items(found.path, limit, partial(_record, job=job, replace=replace)):
        if isinstance(item, Record) and number not in left_out:
            yield item


def custom_ids(found: Scan, *, limit: int | None) -> Iterator[str]:
    """Read a scanned file again and yield the custom_ids of its good lines, in order."""
    left_out = found.bad_numbers
    for number, raw in _raw(found.path, limit):
        if number not in left_out:
            yield orjson.loads(raw)["custom_id"]


def _compare(found: Scan, span: Sequence[tuple[int, Record]], known: Known) -> None:
    digests = known([record.custom_id for _, record in span]) if span and known else {}
    for number, record in span:
        found.total += 1
        held = digests.get(record.custom_id)
        if held is None:
            found.new += 1
        elif held == record.digest:
            found.known += 1
        else:
            found.changed.append((number, record.custom_id))


def _items(path: Path, limit: int | None, read: Callable[[bytes], T]) -> Iterator[tuple[int, T | BadLine]]:
    for number, raw in _raw(path, limit):
        try:
            yield number, read(raw)
        except InvalidRecord as error:
            yield number, BadLine(number, str(error))


def _raw(path: Path, limit: int | None) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line) for lines that are not blank, at most `limit` of them."""
    seen = 0
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                line = raw.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else raw.strip()
                if not line:
                    continue
                if limit is not None and seen == limit:
                    return
                seen += 1
                yield number, line
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {(error.strerror or 'error').lower()}") from None


def _record(raw: bytes, *, job: str, replace: bool = False) -> Record:
    fields = _fields(raw)
    return build(fields["params"], custom_id=fields["custom_id"], job=job, replace=replace)


def _checked(raw: bytes) -> str:
    """Return a line's custom_id, if a record can be built of the line: without building it, where it is surely not too large."""
    if len(raw) > SURELY:
        return _record(raw, job="any").custom_id
    fields = _fields(raw)
    check(fields["params"], fields["custom_id"])
    custom_id: str = fields["custom_id"]
    return custom_id


def _fields(raw: bytes) -> dict[str, Any]:
    try:
        fields: Any = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if "surrogate" in str(error):
            raise InvalidRecord("line", "contains a lone surrogate, which is no character") from None
        raise InvalidRecord("line", f"is not JSON ({str(error).partition(':')[0]})") from None
    if not isinstance(fields, dict):
        raise InvalidRecord("line", 'is not an object with "custom_id" and "params"')
    for name in ("custom_id", "params"):
        if fields.get(name) is None:
            raise InvalidRecord(name, "is missing")
    if unknown := fields.keys() - {"custom_id", "params"}:
        raise InvalidRecord(min(unknown), 'is unknown; a line has "custom_id" and "params"')
    return fields


def _doubles(part: array[int]) -> Iterator[int]:
    values = sorted(part)
    return (left for left, right in pairwise(values) if left == right)


def _repeats(path: Path, limit: int | None, doubles: set[int]) -> dict[int, BadLine]:
    """Return the lines that repeat a custom_id: a reading that compares the ids themselves, not their hashes."""
    first: dict[str, int] = {}
    found: dict[int, BadLine] = {}
    for number, custom_id in _items(path, limit, _checked):
        if isinstance(custom_id, str) and hash(custom_id) in doubles:
            if custom_id in first:
                found[number] = BadLine(number, f"custom_id: the same as in line {first[custom_id]}")
            else:
                first[custom_id] = number
    return found


def _fingerprint(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {(error.strerror or 'error').lower()}") from None
    if path.is_dir():
        raise ConfigurationError(f"{path} is a directory; give a file with one JSON object a line")
    return status.st_mtime_ns, status.st_size
