"""`rescue.candidates()`: which listed batches may be the one whose answer was lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakehouse_worker.remote import Remote
from bakehouse_worker.rescue import CLOCK_SKEW, candidates
from bakehouse_worker.store.doubts import Doubt

STARTED = 1_000_000.0


def remote(name, *, requests=100, created_at=STARTED + 5.0):
    return Remote(name, "in_progress", requests, created_at, None, None, archived=False)


def doubt(*, anchor="anchor", refuted=None, requests=100):
    return Doubt(7, 3, requests, "https://api.anthropic.com", "ws", anchor, STARTED, STARTED + 4.0, refuted)


def names(found):
    return [one.id for one in found]


ids = st.lists(st.sampled_from("abcdefghij"), unique=True, max_size=10)
listings = ids.flatmap(
    lambda found: st.tuples(
        *[
            st.builds(
                remote,
                st.just(name),
                requests=st.sampled_from([99, 100]),
                created_at=st.floats(STARTED - 3 * CLOCK_SKEW, STARTED + 3 * CLOCK_SKEW),
            )
            for name in found
        ]
    )
)
doubts = st.builds(doubt, anchor=st.none() | st.sampled_from("abcxyz"), refuted=st.none() | st.sampled_from("abc"))


@given(doubts, listings, st.sets(st.sampled_from("abcdef")))
def test_a_candidate_has_the_same_count_is_unknown_and_unrefuted_and_newer_than_the_anchor(in_doubt, listed, known):
    found = candidates(in_doubt, listed, known)
    position = {one.id: place for place, one in enumerate(listed)}
    for one in found:
        assert one.requests == in_doubt.requests
        assert one.id not in known
        assert one.id != in_doubt.refuted
        if in_doubt.anchor in position:
            assert position[one.id] < position[in_doubt.anchor]
        elif in_doubt.anchor is not None:
            assert one.created_at >= STARTED - CLOCK_SKEW


@given(doubts, listings, st.sets(st.sampled_from("abcdef")))
def test_candidates_keep_the_order_of_the_list_newest_first_and_come_once_each(in_doubt, listed, known):
    found = names(candidates(in_doubt, listed, known))
    assert found == [name for name in names(listed) if name in found]


@given(doubts, listings, st.sets(st.sampled_from("abcdef")), st.integers(0, 10))
def test_our_batch_is_a_candidate_wherever_it_stands_before_the_anchor(in_doubt, listed, known, place):
    position = names(listed).index(in_doubt.anchor) if in_doubt.anchor in names(listed) else len(listed)
    place = min(place, position)
    found = candidates(in_doubt, [*listed[:place], remote("ours"), *listed[place:]], known)
    assert "ours" in names(found)


def test_with_its_anchor_listed_only_what_stands_before_it_may_be_it():
    listed = [remote("newest"), remote("new"), remote("anchor"), remote("old")]
    assert names(candidates(doubt(), listed, set())) == ["newest", "new"]


def test_time_does_not_matter_while_the_anchor_is_listed():
    listed = [remote("ours", created_at=STARTED - 100 * CLOCK_SKEW), remote("anchor")]
    assert names(candidates(doubt(), listed, set())) == ["ours"]


def test_with_its_anchor_as_the_newest_there_is_no_candidate():
    assert candidates(doubt(), [remote("anchor"), remote("old")], set()) == []


def test_with_its_anchor_deleted_the_time_of_creation_tells_with_room_for_clocks_that_differ():
    listed = [
        remote("later", created_at=STARTED + 1),
        remote("slow-clock", created_at=STARTED - CLOCK_SKEW),
        remote("before", created_at=STARTED - CLOCK_SKEW - 1),
    ]
    assert names(candidates(doubt(anchor="deleted"), listed, set())) == ["later", "slow-clock"]


def test_without_an_anchor_the_list_was_empty_so_everything_in_it_is_newer():
    listed = [remote("new"), remote("odd-clock", created_at=0.0)]
    assert names(candidates(doubt(anchor=None), listed, set())) == ["new", "odd-clock"]


@pytest.mark.parametrize("requests", [1, 99, 101, 10_000])
def test_a_batch_of_another_count_is_no_candidate(requests):
    assert candidates(doubt(), [remote("other", requests=requests), remote("anchor")], set()) == []


def test_a_batch_that_the_store_knows_is_no_candidate():
    listed = [remote("known"), remote("unknown"), remote("anchor")]
    assert names(candidates(doubt(), listed, {"known", "elsewhere"})) == ["unknown"]


def test_a_batch_that_proved_to_be_somebody_elses_is_no_candidate_again():
    listed = [remote("refuted"), remote("other"), remote("anchor")]
    assert names(candidates(doubt(refuted="refuted"), listed, set())) == ["other"]


def test_several_that_look_alike_are_all_candidates():
    listed = [remote(name) for name in ("c", "b", "a", "anchor")]
    assert names(candidates(doubt(), listed, set())) == ["c", "b", "a"]


def test_an_empty_list_has_no_candidates():
    assert candidates(doubt(anchor=None), [], set()) == []
