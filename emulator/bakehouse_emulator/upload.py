"""One create body on its way in: every item checked as the API's envelope wants it, and written down at once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import orjson

from bakehouse_emulator.members import INVALID, SUCCEEDED, ItemFile, Members
from bakehouse_emulator.options import EmulatorOptions
from bakehouse_emulator.splitter import Splitter
from bakehouse_emulator.verdict import Terms, problem
from bakehouse_emulator.wire import ApiError

CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def canonical(params: Any) -> bytes:
    """Params as compact JSON with sorted keys: what the ledger's digest is taken over. Raises the API's 400."""
    try:
        return orjson.dumps(params, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise ApiError(400, f"params: {error}") from None


def digest(params: bytes) -> int:
    """The first 64 bits of the SHA-256 of canonical params, as a signed number."""
    return int.from_bytes(hashlib.sha256(params).digest()[:8], "big", signed=True)


def digest_text(number: int) -> str:
    """A digest as the ledger shows it: 16 hex digits."""
    return f"{number & 0xFFFF_FFFF_FFFF_FFFF:016x}"


class Upload:
    """Collects the members of a batch that does not exist yet. Nothing of it is a batch until the body is whole."""

    def __init__(
        self, items: ItemFile, options: EmulatorOptions, terms: Terms, watch: Callable[[int, bytes], None] | None = None
    ) -> None:
        self.members = Members()
        self.size = 0
        self._items = items
        self._options = options
        self._terms = terms
        self._watch = watch  # sees the position and canonical params of every item
        self._splitter = Splitter()
        self._ids: set[str] = set()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body. Raises the API's 400 or 413."""
        self.size += len(data)
        if self.size > self._options.max_body_bytes:
            raise too_large(self._options)
        self._take(self._splitter.feed(data))

    def finish(self) -> Members:
        """The body is whole: its members. Raises the API's 400."""
        self._take(self._splitter.finish())
        count, most = len(self.members), self._options.max_requests
        if count == 0:
            raise ApiError(400, "requests: List should have at least 1 item after validation, not 0")
        if count > most:
            raise ApiError(400, f"requests: List should have at most {most} items after validation, not {count}")
        self._ids.clear()
        return self.members

    def _take(self, requests: list[Any]) -> None:
        lines, base = [], self._items.end
        for request in requests:
            position = len(self.members)
            custom_id = self._custom_id(position, request)
            params = canonical(request["params"])
            code = self._code(position, request["params"])
            if self._watch:
                self._watch(position, params)
            line = b"%b %b\n" % (custom_id.encode(), params)
            self.members.add(base, len(line), digest(params), code)
            base += len(line)
            lines.append(line)
        if lines:
            self._items.append(b"".join(lines))

    def _custom_id(self, position: int, request: Any) -> str:
        where = f"requests.{position}"
        if not isinstance(request, dict):
            raise ApiError(400, f"{where}: Input should be a valid dictionary or object")
        for key in ("custom_id", "params"):
            if key not in request:
                raise ApiError(400, f"{where}.{key}: Field required")
        if len(request) > 2:
            extra = next(key for key in request if key not in ("custom_id", "params"))
            raise ApiError(400, f"{where}.{extra}: Extra inputs are not permitted")
        if not isinstance(request["params"], dict):
            raise ApiError(400, f"{where}.params: Input should be a valid dictionary or object")
        custom_id = request["custom_id"]
        if not isinstance(custom_id, str):
            raise ApiError(400, f"{where}.custom_id: Input should be a valid string")
        if not CUSTOM_ID.fullmatch(custom_id):
            raise ApiError(400, f"{where}.custom_id: {_wrong_id(custom_id)}")
        if custom_id in self._ids:
            raise ApiError(
                400, f"{where}.custom_id: custom_id must be unique within a batch, found {custom_id!r} twice"
            )
        self._ids.add(custom_id)
        return custom_id

    def _code(self, position: int, params: Any) -> int:
        found = problem(params, self._terms)
        if found and self._options.params_checked_at_create:
            raise ApiError(400, f"requests.{position}.params.{found.message}")
        return INVALID if found else SUCCEEDED


def _wrong_id(custom_id: str) -> str:
    if not custom_id:
        return "String should have at least 1 character"
    if len(custom_id) > 64:
        return "String should have at most 64 characters"
    return "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"


def too_large(options: EmulatorOptions) -> ApiError:
    """The 413 for a body over the limit."""
    return ApiError(413, "Request exceeds the maximum size", html=options.too_large_answer == "html")
