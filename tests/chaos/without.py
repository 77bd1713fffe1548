"""Each safeguard put to its own test twice, once taken out: a ledger that counts 0 both times would prove nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from chaos.plan import LEASE, Fault, Plan
from chaos.points import EXIT, FREEZE
from chaos.scenario import Outcome, carry_out
from chaos.services import Services

_LOST_AFTER = {"on": "create", "fault": "lost_after_acceptance"}


def _api(**rule: Any) -> Fault:
    return Fault("api", 0.0, rule)


def _point(point: str, do: str, seconds: float = 0.0) -> Fault:
    return Fault("point", 0.0, {"point": point, "do": do, "times": 1, "seconds": seconds})


FAULTS: dict[str, tuple[Fault, ...]] = {
    "doubt_is_looked_into": (_api(**_LOST_AFTER, times=3),),
    "absence_takes_time_and_evidence": (_api(**_LOST_AFTER, times=2), _api(on="list", fault="lagging", seconds=90)),
    "no_two_look_alike": (_api(on="create", fault="lost_before_acceptance", times=1), _api(**_LOST_AFTER, times=1)),
    "closing_is_compared_and_set": (_point("submit:after:submissions.anchor:1", FREEZE, LEASE + 1.5),),
    "a_stalled_sender_gives_up": (_point("submit:after:submissions.closing:1", FREEZE, LEASE + 5),),
    "acceptance_acknowledges_last": (_point("accept:before:records.accept:1", EXIT),),
}


def plan(safeguard: str) -> Plan:
    """What happens in the test of a safeguard. Batches take 6 s, so that what sleeps wakes while its batch still runs."""
    return Plan(0, "sqlite", 80, 5, {"batch_seconds": 360}, FAULTS[safeguard], limit=25.0)


def compare(safeguard: str, home: Path, services: Services) -> tuple[Outcome, Outcome]:
    """The same plan with the safeguard and without it."""
    found = []
    for without in ("", safeguard):
        folder = home / f"{safeguard}-{'off' if without else 'on'}"
        shutil.rmtree(folder, ignore_errors=True)
        found.append(carry_out(replace(plan(safeguard), without=without), folder, services))
    return found[0], found[1]
