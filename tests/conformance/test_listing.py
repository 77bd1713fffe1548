"""The list of batches, paged both ways."""

import itertools

import anthropic
import pytest


@pytest.fixture(scope="module")
def three(subject, batches):
    """Three batches, oldest first."""
    made = [batches.create(requests=subject.requests(f"Say {word}.")).id for word in ("a", "b", "c")]
    yield made
    for batch_id in made:
        batches.cancel(batch_id)


def test_the_list_begins_with_the_newest_batch(batches, three):
    page = batches.list(limit=3)
    assert [batch.id for batch in page.data] == three[::-1]
    assert (page.first_id, page.last_id) == (three[2], three[0])


def test_after_id_gives_the_next_older_batches(batches, three):
    page = batches.list(limit=1, after_id=three[2])
    assert [batch.id for batch in page.data] == [three[1]]
    assert page.has_more is True


def test_before_id_gives_the_batches_just_newer(batches, three):
    page = batches.list(limit=1, before_id=three[0])
    assert [batch.id for batch in page.data] == [three[1]]
    assert page.has_more is True
    assert batches.list(limit=2, before_id=three[0]).has_more is False


def test_nothing_is_newer_than_the_newest(batches, three):
    page = batches.list(before_id=three[2])
    assert (page.data, page.has_more, page.first_id, page.last_id) == ([], False, None, None)


def test_iterating_walks_over_all_pages_in_order(batches, three):
    walked = itertools.islice(batches.list(limit=1), 3)
    assert [batch.id for batch in walked] == three[::-1]


@pytest.mark.parametrize("limit", [0, 1001])
def test_a_limit_outside_1_to_1000_is_refused(batches, limit):
    with pytest.raises(anthropic.BadRequestError, match="limit"):
        batches.list(limit=limit)
