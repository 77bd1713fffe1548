"""Takes a create body apart while it arrives, so that no body is ever held whole."""

from __future__ import annotations

import re
from typing import Any

import orjson

from bakehouse_emulator.wire import ApiError

WINDOW = 1 << 20  # bytes gathered before a cut is tried
TRIES = 8  # how many places are tried before more bytes are gathered
HEAD = re.compile(rb'\s*\{\s*"requests"\s*:\s*\[\s*(?=\{)')
BOUNDARIES = (b',{"custom_id"', b', {"custom_id"', b',{"params"', b', {"params"')


class Splitter:
    """Fed with bytes, it hands back the items of `requests` that are complete.

    A cut is tried at what looks like the start of an item. Inside a JSON string those bytes cannot stand (the quote
    would be escaped); inside a deeper object they can, but then the bytes before the cut do not parse, and another
    place is taken. A body of another shape is gathered to its end and parsed in one go: right, but larger in memory.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._buffer = bytearray()
        self._cuttable: bool | None = None
        self._window = self._try_at = window

    def feed(self, data: bytes) -> list[Any]:
        """Take the next bytes; returns the items completed so far, often none."""
        buffer = self._buffer
        buffer += data
        if len(buffer) < self._try_at:
            return []
        if self._cuttable is None:
            self._open()
        items = self._cut() if self._cuttable else []
        self._try_at = self._window if items else 2 * len(buffer)
        return items

    def finish(self) -> list[Any]:
        """The body is complete: the items left. Raises the API's 400 for bad JSON and keys other than `requests`."""
        rest = b'{"requests":[' + self._buffer if self._cuttable else bytes(self._buffer)
        self._buffer = bytearray()
        try:
            body = orjson.loads(rest)
        except orjson.JSONDecodeError as error:
            raise ApiError(400, f"The request body is not valid JSON: {error}") from None
        if not isinstance(body, dict):
            raise ApiError(400, "Input should be a valid dictionary or object")
        for key in body:
            if key != "requests":
                raise ApiError(400, f"{key}: Extra inputs are not permitted")
        if "requests" not in body:
            raise ApiError(400, "requests: Field required")
        requests = body["requests"]
        if not isinstance(requests, list):
            raise ApiError(400, "requests: Input should be a valid list")
        return requests

    def _open(self) -> None:
        head = HEAD.match(self._buffer)
        self._cuttable = head is not None
        if head:
            del self._buffer[: head.end()]

    def _cut(self) -> list[Any]:
        end = len(self._buffer)
        for _ in range(TRIES):
            end = max(self._buffer.rfind(boundary, 0, end) for boundary in BOUNDARIES)
            if end <= 0:
                break
            try:
                items: list[Any] = orjson.loads(b"[" + self._buffer[:end] + b"]")
            except orjson.JSONDecodeError:
                continue
            del self._buffer[: end + 1]
            return items
        return []
