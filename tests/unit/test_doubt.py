"""`doubt.decide()`: which listed batches may be the one whose answer was lost, and what follows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakehouse_worker.doubt import Absent, Adopt, Doubt, Listing, Read, Wait, candidates, decide
from bakehouse_worker.remote import Remote

#: The API's clock and ours have nothing to do with each other.
ANCHORED, SINCE, HOUR = 1_000_000.0, 5_000_000.0, 3_600.0
API, WORKSPACE = "https://api.anthropic.com", "ws"


def remote(name, *, requests=100, created_at=ANCHORED + 5.0, status="in_progress"):
    return Remote(name, status, requests, created_at, None, None, archived=False)


def doubt(*, anchor="anchor", refuted=None, requests=100):
    anchor_at = None if anchor is None else ANCHORED
    refuted = frozenset([refuted] if refuted else [])
    return Doubt(7, 3, "nonce", requests, API, WORKSPACE, anchor, anchor_at, SINCE, refuted)


def listing(*batches, workspace=WORKSPACE, whole=True):
    return Listing(tuple(batches), API, workspace, whole)


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
                created_at=st.floats(ANCHORED - 3 * HOUR, ANCHORED + 3 * HOUR),
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
        assert one.id not in in_doubt.refuted
        if in_doubt.anchor in position:
            assert position[one.id] < position[in_doubt.anchor]
        elif in_doubt.anchor is not None:
            assert one.created_at >= ANCHORED


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
    listed = [remote("ours", created_at=ANCHORED - 100 * HOUR), remote("anchor")]
    assert names(candidates(doubt(), listed, set())) == ["ours"]


def test_with_its_anchor_as_the_newest_there_is_no_candidate():
    assert candidates(doubt(), [remote("anchor"), remote("old")], set()) == []


def test_with_its_anchor_deleted_the_apis_own_clock_tells_what_is_newer():
    listed = [
        remote("later", created_at=ANCHORED + 1),
        remote("same", created_at=ANCHORED),
        remote("old", created_at=ANCHORED - 1),
    ]
    assert names(candidates(doubt(anchor="deleted"), listed, set())) == ["later", "same"]


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


def verdict(found, *, known=(), waited=0.0, **more):
    return decide(doubt(**more), found, set(known), SINCE + waited, 600.0)


def test_a_single_candidate_that_runs_is_adopted_at_once():
    ours = remote("ours")
    assert verdict(listing(ours, remote("anchor"))) == Adopt(ours)


def test_a_candidate_that_has_ended_is_read_before_it_is_adopted():
    ours, other = remote("ours", status="ended"), remote("other")
    assert verdict(listing(other, ours, remote("anchor"))) == Read((ours,))


def test_several_that_run_are_waited_for_however_long_it_takes():
    found = verdict(listing(remote("b"), remote("a"), remote("anchor")), waited=86_400.0)
    assert isinstance(found, Wait) and "2 batches" in found.reason


@pytest.mark.parametrize(("waited", "expected"), [(0.0, Wait), (599.0, Wait), (600.0, Absent)])
def test_none_is_believed_absent_only_after_the_grace(waited, expected):
    assert isinstance(verdict(listing(remote("anchor")), waited=waited), expected)


def test_a_list_that_broke_off_is_no_evidence():
    found = verdict(listing(remote("other", requests=7), whole=False), waited=86_400.0)
    assert isinstance(found, Wait) and "broke off" in found.reason


def test_a_list_of_another_workspace_says_nothing():
    found = verdict(listing(workspace="another"), waited=86_400.0)
    assert isinstance(found, Wait) and "workspace" in found.reason


@given(doubts, listings, st.sets(st.sampled_from("abcdef")), st.floats(0, 1e6))
def test_while_any_batch_may_be_it_nothing_is_believed_absent(in_doubt, listed, known, waited):
    found = decide(in_doubt, listing(*listed), known, SINCE + waited, 600.0)
    assert not (isinstance(found, Absent) and candidates(in_doubt, listed, known))
