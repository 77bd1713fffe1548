"""Plans put together by hand, for crash points to which chance leads too seldom: what must be so that somebody comes there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.plan import AGAIN, LATE, LEASE, LOST_AFTER, LOST_BEFORE, UNNAMED, Fault, Plan
from chaos.points import EXIT, FREEZE

#: Their seeds begin here.
FIRST = 50_000
#: How often an end or a freeze is wanted in one plan.
OFTEN = 12
DATABASES = ("sqlite", "postgresql")


def corners() -> Iterator[Plan]:
    """Every corner on both databases, the points before and behind a commit apart: the first would take all from the other."""
    seed = FIRST
    for corner in _all():
        for database in DATABASES * corner.times:
            shape = (
                corner.records,
                corner.batch,
                corner.readings,
                tuple(corner.faults),
                "",
                corner.models,
                corner.length,
            )
            yield Plan(seed, database, *shape, handling=corner.handling, limit=90.0)
            seed += 1


@dataclass(frozen=True)
class Corner:
    """What leads to a point, and how many plans of it there are on each database."""

    faults: Sequence[Fault]
    records: int = 1_600
    batch: int = 40
    models: int = 1
    length: int = 200
    handling: float = 0.0
    times: int = 1
    readings: dict[str, Any] = field(default_factory=dict)


def _all() -> Iterator[Corner]:
    lost, unheard = _api(LOST_AFTER, 40), _api(LOST_BEFORE, 40)
    ours = [_api({**rule, "prompt": "seed"}, 40) for rule in (LOST_BEFORE, LOST_AFTER)]  # other software's are answered
    foreign = Fault("foreign", 0.0, {"times": 40})
    # an adopted batch that still runs proves by its results whose it is
    confirmed = "collect:after:submissions.confirm:1"
    yield Corner([_end(confirmed), lost], readings={"batch_seconds": 240}, times=2)
    yield Corner([_nap(confirmed), lost], readings={"batch_seconds": 240}, times=2)
    # the sender sleeps until its batch was adopted from the list; then it reads the answer
    answered: list[Fault] = [_nap("lease:after:submissions.keep_closing:1", 3 * LEASE + 1), _api(LATE, 60)]
    # every smaller size is taken by a batch in doubt
    alike = "submissions._wait_for_doubt:1"
    # the body is too long for the socket's buffers, and the network is slow
    slow = Fault("wire", 0.0, {"mode": "delay", "match": "POST /v1", "seconds": 0.015, "times": 5_000})
    for side in ("before", "after"):
        # what the list shows is other software's, of the same size, and has ended: one line of it tells
        yield Corner([_end(f"rescue:{side}:doubts.refute_candidate:1"), foreign, *ours], times=2)
        yield Corner([_end(f"submit:{side}:answers.answered:1"), *answered], times=2)
        yield Corner([_end(f"submit:{side}:{alike}"), lost, unheard], records=160, batch=2)
        yield Corner([_end(f"submit:{side}:batches.renew:1"), slow], records=900, batch=450, length=45_000)
        # a batch names several models that nobody has asked for yet
        yield Corner([_end(f"submit:{side}:holds.put:2")], records=480, batch=120, models=18, times=10)
    yield Corner([_nap("submit:after:answers.answered:1"), *answered], times=2)
    yield Corner([_nap(f"submit:after:{alike}"), lost, unheard], records=160, batch=2)
    yield Corner([_nap("submit:after:batches.renew:1"), slow], records=900, batch=450, length=45_000)
    # answers that take longer than several renewals of the sender's lease
    yield Corner([_end("lease:after:submissions.keep_closing:2"), _api(LATE, 60)])
    yield Corner([_nap("submit:after:holds.take_turn:1")])
    yield from _deliveries()
    # nothing is known to be at the API, and its list shows nothing: absence waits for a second look
    nothing = _api({"on": "list", "fault": "empty"}, 60)
    for side in ("before", "after"):
        for look in (1, 2):
            yield Corner([_end(f"rescue:{side}:doubts.lacking_since:{look}"), nothing, unheard])
        # several submissions at a time are taken for other software's batches
        yield Corner([_end(f"rescue:{side}:doubts.refute_candidate:2"), foreign, *ours], times=2)
        # a batch is refused for a record that the refusal does not name, and is halved until it stands alone
        yield Corner([_end(f"submit:{side}:packing.dissolve:1"), Fault("api", 0.0, UNNAMED)], records=3_200)
    for side in ("before", "after"):  # a span of successes is settled
        yield Corner([_end(f"settle:{side}:successes._settle:1")], records=3_200, times=2)


def _deliveries() -> Iterator[Corner]:
    """What a deliver worker had in hand when it ended is taken over one by one, by one that ends as well."""
    for side, ends in (("before", 3), ("after", OFTEN)):  # what ends before a commit comes to the same again
        in_hand = _end("deliver:after:deliveries.claim:1", times=ends)
        yield Corner([_end(f"deliver:{side}:deliveries.delivered:1")], records=3_200)
        for verb in ("claim_lost:1", "claim_lost:2", "let_go:1", "let_go:2", "delivered:2"):
            yield Corner([_end(f"deliver:{side}:deliveries.{verb}"), in_hand], records=3_200)
        for turn in (1, 2):  # the lease on what is in hand is prolonged while a slow handler works
            slow = _end(f"deliver:{side}:deliveries.renew:{turn}")
            yield Corner([slow], records=3_200, handling=0.12, times=2)


def _api(rule: dict[str, object], times: int) -> Fault:
    return Fault("api", 0.0, {**rule, "times": times})


def _end(point: str, times: int = OFTEN) -> Fault:
    return Fault("point", 0.05, {"point": point, "do": EXIT, "times": times, "seconds": AGAIN})


def _nap(point: str, seconds: float = LEASE + 0.6) -> Fault:
    return Fault("point", 0.05, {"point": point, "do": FREEZE, "times": OFTEN, "seconds": seconds})
