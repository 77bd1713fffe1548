"""From what a caller passes to a `contract.Record`: every check that can be made before a batch is paid for.

The API validates params hours later, item by item. What it is known to refuse is refused here, at the call, by the name of the
field. Anything else is passed on untouched: a new model or a new parameter needs no new release of this package.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from uuid import uuid4

import orjson

from bakehouse.contract import DEFAULT_API_VERSION, Record, compact
from bakehouse.errors import InvalidRecord

MAX_CUSTOM_ID = 512
MAX_JOB = 128
MAX_METADATA_BYTES = 16_384
#: Larger than any batch may be by default (`BAKEHOUSE_MAX_BATCH_BYTES`): such a record could never be sent.
MAX_PARAMS_BYTES = 200_000_000

#: Params that make an item, or the whole create, fail (Anthropic: batch processing, "Supported API features").
REFUSED_IN_A_BATCH = {
    "speed": "fast mode does not exist for batches; leave it out",
    "store": "threads do not exist for batches; leave it out",
    "previous_thread_event_id": "threads do not exist for batches; leave it out",
    "cache_hint": "routing hints do not exist for batches; leave it out",
    "context_hint": "routing hints do not exist for batches; leave it out",
    "fallbacks": "server-side fallbacks do not exist for batches; requeue refusals with another model instead",
}
SAMPLING = ("temperature", "top_p", "top_k")
#: API versions that still take sampling parameters.
SAMPLING_API_VERSIONS = frozenset({"2023-06-01"})

#: Params that are looked at more closely; most requests have none of them.
_SUSPECT = frozenset({"stream", *REFUSED_IN_A_BATCH, *SAMPLING})

_JSON = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_BETA = re.compile(r"[A-Za-z0-9._-]+")
_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_HANDLER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_TASK = re.compile(r"task:[A-Za-z_][\w.-]*(@[\w.:-]+)?")


def build(
    params: Mapping[str, Any],
    *,
    custom_id: str | None = None,
    job: str = "default",
    priority: int = 0,
    betas: Sequence[str] = (),
    on_result: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    api_version: str = DEFAULT_API_VERSION,
    replace: bool = False,
) -> Record:
    """Check everything and serialise the params once. Raises InvalidRecord with the field and the reason."""
    if api_version != DEFAULT_API_VERSION:
        _check_api_version(api_version)
    check_params(params, api_version)
    body = serialise(params)
    if len(body) > MAX_PARAMS_BYTES:
        raise InvalidRecord("params", f"{len(body):,} bytes as JSON; a batch takes at most {MAX_PARAMS_BYTES:,}")
    checked_betas = () if betas == () else _betas(betas)
    if not isinstance(priority, int) or isinstance(priority, bool) or not -1000 <= priority <= 1000:
        raise InvalidRecord("priority", f"must be a whole number from -1000 to 1000, not {priority!r}")
    return Record(
        job=_text("job", job, MAX_JOB),
        custom_id=uuid4().hex if custom_id is None else _text("custom_id", custom_id, MAX_CUSTOM_ID),
        params=body,
        digest=digest(body, checked_betas, api_version),
        model=params["model"],
        api_version=api_version,
        priority=priority,
        betas=checked_betas,
        on_result=None if on_result is None else _sink(on_result),
        metadata=None if metadata is None else _metadata(metadata),
        replace=replace,
    )


def check(params: Any, custom_id: Any, api_version: str = DEFAULT_API_VERSION) -> None:
    """Raise InvalidRecord for whatever `build` would of one that was read from JSON, but for its size; serialises nothing."""
    check_params(params, api_version)
    check_custom_id(custom_id)


def check_params(params: Mapping[str, Any], api_version: str = DEFAULT_API_VERSION) -> None:
    """Raise InvalidRecord for what the Messages API is known to refuse inside a batch; return None if nothing is."""
    if not isinstance(params, dict | Mapping):
        raise InvalidRecord("params", f"must be an object with model, max_tokens and messages, not {_kind(params)}")
    for name in ("model", "max_tokens", "messages"):
        if name not in params:
            raise InvalidRecord(f"params.{name}", "is missing")
    model, max_tokens, messages = params["model"], params["max_tokens"], params["messages"]
    if not isinstance(model, str) or not model.strip():
        raise InvalidRecord("params.model", f"must be a model's id, not {model!r}")
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 1:
        raise InvalidRecord("params.max_tokens", f"must be a whole number of at least 1, not {max_tokens!r}")
    if not isinstance(messages, list | Sequence) or isinstance(messages, str | bytes) or not messages:
        raise InvalidRecord("params.messages", "must be a list with at least one message")
    if type(params) is not dict or not _SUSPECT.isdisjoint(params):  # others may answer to more names than they tell
        _check_suspect(params, api_version)


def _check_suspect(params: Mapping[str, Any], api_version: str) -> None:
    if params.get("stream"):
        raise InvalidRecord("params.stream", "a batch cannot stream; leave it out")
    for name, reason in REFUSED_IN_A_BATCH.items():
        if name in params:
            raise InvalidRecord(f"params.{name}", reason)
    if api_version not in SAMPLING_API_VERSIONS:
        for name in SAMPLING:
            if name in params:
                raise InvalidRecord(
                    f"params.{name}", f"API version {api_version} refuses sampling parameters; leave it out"
                )


def serialise(params: Mapping[str, Any]) -> bytes:
    """Return the params as JSON bytes, in the caller's order of keys. Raises InvalidRecord with the name of what is no JSON."""
    try:
        body = compact(orjson.dumps(params, option=_JSON)) if type(params) is dict else _by_parts(params)
    except TypeError:
        body = _by_parts(params)
    if b"null" in body:  # orjson writes NaN and infinity as null; that would change what is asked
        _refuse_non_finite("params", params)
    return body


