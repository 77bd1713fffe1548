"""Outcomes made by hand, as the workers would make them: for tests of what an application does with an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from bakehouse.outcome import Outcome, ResultError, Usage

#: The model that answers where a test names none.
MODEL = "claude-haiku-5-5"


def make_outcome(
    *,
    text: str = "an answer",
    custom_id: str = "record-1",
    job: str = "default",
    error: ResultError | str | None = None,
    status: str | None = None,
    attempts: int = 1,
    model: str = MODEL,
    stop_reason: str = "end_turn",
    usage: Usage | None = None,
    cost: float | None = None,
    metadata: Mapping[str, Any] | None = None,
    delivery_id: str | None = None,
) -> Outcome:
    """Make an `Outcome` to call a handler with; `raw`, and so `result` and `message`, look as the API writes them.

    text    what the model says; without meaning if there is an `error`
    error   why there is no answer: a `ResultError`, or its type alone, such as "invalid_request_error" or "expired"
    status  "succeeded" without an error and "failed" with one, unless you say "canceled" or "rejected"

    Raises ValueError for a status that there is not, or that does not go with the error.
    """
    told = ResultError(error, f"a test says {error}") if isinstance(error, str) else error
    status = _status(status, told)
    answered = status == "succeeded"
    tokens = (usage or Usage(input_tokens=10, output_tokens=5)) if answered else usage
    return Outcome(
        job=job,
        custom_id=custom_id,
        status=status,
        attempts=attempts,
        delivery_id=delivery_id or f"{job}/{custom_id}",
        error=told,
        usage=tokens,
        cost=cost,
        model=model if answered else None,
        stop_reason=stop_reason if answered else None,
        metadata=metadata or {},
        raw=orjson.dumps(_answer(text, model, stop_reason, tokens or Usage())) if answered else _trouble(status, told),
    )


def _status(status: str | None, error: ResultError | None) -> str:
    status = status or ("failed" if error else "succeeded")
    if status not in ("succeeded", "failed", "canceled", "rejected"):
        raise ValueError(f"status: there is no {status!r}; it is succeeded, failed, canceled or rejected")
    if (status == "succeeded") == (error is not None) and status != "canceled":
        raise ValueError(f"status: {status!r} goes {'without' if error else 'with'} an error")
    return status


def _answer(text: str, model: str, stop_reason: str, usage: Usage) -> dict[str, Any]:
    message = {
        "id": "msg_made_by_a_test",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_creation_input_tokens": usage.cache_write_tokens,
            "cache_read_input_tokens": usage.cache_read_tokens,
            "service_tier": "batch",
        },
    }
    return {"type": "succeeded", "message": message}


def _trouble(status: str, error: ResultError | None) -> bytes:
    """Return the API's word for what has no answer; a receipt that was rejected never reached the API."""
    if status == "rejected":
        return b""
    if error is None or error.type in ("expired", "canceled"):
        return orjson.dumps({"type": error.type if error else status})
    inner = {"type": error.type, "message": error.message}
    told = {"type": "error", "error": inner, "request_id": error.request_id}
    return orjson.dumps({"type": "errored", "error": told})
