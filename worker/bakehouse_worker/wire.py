"""The ids that requests carry on the wire, and the bytes around them.

A caller's custom_id may be any text; the API takes 1 to 64 of [a-zA-Z0-9_-]. So each request goes out under an id of ours:

    {installation}-{nonce of the submission}-{record id}-{attempt}

The nonce (64 random bits, new for every POST) makes one result line prove which submission it belongs to.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from typing import NamedTuple

import orjson

OPEN = b'{"requests":['
CLOSE = b"]}"
_ID = re.compile(r"^([0-9a-f]{8})-([0-9a-f]{16})-(\d+)-(\d+)$")


class WireId(NamedTuple):
    """One request's id on the wire, taken apart."""

    installation: str
    nonce: str
    record_id: int
    attempt: int


def new_installation() -> str:
    """Return 8 hex digits that tell this installation's batches from others in the workspace."""
    return secrets.token_hex(4)


def new_nonce() -> str:
    """Return 16 hex digits, 64 random bits, for one submission."""
    return secrets.token_hex(8)


def prefix(installation: str, nonce: str) -> str:
    """Return what all ids of one submission start with."""
    return f"{installation}-{nonce}-"


def parse(custom_id: str) -> WireId | None:
    """Take an id apart; None if it is not one of ours in form."""
    found = _ID.match(custom_id)
    return WireId(found[1], found[2], int(found[3]), int(found[4])) if found else None


def members(installation: str, nonce: str) -> Callable[[str], tuple[int, int] | None]:
    """Return what takes an id of one submission apart, into (record id, attempt); it returns None of any other id."""
    of_it = re.compile(re.escape(prefix(installation, nonce)) + r"(\d+)-(\d+)", re.ASCII).fullmatch

    def whose(custom_id: str) -> tuple[int, int] | None:
        found = of_it(custom_id)
        return (int(found[1]), int(found[2])) if found else None

    return whose


def request_head(id_prefix: str, record_id: int, attempt: int) -> bytes:
    """Return the bytes of one request before its params."""
    return f'{{"custom_id":"{id_prefix}{record_id}-{attempt}","params":'.encode()


def request_size(id_prefix: str, record_id: int, attempt: int, params: int) -> int:
    """Return the bytes of one request with params of `params` bytes, without the comma that separates it from the next."""
    return len(request_head(id_prefix, record_id, attempt)) + params + 1


#: The most that one request adds to its params: its head with the longest ids there can be, the closing brace and a comma.
OVERHEAD = len(request_head("0" * 8 + "-" + "0" * 16 + "-", 2**63 - 1, 99_999)) + 2


def first_of(lines: Iterator[bytes]) -> WireId | None:
    """Return the id that the first of a batch's result lines carries: it proves whose the batch is.

    None if there is no line, or an id of another form. Raises ValueError if the line is not whole.
    """
    fields = orjson.loads(next(lines, b"{}"))
    return parse(str(fields.get("custom_id"))) if isinstance(fields, dict) else None