def _by_parts(params: Mapping[str, Any]) -> bytes:
    """Serialise what is no plain `dict`, or has keys of a kind of text, or something in it that is no JSON, which is told by name."""
    parts = []
    for name, value in params.items():
        if not isinstance(name, str):
            raise InvalidRecord("params", f"keys must be text, not {name!r}")
        parts.append(_dumps("params", name) + b":" + _dumps(f"params.{name}", value))
    return b"{" + b",".join(parts) + b"}"


def digest(params: bytes, betas: tuple[str, ...], api_version: str) -> str:
    """Return 32 hex digits that stand for what is asked: the params' bytes, the betas and the API version."""
    return blake2b(params + _terms(betas, api_version), digest_size=16).hexdigest()


@lru_cache(maxsize=256)
def _terms(betas: tuple[str, ...], api_version: str) -> bytes:
    return "\x00".join(("", ",".join(betas), api_version)).encode()


def _dumps(field: str, value: Any) -> bytes:
    try:
        body = compact(orjson.dumps(value, option=_JSON))
    except TypeError as error:
        raise InvalidRecord(field, f"is not JSON: {error}") from None
    if b"null" in body:  # orjson writes NaN and infinity as null; that would change what is asked
        _refuse_non_finite(field, value)
    return body


def _refuse_non_finite(field: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRecord(field, f"is not JSON: {value!r} has no JSON form")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _refuse_non_finite(f"{field}.{name}", inner)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            _refuse_non_finite(f"{field}.{position}", inner)


def check_job(job: Any) -> str:
    """Return a job's name if it may be one. Raises InvalidRecord."""
    return _text("job", job, MAX_JOB)


def check_custom_id(custom_id: Any) -> str:
    """Return a custom_id if it may be one. Raises InvalidRecord."""
    return _text("custom_id", custom_id, MAX_CUSTOM_ID)


def _text(field: str, value: Any, limit: int) -> str:
    if not isinstance(value, str):
        raise InvalidRecord(field, f"must be text, not {_kind(value)}")
    if not 1 <= len(value) <= limit:
        raise InvalidRecord(field, f"must have 1 to {limit} characters, not {len(value)}")
    if "\x00" in value:
        raise InvalidRecord(field, "must not contain a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRecord(field, "contains a lone surrogate, which is no character") from None
    return value


def _check_api_version(value: Any) -> None:
    if not isinstance(value, str) or not _API_VERSION.fullmatch(value):
        raise InvalidRecord("api_version", f"must be a date such as {DEFAULT_API_VERSION}, not {value!r}")


def _betas(betas: Sequence[str]) -> tuple[str, ...]:
    if isinstance(betas, str):
        raise InvalidRecord("betas", f"must be a list of names, such as [{betas!r}]")
    if not isinstance(betas, Collection):
        raise InvalidRecord("betas", f"must be a list of names, not {betas!r}")
    for name in betas:
        if not isinstance(name, str) or not _BETA.fullmatch(name):
            raise InvalidRecord("betas", f"{name!r} is not the name of a beta")
    return tuple(sorted(set(betas)))


def _sink(on_result: str) -> str:
    """Return what an outcome goes to. A module cannot be called `task`: that word names a Celery task."""
    if isinstance(on_result, str):
        form = _TASK if on_result.startswith("task:") else _HANDLER
        if form.fullmatch(on_result):
            return on_result
    raise InvalidRecord(
        "on_result", f"must look like 'package.module:function' or 'task:NAME@QUEUE', not {on_result!r}"
    )


def _metadata(metadata: Mapping[str, Any]) -> bytes:
    if not isinstance(metadata, Mapping):
        raise InvalidRecord("metadata", f"must be an object, not {_kind(metadata)}")
    body = _dumps("metadata", dict(metadata))
    if len(body) > MAX_METADATA_BYTES:
        raise InvalidRecord("metadata", f"{len(body):,} bytes as JSON; at most {MAX_METADATA_BYTES:,}")
    return body


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
