"""How each item of a batch ends: by itself, by a cancel or the expiry, or by a rule of the script."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import orjson

from bakehouse_emulator.batch import Batch
from bakehouse_emulator.members import CANCELED, EXPIRED, FIRST_EFFECT, INVALID, SUCCEEDED, Members
from bakehouse_emulator.message import message
from bakehouse_emulator.script import Rule
from bakehouse_emulator.verdict import Problem, Terms, problem

MASK = 0xFFFF_FFFF_FFFF_FFFF
MOST_EFFECTS = 256 - FIRST_EFFECT
COUNTS_AS = {"errored": "errored", "expired": "expired", "canceled": "canceled", "unknown_type": "errored"}


def lottery(digest: int, seed: int) -> float:
    """A number from 0 to 1 that depends on the input and the seed alone."""
    mixed = ((digest & MASK) ^ (seed * 0x9E37_79B9_7F4A_7C15 & MASK)) * 0xBF58_476D_1CE4_E5B9 & MASK
    return ((mixed ^ mixed >> 31) & 0xFFFF_FFFF) / 2**32


def stop(members: Members, finished: int, *, canceled: bool) -> None:
    """Items behind the first `finished` never ran: they are canceled or expired."""
    rest = len(members) - finished
    if rest > 0:
        members.codes[finished:] = bytes((CANCELED if canceled else EXPIRED,)) * rest


class Casting:
    """Applies the script's result rules to the items of one batch that just ended."""

    def __init__(self, rules: list[Rule], *, seed: int, ran: Callable[[int], int]) -> None:
        self.effects: list[dict[str, Any]] = []
        self._seed = seed
        self._ran = ran
        self._rules = [(each, orjson.dumps(each.prompt)[1:-1] if each.prompt else None) for each in rules]
        self._slots: dict[int, int] = {}

    def apply(self, members: Members, line: Callable[[int], bytes]) -> None:
        """Give each item that ran the end of the first rule that strikes it."""
        for position, code in enumerate(members.codes):
            if code in (SUCCEEDED, INVALID):
                struck = self._strike(members.digests[position], position, line)
                if struck is not None:
                    members.codes[position] = struck

    def _strike(self, digest: int, position: int, line: Callable[[int], bytes]) -> int | None:
        for place, (each, needle) in enumerate(self._rules):
            if (
                each.spent
                or (each.share < 1 and lottery(digest, self._seed) >= each.share)
                or (needle is not None and needle not in line(position))
                or (each.first_times is not None and self._ran(digest) >= each.first_times)
            ):
                continue
            each.fired += 1
            return self._code(place, each)
        return None

    def _code(self, place: int, each: Rule) -> int:
        if place not in self._slots:
            if len(self.effects) == MOST_EFFECTS:
                raise ValueError(f"one batch can have at most {MOST_EFFECTS} kinds of scripted results")
            self._slots[place] = FIRST_EFFECT + len(self.effects)
            self.effects.append({"fault": each.fault, "type": each.type, "message": each.message, "text": each.text})
        return self._slots[place]


def counted(batch: Batch, members: Members, effects: list[dict[str, Any]]) -> Batch:
    """The batch as it ended, with its counts."""
    codes = members.codes
    counts = {
        "succeeded": codes.count(SUCCEEDED),
        "errored": codes.count(INVALID),
        "canceled": codes.count(CANCELED),
        "expired": codes.count(EXPIRED),
    }
    for slot, effect in enumerate(effects):
        counts[COUNTS_AS.get(effect["fault"], "succeeded")] += codes.count(FIRST_EFFECT + slot)
    return replace(batch, ended=True, **cast(dict[str, Any], counts))


def billed(members: Members, effects: list[dict[str, Any]]) -> Iterator[bool]:
    """For each item whether it costs money: it does when the model answered."""
    free = bytearray(256)
    for code in (INVALID, CANCELED, EXPIRED):
        free[code] = 1
    for slot, effect in enumerate(effects):
        free[FIRST_EFFECT + slot] = effect["fault"] in COUNTS_AS
    return (not free[code] for code in members.codes)


def result(
    params: dict[str, Any], code: int, effects: list[dict[str, Any]], *, source: str, terms: Terms, hit: bool
) -> Any:
    """The `result` object of one item. `source` decides the message's id."""
    if code == CANCELED:
        return {"type": "canceled"}
    if code == EXPIRED:
        return {"type": "expired"}
    if code == INVALID:
        found = problem(params, terms) or Problem("api_error", "Internal server error")
        return errored(found.type, found.message)
    effect = effects[code - FIRST_EFFECT] if code >= FIRST_EFFECT else {"fault": None, "text": None}
    return _scripted(effect) or _succeeded(effect, params, source, hit)


def errored(kind: str, text: str) -> dict[str, Any]:
    """An errored result; the error stands in an error, as the API has it."""
    return {"type": "errored", "error": {"type": "error", "error": {"type": kind, "message": text}, "request_id": None}}


def _scripted(effect: dict[str, Any]) -> dict[str, Any] | None:
    match effect["fault"]:
        case "errored":
            return errored(effect["type"] or "api_error", effect["message"] or "Internal server error")
        case "expired" | "canceled" as kind:
            return {"type": kind}
        case "unknown_type":
            return {"type": effect["type"] or "postponed", "note": effect["message"] or "a type from the future"}
    return None


def _succeeded(effect: dict[str, Any], params: dict[str, Any], source: str, hit: bool) -> dict[str, Any]:
    fault, text = effect["fault"], effect["text"]
    if fault in ("empty", "refusal"):
        text = ""
    stop_reason = "end_turn" if fault in (None, "text", "empty") else fault
    said = message(params, source=source, tier="batch", cache_hit=hit, stop_reason=stop_reason, text=text)
    return {"type": "succeeded", "message": said}
