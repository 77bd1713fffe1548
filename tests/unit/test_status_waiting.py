"""What pending records wait for: each reason with its number, exact as long as one look can tell."""

from __future__ import annotations

from bakehouse_worker.status.waiting import Held, waits
from bakehouse_worker.store.glance import LIMIT, LaneLook

NOW = 1_000.0
FREE = Held(frozenset(), frozenset(), full=False, linger=60.0, batch=10_000)


def lane(due=0, later=0, model="m", oldest=NOW, first=NOW + 30):
    return LaneLook(1, model, due, oldest if due else None, later, first if later else None)


def told(pending, *lanes, held=FREE):
    return [(each.reason, each.records, each.more, each.until) for each in waits("job", pending, lanes, held, NOW)]


def test_due_records_wait_for_company_until_the_oldest_has_lingered() -> None:
    assert told(3, lane(due=3, oldest=NOW - 20)) == [("linger", 3, False, NOW + 40)]
    assert told(3, lane(due=3, oldest=NOW - 60)) == [("packing", 3, False, None)]


def test_records_that_fill_a_batch_wait_for_no_company() -> None:
    full = Held(frozenset(), frozenset(), full=False, linger=60.0, batch=3)
    assert told(3, lane(due=3), held=full) == [("packing", 3, False, None)]


def test_a_full_queue_holds_what_is_due_and_not_what_backs_off() -> None:
    full = Held(frozenset(), frozenset(), full=True, linger=60.0, batch=10_000)
    assert told(5, lane(due=3, later=2), held=full) == [("queue_full", 3, False, None), ("backoff", 2, False, NOW + 30)]


def test_a_parked_model_holds_its_lanes_alone_and_a_parked_job_all_of_them() -> None:
    lanes = (lane(due=3, later=1, model="parked"), lane(due=2, oldest=NOW - 99))
    model = Held(frozenset(), frozenset({"parked"}), full=False, linger=60.0, batch=10_000)
    assert told(6, *lanes, held=model) == [("parked_model", 4, False, None), ("packing", 2, False, None)]
    job = Held(frozenset({"job"}), frozenset({"parked"}), full=False, linger=60.0, batch=10_000)
    assert told(6, *lanes, held=job) == [("parked_job", 6, False, None)]


def test_the_one_number_that_a_look_cannot_count_is_what_the_others_leave() -> None:
    assert told(5_000, lane(due=LIMIT), lane(later=7)) == [
        ("linger", 4_993, False, NOW + 60),
        ("backoff", 7, False, NOW + 30),
    ]


def test_two_numbers_that_a_look_cannot_count_are_told_as_at_least() -> None:
    found = told(5_000, lane(due=LIMIT, later=LIMIT))
    assert found == [("linger", LIMIT, True, NOW + 60), ("backoff", LIMIT, True, NOW + 30)]
