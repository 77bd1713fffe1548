"""What an emulator can be told: one typed object, settable by command line, script file and control endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from bakehouse_emulator.declared import check

FIXED_AT_START = frozenset({"host", "port", "state", "script", "port_file", "quiet"})
CHOICES = {
    "both_auth_headers": ("x-api-key", "reject"),
    "too_large_answer": ("json", "html"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorOptions:
    """Every switch. "Seconds" are emulated seconds unless a line says real."""

    host: str = "127.0.0.1"
    port: int = 0  # 0 = any free port
    state: str | None = None  # directory that survives a kill; None = nothing survives
    script: str | None = None  # JSON file with rules and options
    port_file: str | None = None  # receives the port once the emulator listens
    quiet: bool = False

    speed: float = 60.0  # emulated seconds per real second; 0 = the clock moves only when stepped
    batch_seconds: float = 60.0  # how long a batch takes; its items finish evenly over that time
    cancel_seconds: float = 5.0  # how long a cancelled batch stays in `canceling`
    canceled_share: float | None = None  # share of items a cancel catches; None = those not finished by then
    expire_seconds: float = 86_400.0
    archive_seconds: float = 29 * 86_400.0

    keys: dict[str, str] = field(default_factory=dict)  # API key -> workspace
    default_workspace: str = "wrkspc_default"
    organization_id: str = "5a1c7f0e-6d3b-4c55-9f1e-0b7d2c9e8a41"
    both_auth_headers: str = "x-api-key"  # which wins when a call carries both; or "reject" (401)
    seed: int = 0  # order of result lines, shares of rules

    max_body_bytes: int = 256_000_000
    max_requests: int = 100_000
    max_queued_requests: int = 200_000
    requests_per_minute: int = 0  # 0 = no limit
    retry_after: int = 1  # real seconds, sent with every 429 of these two limits
    too_large_answer: str = "json"  # or "html", as an edge proxy answers

    params_checked_at_create: bool = False  # True: one bad item refuses the whole create
    unknown_model_type: str = "invalid_request_error"  # error type of an item that names an unknown model
    cancel_ended_is_error: bool = True  # False: cancelling an ended batch returns it unchanged
    delete_running_status: int = 400
    results_before_end_status: int = 404
    results_gone_status: int = 404
    archived_keeps_url: bool = False
    results_url: str = "absolute"  # "absolute", "relative", or a foreign origin such as "https://elsewhere.invalid"
    cache_hit_rate: float = 0.5  # share of items with cache_control that read the cache; the others write it

    def changed(self, values: Mapping[str, Any]) -> EmulatorOptions:
        """A copy with these options set. Raises ValueError naming the one that is unknown, fixed or of a wrong type."""
        check("option", values, {each.name: each for each in fields(self)})
        for name, value in values.items():
            if name in FIXED_AT_START:
                raise ValueError(f"option {name!r} can only be set when the emulator starts")
            if name in CHOICES and value not in CHOICES[name]:
                raise ValueError(f"option {name!r} is one of {', '.join(CHOICES[name])}; got {value!r}")
        return replace(self, **values)
