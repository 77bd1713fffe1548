"""Whether params would run: the checks that the API makes hours later, item by item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bakehouse_emulator.models import BY_NAME, Model

SAMPLING = ("temperature", "top_p", "top_k")
STRICT_VERSION = "2026-10-21"  # from this API version on, sampling parameters are refused
NOT_IN_BATCHES = frozenset(
    ("speed", "store", "previous_thread_event_id", "cache_hint", "context_hint", "fallbacks", "thread")
)
KNOWN = frozenset(
    [
        "cache_control",
        "container",
        "diagnostics",
        "inference_geo",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "thinking",
        "tool_choice",
        "tools",
        "user_profile_id",
        "context_management",
        "compaction",
        "mcp_servers",
        "fallback_credit_token",
        "billing_policy",
        "output_format",
        "betas",
        "research_preview_2026_02",
        "temperature",
        "top_p",
        "top_k",
    ]
)
REFUSED_VALUES = {"stream": True, "research_preview_2026_02": "active"}
SENSIBLE = KNOWN | NOT_IN_BATCHES
PLAIN = KNOWN.difference(SAMPLING, REFUSED_VALUES)  # keys that need no second look
NEVER = object()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why params cannot run: the API's error type and its sentence."""

    type: str
    message: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides besides the params; `unknown_model_type` is the error type that an unknown model gets."""

    version: str
    betas: str = ""
    batch: bool = True
    unknown_model_type: str = "invalid_request_error"


def problem(params: Any, terms: Terms) -> Problem | None:
    """The first thing wrong with these params, or None when they would run."""
    if not isinstance(params, dict):
        return _invalid("params: Input should be a valid dictionary")
    name = params.get("model")
    if not isinstance(name, str):
        return _invalid("model: Field required" if name is None else "model: Input should be a valid string")
    model = BY_NAME.get(name)
    if model is None or model.retired:
        return Problem(terms.unknown_model_type, f"model: {name}")
    return (
        _wrong_max_tokens(params.get("max_tokens"), name, model, terms)
        or _wrong_messages(params.get("messages"))
        or (None if params.keys() <= PLAIN else _wrong_keys(params, terms))
    )


def _invalid(message: str) -> Problem:
    return Problem("invalid_request_error", message)


def _wrong_max_tokens(value: Any, name: str, model: Model, terms: Terms) -> Problem | None:
    if value is None:
        return _invalid("max_tokens: Field required")
    if not isinstance(value, int) or isinstance(value, bool):
        return _invalid("max_tokens: Input should be a valid integer")
    if value < 1:
        return _invalid("max_tokens: Input should be greater than or equal to 1")
    cap = model.cap(terms.betas)
    if value > cap:
        allowed = f"which is the maximum allowed number of output tokens for {name}"
        return _invalid(f"max_tokens: {value} > {cap}, {allowed}")
    return None


def _wrong_messages(messages: Any) -> Problem | None:
    if messages is None:
        return _invalid("messages: Field required")
    if not isinstance(messages, list):
        return _invalid("messages: Input should be a valid list")
    if not messages:
        return _invalid("messages: at least one message is required")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            return _invalid(f"messages.{index}: Input should be a valid dictionary")
        if message.get("role") not in ("user", "assistant", "system"):
            return _invalid(f"messages.{index}.role: Input should be 'user', 'assistant' or 'system'")
        content = message.get("content")
        if not isinstance(content, (str, list)):
            return _invalid(f"messages.{index}.content: Input should be a valid string or list")
        if not content:
            return _invalid(f"messages.{index}: messages must have non-empty content")
    return None


def _wrong_keys(params: dict[str, Any], terms: Terms) -> Problem | None:
    strict = terms.version >= STRICT_VERSION
    for key, value in params.items():
        if (strict and key in SAMPLING) or key not in SENSIBLE:
            return _invalid(f"{key}: Extra inputs are not permitted")
        if terms.batch and (key in NOT_IN_BATCHES or REFUSED_VALUES.get(key, NEVER) == value):
            return _invalid(f"{key}: not supported in the Message Batches API")
    return None
