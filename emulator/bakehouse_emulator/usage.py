"""Tokens, at four characters each: synthetic, but they add up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from bakehouse_emulator.models import BY_NAME

CHARACTERS_PER_TOKEN = 4


def tokens(characters: int) -> int:
    """Characters as tokens, at least one."""
    return max(1, characters // CHARACTERS_PER_TOKEN)


def prompt_tokens(params: dict[str, Any]) -> int:
    """Tokens of the whole prompt: tools, system and messages."""
    return _measure(params)[0]


def usage(params: dict[str, Any], text: str, *, tier: str, cache_hit: bool) -> dict[str, Any]:
    """The usage of a message that answered with this text.

    Up to the last `cache_control` the prompt is read from the cache (`cache_hit`) or written to it, if that prefix is
    long enough for the model; only what follows counts as `input_tokens`. Without one, both cache figures are 0.
    """
    total, prefix, ttl = _measure(params)
    model = BY_NAME.get(params.get("model", ""))
    if model and prefix < model.cacheable:
        prefix = 0
    written = 0 if cache_hit else prefix
    return {
        "input_tokens": total - prefix,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": prefix - written,
        "cache_creation": {
            "ephemeral_5m_input_tokens": 0 if ttl == "1h" else written,
            "ephemeral_1h_input_tokens": written if ttl == "1h" else 0,
        },
        "output_tokens": tokens(len(text)),
        "service_tier": tier,
        "inference_geo": params.get("inference_geo", "global"),
    }


def _measure(params: dict[str, Any]) -> tuple[int, int, str]:
    """Tokens of the prompt, tokens up to its last breakpoint, and that breakpoint's time to live."""
    everywhere, last = params.get("cache_control"), None
    characters = prefix = 0
    for size, own in _blocks(params):
        characters += size
        if own or everywhere:
            prefix, last = characters, own or everywhere
    ttl = last.get("ttl", "5m") if isinstance(last, dict) else "5m"
    return tokens(characters), tokens(prefix) if prefix else 0, ttl


def _blocks(params: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """Size in characters and `cache_control` of each block of the prompt, in the order in which the cache sees them."""
    for tool in _list(params.get("tools")):
        yield len(orjson.dumps(tool)), tool.get("cache_control") if isinstance(tool, dict) else None
    yield from _content(params.get("system"))
    for message in _list(params.get("messages")):
        yield from _content(message.get("content") if isinstance(message, dict) else None)


def _content(content: Any) -> Iterator[tuple[int, Any]]:
    if isinstance(content, str):
        yield len(content), None
    for block in _list(content):
        if isinstance(block, dict):
            text = block.get("text")
            yield len(text) if isinstance(text, str) else len(orjson.dumps(block)), block.get("cache_control")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
