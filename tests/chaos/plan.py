"""A seed becomes a plan: which records, on which database, and what goes wrong when. The same seed and points, the same plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from chaos.points import EXIT, FREEZE

#: Seconds before a point at which a process ended is armed again.
AGAIN = 0.3

LEASE = 2.0
#: Records of a plan, from and below.
SIZES = (3_200, 7_200)
#: Crash points per plan, and how often a process ends at each: the next of the round, and those that fired least so far.
CRASHES, RARE, TIMES = 3, 3, 3
#: Points per plan at which a process freezes, twice.
FREEZES = 2
#: Points of a plan that aims at what fired too rarely, and how often each is armed in it.
AIMED, OFTEN = 8, 6
#: Seconds in which faults begin; records are enqueued over the same time.
SPAN = 5.0

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
    {"do": "hold the database", "seconds": LEASE + 1.5},
    {"do": "set the clock", "by": 3_600},
    {"do": "set the clock", "by": -3_600},
    {"do": "restart postgresql", "seconds": 0.5},
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
    """One thing that goes wrong, `at` seconds after the first record. `kind`: api, wire, redis wire, process, point, foreign."""

    kind: str
    at: float
    how: dict[str, Any]

    @property
    def name(self) -> str:
        """What the table calls it."""
        how = self.how
        if self.kind == "point":
            return f"{how['do']} at {how['point']}"
        if self.kind == "foreign":
            return "other software's batch, of the size of one in doubt"
        if self.kind == "process":
            return " ".join(str(how[key]) for key in ("do", "role", "by") if key in how)
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
    models: int = 1
    length: int = 200  # characters of a prompt, and some
    handling: float = 0.0  # seconds that the application takes for one outcome
    limit: float = 60.0  # seconds since the last fault in which nothing came to its end: something hangs

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1))


def read(file: Path) -> Plan:
    """A plan as a scenario has written it."""
    fields = json.loads(file.read_text())
    return Plan(**{**fields, "faults": tuple(Fault(**each) for each in fields["faults"])})


def plan(seed: int, points: Sequence[str], fired: Mapping[str, int] | None = None) -> Plan:
    """Choose. Half goes round or is drawn, the other half is what fired least so far, by its name in the table."""
    dice, database = Random(f"plan {seed}"), "postgresql" if seed % 2 else "sqlite"
    chooser = _Chooser(dice, fired or {})
    ends = [_at_point(point, EXIT, TIMES, AGAIN) for point in points]
    turn = [ends[(seed * CRASHES + number) % len(ends)] for number in range(CRASHES)] if ends else []
    turn += chooser.rarest([end for end in ends if end not in turn], RARE)
    frozen = [_at_point(point, FREEZE, 2, round(LEASE + dice.uniform(0.5, 3), 1)) for point in _naps(points)]
    turn += chooser.choose(frozen, FREEZES)
    chosen = chooser.choose([Fault("api", 0.0, {"times": 1, **rule}) for rule in API], 5)
    chosen += chooser.choose([Fault("wire", 0.0, dict(how)) for how in WIRE], 3)
    chosen += chooser.choose([Fault("redis wire", 0.0, dict(how)) for how in REDIS_WIRE], 1)
    possible = [how for how in PROCESSES if database == "postgresql" or "postgresql" not in how["do"]]
    chosen += chooser.choose([Fault("process", 0.0, dict(how)) for how in possible], 3)
    faults = [replace(fault, at=_when(dice) / 2) for fault in turn] + [replace(f, at=_when(dice)) for f in chosen]
    faults += [Fault("api", 0.0, {"times": 1, **rule}) for rule in _leading_to([*turn, *chosen])]
    readings = {name: dice.choice(values) for name, values in READINGS.items()}
    records = dice.randrange(*SIZES)
    batch = records // dice.randrange(15, 40)
    return Plan(seed, database, records, batch, readings, tuple(sorted(faults, key=lambda each: each.at)))


def aimed(seed: int, points: Sequence[str], fired: Mapping[str, int], least: int) -> Plan | None:
    """A plan that aims at ends and freezes which fired fewer than `least` times, often in one run; None if there are none."""
    dice, database = Random(f"aimed {seed}"), "postgresql" if seed % 2 else "sqlite"
    ends = [_at_point(point, EXIT, OFTEN, AGAIN) for point in points]
    frozen = [_at_point(point, FREEZE, OFTEN, round(LEASE + dice.uniform(0.5, 2), 1)) for point in _naps(points)]
    low = [fault for fault in (*ends, *frozen) if fired.get(fault.name, 0) < least]
    if not low:
        return None
    turn = dice.sample(low, min(len(low), AIMED))
    rules = [{**rule, "times": max(OFTEN, rule.get("times") or 1)} for rule in _leading_to(turn)]
    faults = [replace(fault, at=round(dice.uniform(0.0, 0.5), 2)) for fault in turn]
    faults += [Fault("api", _when(dice) if rule["fault"] == "empty" else 0.0, rule) for rule in rules]
    records = dice.randrange(*SIZES) // 2
    return Plan(seed, database, records, records // 40, {}, tuple(sorted(faults, key=lambda each: each.at)))


def _naps(points: Sequence[str]) -> list[str]:
    """The points at which processes freeze: behind a commit of those that talk to the API."""
    return [point for point in points if ":after:" in point and point.startswith(("submit", "collect", "lease"))]


def small(made: Plan) -> Plan:
    """The same plan with fewer records, for a suite that is run often."""
    return replace(made, records=made.records // 8, batch=max(20, made.batch // 8))


class _Chooser:
    def __init__(self, dice: Random, fired: Mapping[str, int]) -> None:
        self._dice, self._fired = dice, fired

    def rarest(self, faults: Sequence[Fault], count: int) -> list[Fault]:
        """Those that fired least."""
        mixed = self._dice.sample(faults, len(faults))
        return sorted(mixed, key=lambda fault: self._fired.get(fault.name, 0))[:count]

    def choose(self, faults: Sequence[Fault], count: int) -> list[Fault]:
        """Half of them those that fired least, the others drawn."""
        chosen = self.rarest(faults, (count + 1) // 2)
        others = [fault for fault in faults if fault not in chosen]
        return chosen + self._dice.sample(others, min(len(others), count // 2))


def _at_point(point: str, do: str, times: int, seconds: float) -> Fault:
    return Fault("point", 0.0, {"point": point, "do": do, "times": times, "seconds": seconds})


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


#: What the API must do so that somebody comes to points with one of these words in them: (words, rules).
LEADS: tuple[tuple[tuple[str, ...], tuple[Rule, ...]], ...] = (
    (("doubts", "rescue:"), ({**LOST_BEFORE, "times": 3}, {**LOST_AFTER, "times": 3})),
    (("back_to_packed", "put_off"), tuple({**rule, "times": 3} for rule in (LOST_MIDWAY, LIST_LOST, RESULTS_LOST))),
    (("dissolve", "fail_unsent", "ready"), ({**NAMED, "times": 3}, UNNAMED)),
    (("confirm", "refute"), ({**LOST_AFTER, "times": 3},)),
    (("batches.put_off",), ({"on": "results", "fault": "missing_line", "lines": 3, "times": 3},)),
    (("lacking_since",), ({"on": "list", "fault": "empty", "times": 4},)),
    (("holds",), ({**WAITS, "times": 3},)),
    (("lease:", "answered"), ({**LATE, "times": 8},)),
)


def _leading_to(faults: Sequence[Fault]) -> list[dict[str, Any]]:
    """The API's faults without which nobody comes to these points, or asks for the list."""
    points = [fault.how["point"] for fault in faults if fault.kind == "point"]
    found: list[Rule] = []
    if any(fault.how.get("on") == "list" for fault in faults):
        found += [LOST_AFTER, LOST_MIDWAY]
    for words, rules in LEADS:
        if any(word in point for word in words for point in points):
            found += rules
    return found
