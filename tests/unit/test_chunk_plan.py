"""`chunk.plan()`: nothing twice, nothing lost, no batch above a limit, and nothing leaves before its time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bakehouse_worker import wire
from bakehouse_worker.chunk import Capacity, plan
from bakehouse_worker.store.packing import LaneView

NOW = 1_000.0
LINGER = 60.0
FRESH, LINGERED = NOW - 1.0, NOW - LINGER
#: Ids as long as they can be, so that a batch of them is as heavy as it can be.
FIRST_ID = 2**63 - 100_000
PREFIX = wire.prefix(wire.new_installation(), wire.new_nonce())
ATTEMPT = 99_999
AMPLE = Capacity(requests=10, bytes=10_000_000, linger=LINGER, room=1_000_000)


def body_bytes(members):
    """The length of the create's body for (record id, bytes of params), as it goes over the wire."""
    requests = sum(wire.request_size(PREFIX, record_id, ATTEMPT, size) for record_id, size in members)
    return len(wire.OPEN) + requests + max(0, len(members) - 1) + len(wire.CLOSE)


def lane(number, sizes, *, job=None, priority=0, api="2026-10-21", betas="", oldest=FRESH, complete=False, first=None):
    """A lane whose records have ids of their own, in order."""
    start = FIRST_ID + number * 1_000 if first is None else first
    records = tuple((start + position, size) for position, size in enumerate(sizes))
    return LaneView(number, number if job is None else job, priority, api, betas, oldest, complete, records)


small_or_large = st.integers(1, 400) | st.integers(1, 3_000)


@st.composite
def lanes(draw, *, sizes=small_or_large, groups=2, priorities=(-5, 0, 5), ripe=None):
    """Up to seven lanes of up to four jobs. `ripe` True or False: all of them are ready to leave, or none is."""
    found = []
    for number in range(draw(st.integers(0, 7))):
        complete = draw(st.booleans()) if ripe is None else ripe
        found.append(
            lane(
                number,
                draw(st.lists(sizes, min_size=1, max_size=15)),
                job=draw(st.integers(1, 4)),
                priority=draw(st.sampled_from(priorities)),
                betas=draw(st.sampled_from(("", "files-api-2025-04-14"))) if groups > 1 else "",
                api=draw(st.sampled_from(("2026-10-21", "2023-06-01"))) if groups > 1 else "2026-10-21",
                oldest=draw(st.floats(0.0, NOW)) if ripe is None else FRESH,
                complete=complete,
            )
        )
    return found


capacities = st.builds(
    Capacity,
    requests=st.integers(1, 8),
    bytes=st.integers(1_000, 6_000),
    linger=st.just(LINGER),
    room=st.integers(0, 60),
)
roomy = st.builds(
    Capacity, requests=st.integers(1, 8), bytes=st.integers(1_000, 6_000), linger=st.just(LINGER), room=st.just(10_000)
)


def all_of(views):
    return [record for view in views for record in view.sizes]


def key_of(view):
    return view.api_version, view.betas


def planned(made):
    return list(chain.from_iterable(batch.members for batch in made.batches))


# Nothing twice, nothing lost


@given(lanes(), capacities)
def test_no_record_is_planned_twice_or_made_up(views, capacity):
    made = plan(views, capacity, NOW)
    named = Counter(chain(planned(made), made.oversized))
    assert not named - Counter(all_of(views))


@given(lanes(ripe=True), roomy)
def test_of_ready_lanes_no_record_is_left_behind_when_there_is_room(views, capacity):
    made = plan(views, capacity, NOW)
    assert Counter(chain(planned(made), made.oversized)) == Counter(all_of(views))


@given(lanes(ripe=False), roomy)
def test_of_lanes_that_are_not_ready_less_than_a_full_batch_is_left_behind(views, capacity):
    made = plan(views, capacity, NOW)
    done = set(planned(made)) | set(made.oversized)
    for key in {key_of(view) for view in views}:
        left = [record for view in views if key_of(view) == key for record in view.sizes if record not in done]
        assert len(left) < capacity.requests
        assert body_bytes(left) <= capacity.bytes


