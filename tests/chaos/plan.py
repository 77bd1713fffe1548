"""A seed becomes a plan: which records, on which database, and what goes wrong when. The same seed and points, the same plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from chaos.points import EXIT, FREEZE

LEASE = 2.0
#: Crash points per plan: after a round of all points by so many, the first have their turn again.
CRASHES = 5
#: Seconds in which faults begin; records are enqueued over the same time.
SPAN = 4.0

Rule = dict[str, Any]
LOST_BEFORE: Rule = {"on": "create", "fault": "lost_before_acceptance"}
LOST_MIDWAY: Rule = {**LOST_BEFORE, "at_bytes": 3_000}
LOST_AFTER: Rule = {"on": "create", "fault": "lost_after_acceptance"}
LATE: Rule = {"on": "create", "fault": "slow_answer", "seconds": 1.5}
WAITS: Rule = {"on": "create", "fault": "rate_limit"}
NAMED: Rule = {"on": "create", "fault": "bad_request", "prompt": "poison", "names_item": True, "times": None}
UNNAMED: Rule = {"on": "create", "fault": "bad_request", "prompt": "poison", "times": None}
LIST_LOST: Rule = {"on": "list", "fault": "lost"}
RESULTS_LOST: Rule = {"on": "results", "fault": "lost"}
FAILS_ONCE: Rule = {"on": "result", "fault": "errored", "prompt": "shaky", "first_times": 1, "times": None}

#: What the API may do. `prompt` strikes the records whose text contains it; "poison" ones are to fail, all others to succeed.
#: No 409: after one, all submissions wait for a minute, and so would the test.
API: tuple[Rule, ...] = (
    LOST_BEFORE,
    LOST_MIDWAY,
    LOST_AFTER,
    LATE,
    {"on": "create", "fault": "slow_answer", "seconds": 3.5},
    {"on": "create", "fault": "slow_read", "seconds": 0.8},
    {"on": "create", "fault": "server_error"},
    {"on": "create", "fault": "server_error", "accepted": True},
    {"on": "create", "fault": "overloaded", "accepted": True},
    {"on": "create", "fault": "gateway_timeout", "accepted": True},
    WAITS,
    {"on": "create", "fault": "unauthorized"},
    NAMED,
    UNNAMED,
    {"on": "create", "fault": "edge_too_large", "prompt": "poison", "times": None},
    {"on": "list", "fault": "server_error"},
    LIST_LOST,
    {"on": "list", "fault": "empty"},
    {"on": "list", "fault": "lagging", "seconds": 60},
    {"on": "results", "fault": "server_error"},
    RESULTS_LOST,
    {"on": "results", "fault": "cut_mid_line", "lines": 7},
    {"on": "results", "fault": "cut_mid_line", "lines": 7, "ending": "close"},
    {"on": "results", "fault": "cut_at_line_end", "lines": 7},
    {"on": "results", "fault": "cut_at_line_end", "lines": 7, "ending": "reset"},
    {"on": "results", "fault": "reset", "lines": 5},
    {"on": "results", "fault": "missing_line", "lines": 3},
    {"on": "results", "fault": "doubled_line", "lines": 3},
    {"on": "results", "fault": "unknown_id", "lines": 3},
    FAILS_ONCE,
    {"on": "result", "fault": "expired", "prompt": "shaky", "first_times": 1, "times": None},
)
WIRE: tuple[dict[str, Any], ...] = (
    {"mode": "cut", "match": "POST /v1", "after": 4_000},
    {"mode": "reset", "match": "POST /v1", "after": 4_000},
    {"mode": "hole", "match": "POST /v1", "after": 4_000},
    {"mode": "delay", "match": "POST /v1", "seconds": 0.4, "times": 8},
    {"mode": "cut", "match": "POST /v1", "direction": "down", "after": 60},
    {"mode": "reset", "match": "POST /v1", "direction": "down"},
    {"mode": "hole", "match": "POST /v1", "direction": "down"},
    {"mode": "cut", "match": "/results", "direction": "down", "after": 3_000},
    {"mode": "reset", "match": "/results", "direction": "down", "after": 3_000},
    {"mode": "hole", "match": "/results", "direction": "down", "after": 3_000},
)
REDIS_WIRE: tuple[dict[str, Any], ...] = (
    {"mode": "cut", "after": 2_000, "times": 3},
    {"mode": "reset", "direction": "down", "after": 500, "times": 3},
    {"mode": "hole", "after": 1_000, "times": 2},
    {"mode": "delay", "seconds": 0.05, "times": 40},
)
PROCESSES: tuple[dict[str, Any], ...] = (
    *({"do": "kill", "role": role} for role in ("control", "transfer", "transfer", "deliver", "beat")),
    {"do": "stop", "role": "transfer", "seconds": LEASE + 1.5},
    {"do": "stop", "role": "control", "seconds": LEASE + 1.5},
    {"do": "restart redis", "seconds": 0.5},
    {"do": "restart redis", "seconds": 0.0},
    {"do": "flush redis"},
)
#: Readings of what Anthropic's documents leave open, or leave to the caller.
READINGS: dict[str, tuple[Any, ...]] = {
    "results_url": ("absolute", "relative", "https://elsewhere.invalid"),
    "results_before_end_status": (404, 400, 409),
    "results_gone_status": (404, 410),
    "too_large_answer": ("json", "html"),
    "both_auth_headers": ("x-api-key", "reject"),
    "params_checked_at_create": (False, True),
    "unknown_model_type": ("invalid_request_error", "not_found_error"),
    "delete_running_status": (400, 409),
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, `at` seconds after the first record. `kind`: api, wire, redis wire, process, point."""

    kind: str
    at: float
    how: dict[str, Any]

    @property
    def name(self) -> str:
        """What the table calls it."""
        how = self.how
        if self.kind == "point":
            return f"{how['do']} at {how['point']}"
        if self.kind == "process":
            return " ".join(str(how[key]) for key in ("do", "role") if key in how)
        if self.kind == "api":
            more = [
                f"{key} {how[key]}"
                for key in ("accepted", "at_bytes", "ending", "names_item", "prompt")
                if how.get(key)
            ]
            return ", ".join([f"API, {how['on']}: {how['fault']}", *more])
        where = f"after {how['match']}" if how.get("match") else "anywhere"
        return f"{self.kind}: {how['mode']} {how.get('direction', 'up')}, {where}"


