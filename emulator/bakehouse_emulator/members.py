"""The items of a batch: their bytes in one append-only file, and 21 bytes of index for each."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterable
from math import gcd
from pathlib import Path
from typing import Any

import orjson

SUCCEEDED, CANCELED, EXPIRED, INVALID = range(4)
FIRST_EFFECT = 16  # codes from here on point into the batch's list of scripted effects


class Members:
    """Where each item of one batch lies, the digest of its params, and how it ends (a code above). In request order."""

    def __init__(self) -> None:
        self.offsets, self.lengths, self.digests, self.codes = array("q"), array("i"), array("q"), bytearray()

    def __len__(self) -> int:
        return len(self.codes)

    def add(self, offset: int, length: int, digest: int, code: int) -> None:
        """One more item, `length` bytes from `offset` in the item file."""
        self.offsets.append(offset)
        self.lengths.append(length)
        self.digests.append(digest)
        self.codes.append(code)

    def to_bytes(self) -> bytes:
        """The index as stored."""
        return b"".join((self.offsets.tobytes(), self.lengths.tobytes(), self.digests.tobytes(), self.codes))

    @classmethod
    def from_bytes(cls, data: bytes) -> Members:
        """The index as it was stored."""
        members, count = cls(), len(data) // 21
        members.offsets.frombytes(data[: 8 * count])
        members.lengths.frombytes(data[8 * count : 12 * count])
        members.digests.frombytes(data[12 * count : 20 * count])
        members.codes += data[20 * count :]
        return members

    def shuffled(self, seed: int) -> Iterable[int]:
        """Every position once, in an order that is the same for the same seed; costs no memory."""
        count = len(self)
        step = int(count * 0.618) + seed % 7 + 1
        while gcd(step, count) != 1 or (count > 6 and step % count in (1, count - 1)):
            step += 1
        return ((seed + 1 + position * step) % count for position in range(count))


class ItemFile:
    """Append-only bytes of every item ever uploaded: `custom_id`, a space, the params as canonical JSON, a newline.

    Bytes of uploads that never became a batch stay behind unseen. In memory mode the file has no name and vanishes.
    """

    def __init__(self, directory: Path | None) -> None:
        self._fd = _nameless() if directory is None else os.open(directory / "items", os.O_RDWR | os.O_CREAT, 0o600)
        self.end = os.fstat(self._fd).st_size

    def append(self, data: bytes) -> int:
        """Write at the end; returns the offset of the first byte."""
        offset, rest = self.end, memoryview(data)
        while rest:
            rest = rest[os.pwrite(self._fd, rest, offset + len(data) - len(rest)) :]
        self.end = offset + len(data)
        return offset

    def line(self, members: Members, position: int) -> bytes:
        """The stored line of one item."""
        return os.pread(self._fd, members.lengths[position], members.offsets[position])

    def item(self, members: Members, position: int) -> tuple[str, Any]:
        """custom_id and params of one item."""
        custom_id, _, params = self.line(members, position).partition(b" ")
        return custom_id.decode(), orjson.loads(params)

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        os.close(self._fd)


def _nameless() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
