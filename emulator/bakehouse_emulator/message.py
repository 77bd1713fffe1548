"""A Message as the API returns it."""

from __future__ import annotations

from typing import Any

from bakehouse_emulator.answer import answer
from bakehouse_emulator.ids import message_id
from bakehouse_emulator.models import BY_NAME
from bakehouse_emulator.usage import usage

REFUSAL = {
    "type": "refusal",
    "category": "cyber",
    "explanation": "The request was declined by a usage policy classifier.",
}


def message(
    params: dict[str, Any],
    *,
    source: str,
    tier: str,
    cache_hit: bool,
    stop_reason: str = "end_turn",
    text: str | None = None,
) -> dict[str, Any]:
    """The message that answers these params; `source` decides its id, `text` replaces the predictable answer.

    An empty text gives an empty content list.
    """
    said = answer(params) if text is None else text
    model = BY_NAME.get(params["model"])
    return {
        "id": message_id(source),
        "type": "message",
        "role": "assistant",
        "model": model.id if model else params["model"],
        "content": [{"type": "text", "text": said}] if said else [],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "stop_details": REFUSAL if stop_reason == "refusal" else None,
        "usage": usage(params, said, tier=tier, cache_hit=cache_hit),
    }
