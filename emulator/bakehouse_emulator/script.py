"""The script: rules that say which call, item or stream goes wrong, how, and how often."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import orjson

from bakehouse_emulator.declared import check
from bakehouse_emulator.wire import ApiError

USAGE_LIMIT = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
SPEND_LIMIT = "Your organization has reached its monthly spend limit."
STATUSES: dict[str, dict[str, Any]] = {
    "status": {"status": 500},
    "bad_request": {"status": 400, "message": "Invalid request"},
    "usage_limit": {"status": 400, "message": USAGE_LIMIT},
    "unauthorized": {"status": 401, "message": "invalid x-api-key"},
    "billing": {"status": 402, "message": "Your credit balance is too low to access the Anthropic API."},
    "forbidden": {"status": 403, "message": "Your API key does not have permission to use the specified resource."},
    "not_found": {"status": 404, "message": "Not found"},
    "timeout": {"status": 408, "message": "Request timeout"},
    "conflict": {"status": 409, "message": "The resource was changed at the same time."},
    "too_large": {"status": 413, "message": "Request exceeds the maximum size"},
    "edge_too_large": {"status": 413, "html": True},
    "rate_limit": {"status": 429, "retry_after": 1, "message": "This request would exceed your rate limit."},
    "spend_limit": {"status": 429, "code": "enforced_spend_limit_reached", "message": SPEND_LIMIT},
    "server_error": {"status": 500, "message": "Internal server error"},
    "gateway_timeout": {"status": 504, "message": "Gateway timeout"},
    "overloaded": {"status": 529, "message": "Overloaded"},
}
CALLS = ("list", "retrieve", "cancel", "delete", "results", "message", "count_tokens", "models")
STREAM = (
    "cut_mid_line",
    "cut_at_line_end",
    "reset",
    "missing_line",
    "doubled_line",
    "unknown_id",
    "blank_line",
    "slow_stream",
)
ENDS = (
    "errored",
    "expired",
    "canceled",
    "refusal",
    "max_tokens",
    "pause_turn",
    "model_context_window_exceeded",
    "empty",
    "text",
    "unknown_type",
)
ENDINGS = ("clean", "close", "reset")
FAULTS: dict[str, tuple[str, ...]] = {
    "create": (*STATUSES, "lost_before_acceptance", "lost_after_acceptance", "slow_answer", "slow_read"),
    **{call: (*STATUSES, "lost", "slow_answer") for call in CALLS},
    "result": ENDS,
}
FAULTS["list"] += ("empty", "lagging")
FAULTS["results"] += STREAM


@dataclass(slots=True, kw_only=True)
class Rule:
    """One rule. Which keys matter depends on `fault`; those left out keep these defaults."""

    on: str
    fault: str
    times: int | None = None  # how often it fires in all; None = until removed
    skip: int = 0  # how many matching calls pass unharmed before
    prompt: str | None = None  # create, result: only where an item's params contain this text
    share: float = 1.0  # result: this share of inputs, by a seeded hash of the input
    first_times: int | None = None  # result: only the first n times that the same input runs
    min_items: int = 0  # create: only bodies with at least so many items
    accepted: bool = False  # a status or loss comes after the call has taken effect
    names_item: bool = False  # create, with prompt: the message names `requests.N`
    status: int | None = None
    type: str | None = None
    message: str | None = None
    code: str | None = None
    retry_after: int | None = None  # whole real seconds
    html: bool = False
    seconds: float = 0.0  # slow_*: real seconds; lagging: emulated seconds
    at_bytes: int | None = None  # lost_before_acceptance: as soon as so many body bytes were read
    lines: int = 0  # results: how many lines come unharmed before
    ending: str = "clean"  # cut_*: "clean" (looks complete), "close" (no chunk terminator) or "reset"
    text: str | None = None  # text: what the model says
    fired: int = 0
    seen: int = 0

    @property
    def spent(self) -> bool:
        """Whether it has fired as often as it may."""
        return self.times is not None and self.fired >= self.times

    def error(self, position: int | None = None) -> ApiError:
        """The answer of a status rule; `position` is the first item that matched its prompt."""
        preset = STATUSES[self.fault]
        message = self.message or preset.get("message") or f"Scripted status {self.status or preset['status']}"
        if self.names_item and position is not None:
            message = f"requests.{position}.params: {message}"
        return ApiError(
            self.status or preset["status"],
            message,
            kind=self.type,
            code=self.code or preset.get("code"),
            retry_after=preset.get("retry_after") if self.retry_after is None else self.retry_after,
            html=self.html or preset.get("html", False),
        )


KEYS = {each.name: each for each in fields(Rule)}


def rule(values: Mapping[str, Any]) -> Rule:
    """A rule from its JSON object. Raises ValueError naming the key that is unknown or wrong."""
    check("rule key", values, KEYS)
    where, fault = values.get("on"), values.get("fault")
    if where not in FAULTS:
        raise ValueError(f"a rule's `on` is one of {', '.join(FAULTS)}; got {where!r}")
    if fault not in FAULTS[where]:
        raise ValueError(f"on {where!r} the fault is one of {', '.join(FAULTS[where])}; got {fault!r}")
    if values.get("ending", "clean") not in ENDINGS:
        raise ValueError(f"a rule's `ending` is one of {', '.join(ENDINGS)}; got {values['ending']!r}")
    return Rule(**values)


class Script:
    """The rules in force, in order; the first that matches a call fires, and no other."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = list(rules)
        self.changed = False  # something to be remembered

    def active(self, on: str) -> list[Rule]:
        """The rules for this place that may still fire."""
        return [each for each in self.rules if each.on == on and not each.spent]

    def pick(self, on: str, matches: Callable[[Rule], bool] = lambda _: True) -> Rule | None:
        """The rule that strikes this call, already counted; None when the call passes."""
        for each in self.active(on):
            if not matches(each):
                continue
            self.changed = True
            each.seen += 1
            if each.seen > each.skip:
                each.fired += 1
                return each
        return None

    def add(self, rules: Iterable[Rule], *, replace: bool = False) -> None:
        """Put rules behind those in force, or in their place."""
        self.rules = [*([] if replace else self.rules), *rules]
        self.changed = True

    def view(self) -> list[dict[str, Any]]:
        """The rules as JSON objects: the keys that differ from the defaults, and how often each fired."""
        return [_view(each) for each in self.rules]

    def dump(self) -> list[dict[str, Any]]:
        """The rules with all their counts, to be remembered."""
        return [asdict(each) for each in self.rules]


def _view(each: Rule) -> dict[str, Any]:
    plain = asdict(Rule(on=each.on, fault=each.fault))
    own = {key: value for key, value in asdict(each).items() if value != plain[key] and key not in ("seen", "fired")}
    return {"on": each.on, "fault": each.fault, **own, "fired": each.fired}


def read(text: bytes) -> tuple[list[Rule], dict[str, Any], bool]:
    """Rules, options and `replace` of a script: a list of rules, one rule, or `{"rules", "options", "replace"}`."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the script is not JSON: {error}") from None
    if isinstance(body, dict) and "on" in body:
        body = [body]
    if isinstance(body, list):
        body = {"rules": body}
    if not isinstance(body, dict) or not body.keys() <= {"rules", "options", "replace"}:
        raise ValueError('a script is a list of rules or {"rules": [...], "options": {...}, "replace": false}')
    rules = body.get("rules", [])
    if not isinstance(rules, list) or not all(isinstance(each, dict) for each in rules):
        raise ValueError("`rules` is a list of objects")
    return [rule(each) for each in rules], body.get("options", {}), bool(body.get("replace"))