@given(lanes(), capacities)
def test_the_same_lanes_give_the_same_plan_in_whatever_order_they_are_listed(views, capacity):
    assert plan(views, capacity, NOW) == plan(views[::-1], capacity, NOW)


@given(lanes(), capacities)
def test_no_batch_is_empty(views, capacity):
    assert all(batch.members for batch in plan(views, capacity, NOW).batches)


# Limits


@given(lanes(), capacities)
def test_no_batch_has_more_requests_than_it_may(views, capacity):
    assert all(len(batch.members) <= capacity.requests for batch in plan(views, capacity, NOW).batches)


@given(lanes(), capacities)
def test_no_body_is_longer_on_the_wire_than_it_may_be(views, capacity):
    assert all(body_bytes(batch.members) <= capacity.bytes for batch in plan(views, capacity, NOW).batches)


@given(lanes(), capacities)
def test_no_more_requests_leave_than_there_is_room_for(views, capacity):
    assert len(planned(plan(views, capacity, NOW))) <= capacity.room


def test_without_room_nothing_leaves_but_the_oversized_are_still_named():
    made = plan([lane(1, [10, 9_999_999, 10], complete=True)], Capacity(10, 5_000, LINGER, 0), NOW)
    assert made.batches == ()
    assert [size for _, size in made.oversized] == [9_999_999]


def test_room_is_shared_by_all_batches_and_the_last_one_is_cut_to_it():
    made = plan([lane(1, [10] * 25, complete=True)], Capacity(10, 1_000_000, LINGER, 17), NOW)
    assert [len(batch.members) for batch in made.batches] == [10, 7]
    assert planned(made) == list(lane(1, [10] * 25).sizes[:17])


@given(lanes(), capacities)
def test_only_a_record_that_cannot_travel_alone_is_named_as_oversized(views, capacity):
    oversized = set(plan(views, capacity, NOW).oversized)
    for record in all_of(views):
        alone = body_bytes([record])
        if alone > capacity.bytes:
            assert record in oversized
        elif alone < capacity.bytes:  # at the very limit the comma of a neighbour may be counted
            assert record not in oversized


def test_a_record_that_fills_a_body_to_its_last_byte_and_a_comma_still_travels():
    limit = 10_000
    largest = limit - body_bytes([(2**63 - 1, 0)]) - len(",")
    view = lane(1, [largest, largest + 2], complete=True, first=2**63 - 2)
    made = plan([view], Capacity(10, limit, LINGER, 1_000), NOW)
    assert planned(made) == [view.sizes[0]]
    assert made.oversized == (view.sizes[1],)


@given(lanes(groups=1), capacities, st.sampled_from((-5, 0, 5)))
def test_an_oversized_record_changes_nothing_for_the_records_of_other_jobs(views, capacity, priority):
    huge = lane(9, [capacity.bytes], priority=priority)
    before, after = plan(views, capacity, NOW), plan([*views, huge], capacity, NOW)
    assert after.batches == before.batches
    assert set(after.oversized) - set(before.oversized) == set(huge.sizes)


# What may share a batch, and in which order


@given(lanes(), capacities)
def test_no_batch_mixes_api_versions_or_betas(views, capacity):
    home = {record_id: key_of(view) for view in views for record_id, _ in view.sizes}
    for batch in plan(views, capacity, NOW).batches:
        assert {home[record_id] for record_id, _ in batch.members} == {(batch.api_version, batch.betas)}


@given(lanes(), capacities)
def test_a_lane_leaves_in_its_own_order_and_no_record_overtakes_an_earlier_one(views, capacity):
    made = plan(views, capacity, NOW)
    leaving = planned(made)
    for view in views:
        fitting = [record for record in view.sizes if record not in made.oversized]
        mine = [record for record in leaving if record in set(view.sizes)]
        assert mine == fitting[: len(mine)]


