"""Identifiers as the API writes them: a prefix and 22 characters of base 58."""

from __future__ import annotations

import hashlib
import secrets

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def _tail(length: int = 22) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def batch_id() -> str:
    """A new `msgbatch_01...`."""
    return "msgbatch_01" + _tail()


def request_id() -> str:
    """A new `req_011...`."""
    return "req_011C" + _tail(20)


def message_id(source: str) -> str:
    """A `msg_01...` that is the same for the same source, so that results read twice are equal."""
    return "msg_01" + hashlib.sha256(source.encode()).hexdigest()[:22].replace("0", "z")
