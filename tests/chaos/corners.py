"""Plans put together by hand, for crash points to which chance leads too seldom: what must be so that somebody comes there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chaos.plan import AGAIN, LATE, LEASE, LOST_AFTER, LOST_BEFORE, Fault, Plan
from chaos.points import EXIT, FREEZE

#: Their seeds begin here.
FIRST = 50_000
#: How often an end or a freeze is wanted in one plan.
OFTEN = 12
CONFIRM, REFUTE = "submissions.confirm:1", "doubts.refute_candidate:1"
ANSWERED, ALIKE = "answers.answered:1", "submissions._wait_for_doubt:1"


def corners() -> Iterator[Plan]:
    """Every corner on both databases, the points before and behind a commit apart: the first would take all from the other."""
    for number, (faults, shape) in enumerate(_all()):
        for turn, database in enumerate(("sqlite", "postgresql")):
            records, batch, models, length = shape
            yield Plan(FIRST + 2 * number + turn, database, records, batch, {}, tuple(faults), "", models, length, 90.0)


Shape = tuple[int, int, int, int]


def _all() -> Iterator[tuple[Sequence[Fault], Shape]]:
    usual, tiny, long, mixed = (1_600, 40, 1, 200), (160, 2, 1, 200), (900, 450, 1, 20_000), (960, 60, 18, 200)
    lost, unheard = _api(LOST_AFTER, 40), _api(LOST_BEFORE, 40)
    # an adopted batch proves by its results whose it is
    yield [_end("collect:after:" + CONFIRM), _nap("collect:after:" + CONFIRM), lost], usual
    for side in ("before", "after"):
        # what the list shows is other software's, of the same size, and has ended: one line of it tells
        alike = Fault("foreign", 0.0, {"times": 40})
        yield [_end(f"rescue:{side}:" + REFUTE), alike, unheard, lost], usual
        # the sender sleeps until its batch was adopted from the list; then it reads the answer
        sleeps = [_nap(f"lease:after:submissions.keep_closing:{count}", 2 * LEASE + 0.5) for count in (1, 2)]
        yield [_end(f"submit:{side}:" + ANSWERED), *sleeps, _api(LATE, 60)], usual
        # every smaller size is taken by a batch in doubt
        yield [_end(f"submit:{side}:" + ALIKE), lost, unheard], tiny
        # the body is too long for the socket's buffers, and the server reads slowly
        slow = _api({"on": "create", "fault": "slow_read", "seconds": 0.03}, 60)
        yield [_end(f"submit:{side}:batches.renew:1"), slow], long
        # a batch names several models that nobody has asked for yet
        yield [_end(f"submit:{side}:holds.put:2")], mixed
    yield [_nap("submit:after:" + ANSWERED), *sleeps, _api(LATE, 60)], usual
    yield [_nap("submit:after:" + ALIKE), lost, unheard], tiny
    yield [_nap("submit:after:batches.renew:1"), slow], long


def _api(rule: dict[str, object], times: int) -> Fault:
    return Fault("api", 0.0, {**rule, "times": times})


def _end(point: str) -> Fault:
    return Fault("point", 0.05, {"point": point, "do": EXIT, "times": OFTEN, "seconds": AGAIN})


def _nap(point: str, seconds: float = LEASE + 0.6) -> Fault:
    return Fault("point", 0.05, {"point": point, "do": FREEZE, "times": OFTEN, "seconds": seconds})