@given(lanes(groups=1), capacities)
def test_nothing_of_lower_priority_leaves_while_something_of_higher_priority_stays(views, capacity):
    made = plan(views, capacity, NOW)
    priority = {record: view.priority for view in views for record in view.sizes}
    leaving = planned(made)
    assert [priority[record] for record in leaving] == sorted((priority[record] for record in leaving), reverse=True)
    staying = [priority[r] for r in priority if r not in set(leaving) and r not in set(made.oversized)]
    if leaving and staying:
        assert max(staying) <= min(priority[record] for record in leaving)


@given(lanes(groups=1, priorities=(0,), sizes=st.integers(1, 400)), capacities)
def test_jobs_of_equal_priority_have_equal_shares_of_the_first_batch_while_they_have_records(views, capacity):
    made = plan(views, capacity, NOW)
    assume(made.batches)
    job = {record: view.job_id for view in views for record in view.sizes}
    has = Counter(job.values())
    share = Counter(job[record] for record in made.batches[0].members)
    for mine in has:
        for other in has:
            assert share[mine] == has[mine] or share[other] - share[mine] <= 1


def test_a_backfill_does_not_starve_todays_records():
    backfill = lane(1, [10] * 900, job=1, oldest=0.0)
    today = lane(2, [10] * 4, job=2, oldest=NOW - 1)
    made = plan([backfill, today], AMPLE, NOW)
    assert set(today.sizes) <= set(made.batches[0].members)


def test_a_job_with_many_lanes_has_no_more_turns_than_one_with_a_single_lane():
    of_many = [lane(number, [10] * 20, job=1, oldest=number) for number in range(1, 6)]
    single = lane(9, [10] * 20, job=2, oldest=50.0)
    first = plan([*of_many, single], AMPLE, NOW).batches[0]
    assert sum(record in single.sizes for record in first.members) == 5


def test_of_equal_jobs_the_one_that_has_waited_longest_begins():
    young, old = lane(1, [10] * 9, job=1, oldest=NOW - 1), lane(2, [10] * 9, job=2, oldest=NOW - 2)
    assert plan([young, old], AMPLE, NOW).batches[0].members[0] == old.sizes[0]


# When a batch leaves


def test_a_part_filled_batch_waits():
    assert plan([lane(1, [10] * 9)], AMPLE, NOW).batches == ()


def test_a_full_batch_leaves_at_once_and_the_rest_waits():
    made = plan([lane(1, [10] * 14)], AMPLE, NOW)
    assert [len(batch.members) for batch in made.batches] == [10]


def test_a_batch_that_is_full_by_bytes_leaves_at_once():
    view = lane(1, [400] * 3)
    limit = body_bytes(view.sizes[:2]) + len(",")
    made = plan([view], Capacity(10, limit, LINGER, 1_000), NOW)
    assert [len(batch.members) for batch in made.batches] == [2]


@pytest.mark.parametrize(("waited", "leaves"), [(LINGER - 0.001, False), (LINGER, True), (10 * LINGER, True)])
def test_a_part_filled_batch_leaves_when_its_oldest_record_has_waited_for_linger(waited, leaves):
    assert bool(plan([lane(1, [10], oldest=NOW - waited)], AMPLE, NOW).batches) is leaves


def test_without_linger_a_batch_leaves_at_once():
    assert plan([lane(1, [10], oldest=NOW)], Capacity(10, 1_000_000, 0.0, 1_000), NOW).batches


def test_a_part_filled_batch_leaves_when_its_job_is_complete():
    assert len(planned(plan([lane(1, [10] * 3, complete=True)], AMPLE, NOW))) == 3


