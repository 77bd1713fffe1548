"""When a batch's time at the API runs out, and what is to be told of it. Pure: `status`, `doctor` and metrics say the same.

Times are seconds since 1970 by our clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bakehouse_worker.local.progress import age
from bakehouse_worker.states import OPEN_STATES

HOUR, DAY = 3600.0, 86_400.0
#: Seconds from a batch's creation after which what has not run expires (Anthropic, Message Batches API: 24 h).
RUNS = 24 * HOUR
#: Seconds from a batch's creation that the API keeps its results (Anthropic, Message Batches API: 29 days).
KEPT = 29 * DAY
#: Seconds before results go from which on an uncollected batch is told.
NOTICE = 2 * DAY
#: Seconds that a batch may seem to run beyond RUNS, and beyond the moment that the API named: polls are minutes apart.
BEYOND, BEYOND_NAMED = 1 * HOUR, 10 * 60.0

#: What an alarm is about: results that the API is about to delete, or a batch that should have ended.
RESULTS, STUCK = "results", "stuck"


@dataclass(frozen=True, slots=True)
class Uncollected:
    """A batch that the API has and whose results are not here. `expires_at` is the API's own word, if it gave one."""

    batch_id: int
    state: str
    requests: int
    created_at: float
    expires_at: float | None

    @property
    def gone_at(self) -> float:
        """When the API deletes its results."""
        return self.created_at + KEPT


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a person must know of a batch: of which kind, and what the batch does, as the rest of a sentence."""

    batch_id: int
    kind: str
    told: str


def alarm(batch: Uncollected, now: float) -> Alarm | None:
    """Return what is to be told of a batch at a time; of two troubles, the one that loses answers."""
    left = batch.gone_at - now
    if left <= NOTICE:
        when = f"in {age(left)}" if left > 0 else "by now"
        return Alarm(batch.batch_id, RESULTS, f"is not collected, and the API deletes its results {when}")
    ran = now - batch.created_at
    late = batch.expires_at is not None and now - batch.expires_at > BEYOND_NAMED
    if batch.state in OPEN_STATES and (late or ran > RUNS + BEYOND):
        told = f"is {batch.state} since {age(ran)}, expired or stuck: the API ends every batch within {age(RUNS)}"
        return Alarm(batch.batch_id, STUCK, told)
    return None


def alarms(batches: Iterable[Uncollected], now: float) -> list[Alarm]:
    """Return what is to be told of batches at a time, in their order."""
    return [found for batch in batches if (found := alarm(batch, now)) is not None]
