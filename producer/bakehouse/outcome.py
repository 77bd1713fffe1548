"""What an application is told of one record: by a handler, by a read, or in its tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from bakehouse.errors import ConfigurationError

if TYPE_CHECKING:
    from anthropic.types import Message


@dataclass(frozen=True, slots=True)
class ResultError:
    """Why a record has no answer.

    type        the API's, such as `invalid_request_error` or `overloaded_error`; or ours: `expired`, `missing`, `results_gone`,
                `too_large`, `rejected` (the receipt was refused on acceptance)
    message     in one sentence; may quote the prompt, so it is left out of the repr
    request_id  the API's, which its support asks for; None if it gave none
    """

    type: str
    message: str = field(repr=False)
    request_id: str | None = None


@dataclass(frozen=True, init=False)
class Usage:
    """Tokens of one answer, as the API counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0

    def __init__(
        self,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cache_write_tokens: int = 0,
        cache_read_tokens: int = 0,
    ) -> None:
        # Many thousands are made in a second: all fields in one go, where the __init__ of a frozen dataclass sets one by one.
        self.__dict__.update(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cache_write_tokens=cache_write_tokens,
            cache_read_tokens=cache_read_tokens,
        )


@dataclass(frozen=True, init=False)
class Outcome:
    """The end of one record's way. Its repr holds no content: it may be logged.

    status       "succeeded", "failed", "canceled", or "rejected": the receipt was found invalid or in conflict on acceptance
    attempts     how often it was sent
    error        why there is no answer; None if it succeeded
    usage, cost  of the latest sending: tokens, and USD (None if it did not succeed or its model has no known price)
    model        that answered; None without an answer
    stop_reason  of the answer: look at it, an answer may be cut short (`max_tokens`) or be a refusal (`refusal`)
    metadata     what was given when it was enqueued; empty if nothing was
    delivery_id  stable over repeated deliveries of this outcome: what makes a handler idempotent
    raw          the API's own result object as JSON; empty if there was none, or it was pruned or erased
    """

    job: str
    custom_id: str
    status: str
    attempts: int
    delivery_id: str
    error: ResultError | None = None
    usage: Usage | None = None
    cost: float | None = None
    model: str | None = None
    stop_reason: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    raw: bytes = field(default=b"", repr=False)

    def __init__(
        self,
        job: str,
        custom_id: str,
        status: str,
        attempts: int,
        delivery_id: str,
        error: ResultError | None = None,
        usage: Usage | None = None,
        cost: float | None = None,
        model: str | None = None,
        stop_reason: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        raw: bytes = b"",
    ) -> None:
        self.__dict__.update(  # in one go, as above
            job=job,
            custom_id=custom_id,
            status=status,
            attempts=attempts,
            delivery_id=delivery_id,
            error=error,
            usage=usage,
            cost=cost,
            model=model,
            stop_reason=stop_reason,
            metadata={} if metadata is None else metadata,
            raw=raw,
        )

    @property
    def succeeded(self) -> bool:
        """Whether it has an answer."""
        return self.status == "succeeded"

    @cached_property
    def result(self) -> Mapping[str, Any]:
        """The API's own result object, such as `{"type": "succeeded", "message": {...}}`, or {} if there is none."""
        result = orjson.loads(self.raw) if self.raw else {}
        return result if isinstance(result, dict) else {}

    @property
    def text(self) -> str:
        """The answer's text blocks, joined; empty if it did not succeed or has none."""
        blocks = (self.result.get("message") or {}).get("content") or []
        return "".join(block.get("text", "") for block in blocks if block.get("type") == "text")

    @cached_property
    def message(self) -> Message:
        """The answer as the SDK's typed `Message`, made when first asked for (importing the SDK takes a second).

        Raises ValueError if there is no answer, and ConfigurationError if the SDK is not installed.
        """
        found = self.result.get("message")
        if not isinstance(found, dict):
            raise ValueError(f"{self.custom_id} has no message: it is {self.status}; look at .error")
        try:
            from anthropic.types import Message
        except ModuleNotFoundError:
            raise ConfigurationError("Outcome.message needs Anthropic's SDK: pip install anthropic") from None
        return Message.construct(**found)