def test_a_lane_that_leaves_takes_along_what_may_share_its_batch_and_nothing_else():
    ready = lane(1, [10], oldest=LINGERED)
    company, stranger = lane(2, [10], job=2), lane(3, [10], job=3, betas="files-api-2025-04-14")
    made = plan([ready, company, stranger], AMPLE, NOW)
    assert set(planned(made)) == {*ready.sizes, *company.sizes}


def test_a_part_filled_batch_waits_for_one_of_its_group_that_is_about_to_leave_and_a_full_one_does_not():
    part = replace(lane(1, [10] * 3, oldest=LINGERED, complete=True), leaving=True)
    assert plan([part], AMPLE, NOW).batches == ()
    full = replace(lane(1, [10] * 13, complete=True), leaving=True)
    assert [len(batch.members) for batch in plan([full], AMPLE, NOW).batches] == [10]


def test_a_batch_that_is_about_to_leave_holds_up_no_other_group():
    held = replace(lane(1, [10], complete=True), leaving=True)
    free = lane(2, [10], complete=True, betas="files-api-2025-04-14")
    assert planned(plan([held, free], AMPLE, NOW)) == list(free.sizes)


@given(lanes(), capacities)
def test_a_part_filled_batch_never_leaves_a_group_in_which_nothing_is_ready(views, capacity):
    made = plan(views, capacity, NOW)
    ready = {key_of(view) for view in views if view.complete or NOW - view.oldest >= LINGER}
    left = capacity.room
    for batch in made.batches:
        key = (batch.api_version, batch.betas)
        left -= len(batch.members)
        if key in ready or left == 0:  # ready, or cut to the room there was
            continue
        others = [r for v in views if key_of(v) == key for r in v.sizes if r not in set(made.oversized)]
        following = [record for record in others if record not in set(planned(made))] + [
            record
            for later in made.batches[made.batches.index(batch) + 1 :]
            if (later.api_version, later.betas) == key
            for record in later.members
        ]
        full = len(batch.members) == capacity.requests
        assert full or any(body_bytes([*batch.members, record]) >= capacity.bytes for record in following)


def test_no_lanes_make_no_batches():
    made = plan([], AMPLE, NOW)
    assert (made.batches, made.oversized) == ((), ())


def test_a_backfill_does_not_take_all_the_room_from_records_of_another_api_version():
    backfill = lane(1, [10] * 50, complete=True, oldest=FRESH - 9_999)
    today = lane(2, [10] * 10, api="2023-06-01", complete=True)
    made = plan([backfill, today], Capacity(10, 1_000_000, LINGER, 20), NOW)
    assert sorted(batch.api_version for batch in made.batches) == ["2023-06-01", "2026-10-21"]


def test_priority_holds_between_records_that_cannot_share_a_batch():
    low = lane(1, [10] * 10, complete=True, priority=0, oldest=FRESH - 9_999)
    high = lane(2, [10] * 10, api="2023-06-01", complete=True, priority=5)
    made = plan([low, high], Capacity(10, 1_000_000, LINGER, 10), NOW)
    assert [batch.api_version for batch in made.batches] == ["2023-06-01"]


# Two that look alike


def counts(made):
    return [len(batch.members) for batch in made.batches]


def test_large_batches_that_leave_together_differ_in_their_counts():
    made = plan([lane(1, [10] * 3_000, complete=True)], Capacity(1_000, 10**9, LINGER, 10**6), NOW)
    assert counts(made) == [1_000, 999, 998, 3]


def test_a_count_that_is_on_its_way_already_is_not_planned_again():
    taken = frozenset({1_000, 998})
    made = plan([lane(1, [10] * 1_998, complete=True)], Capacity(1_000, 10**9, LINGER, 10**6, taken), NOW)
    assert counts(made) == [999, 997, 2]


def test_small_batches_are_filled_whatever_is_on_its_way():
    made = plan([lane(1, [10] * 20, complete=True)], Capacity(10, 10**9, LINGER, 10**6, frozenset({10})), NOW)
    assert counts(made) == [10, 10]
