"""The models on offer, with their caps, as `GET /v1/models` shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BIG_OUTPUT = "output-300k-2026-03-24"  # the beta header that lifts the output cap in batches
BIG_OUTPUT_CAP = 300_000


@dataclass(frozen=True, slots=True)
class Model:
    """One model. Tokens are whole tokens; `retired` is a date, or None while the model can be called."""

    id: str
    name: str
    released: str
    context: int = 1_000_000
    output: int = 128_000
    cacheable: int = 1_024  # shortest prefix, in tokens, that can be cached
    big_output: bool = False
    retired: str | None = None
    alias: str | None = None

    def cap(self, betas: str) -> int:
        """The largest `max_tokens` allowed in a batch sent with these beta headers."""
        return BIG_OUTPUT_CAP if self.big_output and BIG_OUTPUT in betas else self.output

    def view(self) -> dict[str, Any]:
        """The model as the API's ModelInfo."""
        return {
            "type": "model",
            "id": self.id,
            "display_name": self.name,
            "created_at": f"{self.released}T00:00:00Z",
            "lifecycle": "retired" if self.retired else "active",
            "deprecated_at": f"{self.retired}T00:00:00Z" if self.retired else None,
            "retires_at": f"{self.retired}T00:00:00Z" if self.retired else None,
            "line": self.id.split("-")[1] if self.id.split("-")[1].isalpha() else None,
            "max_input_tokens": self.context,
            "max_tokens": self.output,
            "capabilities": _capabilities(batch=self.retired is None),
        }


def _capabilities(*, batch: bool) -> dict[str, Any]:
    yes = {"supported": True}
    plain = ("citations", "code_execution", "image_input", "pdf_input", "structured_outputs")
    efforts = {level: yes for level in ("low", "medium", "high", "max", "xhigh")}
    edits = {edit: yes for edit in ("clear_thinking_20251015", "clear_tool_uses_20250919", "compact_20260112")}
    return {
        "batch": {"supported": batch},
        **{name: yes for name in plain},
        "effort": {**yes, **efforts},
        "context_management": {**yes, **edits},
        "thinking": {**yes, "types": {"adaptive": yes, "enabled": yes}},
        "server_tools": {**yes, "web_search": yes, "code_execution": yes},
    }


OFFERED = (
    Model("claude-fable-5-2", "Claude Fable 5.2", "2026-11-09", cacheable=512),
    Model("claude-mythos-5-2", "Claude Mythos 5.2", "2026-11-09", cacheable=512),
    Model("claude-haiku-5-5", "Claude Haiku 5.5", "2026-10-14", cacheable=512),
    Model("claude-sonnet-5-5", "Claude Sonnet 5.5", "2026-10-07", cacheable=512, big_output=True),
    Model("claude-opus-5-5", "Claude Opus 5.5", "2026-10-07", cacheable=512),
    Model("claude-fable-5-1", "Claude Fable 5.1", "2026-09-15", cacheable=512),
    Model("claude-mythos-5-1", "Claude Mythos 5.1", "2026-09-15", cacheable=512),
    Model("claude-fable-5", "Claude Fable 5", "2026-07-01", cacheable=512),
    Model("claude-mythos-5", "Claude Mythos 5", "2026-07-01", cacheable=512),
    Model("claude-opus-5", "Claude Opus 5", "2026-07-01", cacheable=512, big_output=True),
    Model("claude-sonnet-5", "Claude Sonnet 5", "2026-06-10", big_output=True),
    Model("claude-opus-4-8", "Claude Opus 4.8", "2026-05-20", big_output=True),
    Model("claude-opus-4-7", "Claude Opus 4.7", "2026-04-10", cacheable=2_048, big_output=True),
    Model("claude-sonnet-4-6", "Claude Sonnet 4.6", "2026-02-17", big_output=True),
    Model("claude-opus-4-6", "Claude Opus 4.6", "2026-02-05", cacheable=4_096, big_output=True),
    Model(
        "claude-opus-4-5-20251101",
        "Claude Opus 4.5",
        "2025-11-24",
        context=200_000,
        output=64_000,
        cacheable=4_096,
        alias="claude-opus-4-5",
    ),
    Model(
        "claude-haiku-4-5-20251001",
        "Claude Haiku 4.5",
        "2025-10-15",
        context=200_000,
        output=64_000,
        cacheable=4_096,
        alias="claude-haiku-4-5",
    ),
    Model(
        "claude-sonnet-4-5-20250929",
        "Claude Sonnet 4.5",
        "2025-09-29",
        context=200_000,
        output=64_000,
        alias="claude-sonnet-4-5",
    ),
    Model(
        "claude-opus-4-1-20250805",
        "Claude Opus 4.1",
        "2025-08-05",
        context=200_000,
        output=32_000,
        retired="2026-08-05",
        alias="claude-opus-4-1",
    ),
    Model(
        "claude-opus-4-20250514",
        "Claude Opus 4",
        "2025-05-14",
        context=200_000,
        output=32_000,
        retired="2026-06-15",
        alias="claude-opus-4-0",
    ),
    Model(
        "claude-sonnet-4-20250514",
        "Claude Sonnet 4",
        "2025-05-14",
        context=200_000,
        output=64_000,
        retired="2026-06-15",
        alias="claude-sonnet-4-0",
    ),
    Model(
        "claude-3-5-haiku-20241022",
        "Claude Haiku 3.5",
        "2024-10-22",
        context=200_000,
        output=8_192,
        cacheable=2_048,
        retired="2026-02-19",
        alias="claude-3-5-haiku-latest",
    ),
)
BY_NAME = {name: model for model in OFFERED for name in (model.id, model.alias) if name}