@dataclass(frozen=True)
class Plan:
    """Everything that a scenario needs to know."""

    seed: int
    database: str
    records: int
    batch: int
    readings: dict[str, Any]
    faults: tuple[Fault, ...]
    without: str = ""
    limit: float = 60.0  # seconds from the last fault within which everything must have its end

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1))


def read(file: Path) -> Plan:
    """A plan as a scenario has written it."""
    fields = json.loads(file.read_text())
    return Plan(**{**fields, "faults": tuple(Fault(**each) for each in fields["faults"])})


def plan(seed: int, points: Sequence[str]) -> Plan:
    """Choose. Crash points go round, so that every one has its turn; the rest is drawn."""
    dice = Random(f"plan {seed}")
    turn = [points[(seed * CRASHES + number) % len(points)] for number in range(CRASHES)] if points else []
    faults = [Fault("point", _when(dice) / 2, {"point": point, "do": EXIT}) for point in turn]
    if frozen := [point for point in points if ":after:" in point and point.startswith(("submit", "collect", "lease"))]:
        how = {"point": dice.choice(frozen), "do": FREEZE, "seconds": round(LEASE + dice.uniform(0.5, 3), 1)}
        faults.append(Fault("point", _when(dice), how))
    faults += [Fault("api", _when(dice), {"times": 1, **rule}) for rule in dice.sample(API, 4)]
    faults += [Fault("api", 0.0, {"times": 1, **rule}) for rule in _leading_to(turn)]
    faults += [Fault("wire", _when(dice), dict(how)) for how in dice.sample(WIRE, 2)]
    faults += [Fault("redis wire", _when(dice), dict(how)) for how in dice.sample(REDIS_WIRE, 1)]
    faults += [Fault("process", _when(dice), dict(how)) for how in dice.sample(PROCESSES, 3)]
    readings = {name: dice.choice(values) for name, values in READINGS.items()}
    database = "postgresql" if seed % 2 else "sqlite"
    records, batch = dice.randrange(300, 1_001), dice.randrange(20, 61)
    return Plan(seed, database, records, batch, readings, tuple(sorted(faults, key=lambda each: each.at)))


def names(points: Sequence[str]) -> set[str]:
    """The name of everything that plans with these points let go wrong, but for freezes, which are drawn among them."""
    kinds = (("api", API), ("wire", WIRE), ("redis wire", REDIS_WIRE), ("process", PROCESSES))
    known = {Fault(kind, 0.0, how).name for kind, hows in kinds for how in hows}
    return known | {Fault("point", 0.0, {"point": point, "do": EXIT}).name for point in points}


def recording() -> Plan:
    """A plan without crashes in which every station has its work: what it passes are the points."""
    rules = [LOST_BEFORE, LOST_MIDWAY, LOST_AFTER, LATE, WAITS, LIST_LOST, RESULTS_LOST, FAILS_ONCE]
    rules += [{**NAMED, "times": 1}, UNNAMED]
    faults = [Fault("api", 0.0, {"times": 1, **rule}) for rule in rules]
    return Plan(0, "sqlite", 300, 20, {}, tuple(faults))


def _when(dice: Random) -> float:
    return round(dice.uniform(0.0, SPAN), 2)


def _leading_to(points: Sequence[str]) -> list[dict[str, Any]]:
    """The API's faults without which nobody comes to these points."""
    found = []
    if any("doubts" in point or point.startswith("rescue") for point in points):
        found += [LOST_BEFORE, LOST_AFTER]
    if any("back_to_packed" in point or "put_off" in point for point in points):
        found += [LOST_MIDWAY, LIST_LOST, RESULTS_LOST]
    if any("dissolve" in point or "fail_unsent" in point or "ready" in point for point in points):
        found += [{**NAMED, "times": 1}, UNNAMED]
    if any("holds" in point for point in points):
        found += [WAITS]
    if any(point.startswith("lease") for point in points):
        found += [{**LATE, "times": 4}]
    return found
