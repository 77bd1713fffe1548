"""One line of the API's results as a row: what collect stores, and whose it is.

The line itself is kept, so all that is read of it is whose it is, how it ended, what it used and whether it says anything. The usual
line, an answer, is decoded by its shape (msgspec): nothing is made of what is not looked at. Any other shape is decoded as a whole
and taken as it comes: a result of a kind that nobody knows keeps its line, and is no success.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import orjson

from bakehouse_worker import pricing
from bakehouse_worker.errors import Truncated
from bakehouse_worker.pricing import Tokens
from bakehouse_worker.store.results import ResultRow
from bakehouse_worker.tables import CUT_SHORT, EMPTY

#: Takes an id on the wire; returns (record id, attempt), or None of an id that is somebody else's.
Whose = Callable[[str], tuple[int, int] | None]

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Created(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: _Count = 0


class _Usage(msgspec.Struct, gc=False):
    input_tokens: _Count = 0
    output_tokens: _Count = 0
    cache_creation_input_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    cache_creation: _Created | None = None
    inference_geo: str | None = None


class _Block(msgspec.Struct, gc=False):
    type: str
    text: str | None = None


class _Message(msgspec.Struct, gc=False):
    model: str
    content: list[_Block]
    usage: _Usage
    stop_reason: str | None = None


class _Succeeded(msgspec.Struct, gc=False):
    type: Literal["succeeded"]
    message: _Message


class _Answer(msgspec.Struct, gc=False):
    custom_id: str
    result: _Succeeded


_decode = msgspec.json.Decoder(_Answer).decode


def row(line: bytes, batch_id: int, now: float, whose: Whose) -> ResultRow | None:
    """Return the row that a result line makes, None if its id is not one that `whose` knows. Raises Truncated if it is not whole."""
    try:
        answer = _decode(line)
        if not line.isascii():
            line.decode()  # what is not looked at is text, too
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # orjson goes deeper, and says what is no JSON
        return _of_any_shape(line, batch_id, now, whose)
    mine = whose(answer.custom_id)
    if mine is None:
        return None
    message = answer.result.message
    content, usage = message.content, message.usage
    says = (content and content[0].text) or not all(block.type == "text" and block.text == "" for block in content)
    used = _tokens(usage)
    return _succeeded(mine, batch_id, line, now, message.model, message.stop_reason, used, usage.inference_geo, says)


def _tokens(usage: _Usage) -> Tokens:
    written, hourly = usage.cache_creation_input_tokens or 0, 0
    if written and usage.cache_creation is not None:
        hourly = min(written, usage.cache_creation.ephemeral_1h_input_tokens)
    read = usage.cache_read_input_tokens or 0
    return Tokens(usage.input_tokens, usage.output_tokens, written - hourly, hourly, read)


def _succeeded(
    mine: tuple[int, int],
    batch_id: int,
    line: bytes,
    now: float,
    model: str | None,
    stop_reason: str | None,
    used: Tokens,
    geo: str | None,
    says: object,
) -> ResultRow:
    """Make the row of an answer. One that says nothing, and was not cut short, is marked as empty."""
    empty = EMPTY if not says and stop_reason not in CUT_SHORT else None
    cost, cost_sync = (model and pricing.cost(model, used, geo=geo)) or (None, None)
    return ResultRow(
        mine[0],
        mine[1],
        batch_id,
        "succeeded",
        line,
        now,
        empty,
        None,
        stop_reason,
        None,
        model,
        used.input,
        used.output,
        used.write_5m + used.write_1h,
        used.read,
        cost,
        cost_sync,
    )


def _of_any_shape(line: bytes, batch_id: int, now: float, whose: Whose) -> ResultRow | None:
    fields = _fields(line)
    mine = whose(str(fields.get("custom_id")))
    if mine is None:
        return None
    result = _object(fields.get("result"))
    kind = _text(result.get("type")) or "unreadable"
    if kind == "succeeded":
        message = _object(result.get("message"))
        usage, model, stop_reason = (
            _object(message.get("usage")),
            _text(message.get("model")),
            message.get("stop_reason"),
        )
        used, geo = pricing.tokens(usage), _text(usage.get("inference_geo"))
        says = not _says_nothing(message.get("content"))
        return _succeeded(mine, batch_id, line, now, model, _text(stop_reason), used, geo, says)
    envelope = _object(result.get("error")) if kind == "errored" else {}
    error = _object(envelope.get("error"))
    known = kind in ("errored", "canceled", "expired")
    return ResultRow(
        *mine,
        batch_id,
        kind,
        line,
        now,
        error_type=_text(error.get("type")) or (None if known else kind),
        error=_text(error.get("message")),
        request_id=_text(envelope.get("request_id")),
    )


def _fields(line: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise Truncated("a line is not whole") from None
    if not isinstance(fields, dict):
        raise Truncated("a line is not an object")
    return fields


def _says_nothing(content: Any) -> bool:
    """Tell whether an answer has no block, or empty text blocks alone."""
    if not isinstance(content, list):
        return False
    return all(_object(block).get("type") == "text" and _object(block).get("text") == "" for block in content)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
