"""The answer to a prompt, as a pure function: tests can say what the model "said" without asking it."""

from __future__ import annotations

import hashlib
import re
from typing import Any

POSITIVE = frozenset(
    [
        "love",
        "great",
        "excellent",
        "perfect",
        "delighted",
        "sturdy",
        "recommend",
        "fantastic",
        "beautifully",
        "comfortable",
    ]
)
NEGATIVE = frozenset(
    ["broke", "broken", "terrible", "disappointed", "refund", "awful", "flimsy", "stopped", "leaks", "useless"]
)
QUEUES = {
    "billing": frozenset(
        ["charged", "charge", "invoice", "refund", "payment", "card", "subscription", "price", "billed"]
    ),
    "shipping": frozenset(["parcel", "delivery", "delivered", "courier", "tracking", "shipped", "package", "address"]),
    "technical": frozenset(["crash", "crashes", "error", "bug", "freezes", "app", "update", "install", "loading"]),
    "account": frozenset(["password", "login", "account", "email", "username", "locked", "profile", "verification"]),
}
WORD = re.compile(r"[a-z]+")


def answer(params: Any) -> str:
    """What the emulated model says to these params. Defined for any JSON value.

    A prompt with `Review:` that asks for a sentiment gets positive, negative or mixed; one with `Ticket:` gets the
    queue it belongs to: billing, shipping, technical or account.
    Any other gets `answer to ` and the first 12 hex digits of the SHA-256 of the last user message's text.
    """
    text = last_user_text(params)
    if "Review:" in text and "sentiment" in text:
        return _sentiment(text.rpartition("Review:")[2])
    if "Ticket:" in text:
        return _queue(text.rpartition("Ticket:")[2])
    return "answer to " + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def last_user_text(params: Any) -> str:
    """The text of the last user message, its text blocks joined by newlines; empty when there is none."""
    messages = params.get("messages") if isinstance(params, dict) else None
    for message in reversed(messages) if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role") == "user":
            return content_text(message.get("content"))
    return ""


def content_text(content: Any) -> str:
    """The text in a message's content: a plain string, or the text blocks of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (block.get("text") for block in content if isinstance(block, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def _sentiment(review: str) -> str:
    words = set(WORD.findall(review.lower()))
    good, bad = bool(words & POSITIVE), bool(words & NEGATIVE)
    return {(True, False): "positive", (False, True): "negative"}.get((good, bad), "mixed")


def _queue(ticket: str) -> str:
    words = set(WORD.findall(ticket.lower()))
    return max(QUEUES, key=lambda queue: len(words & QUEUES[queue]))
