"""What Flower is told of a task."""

from __future__ import annotations

import pickle

import pytest
from celery import Celery

from bakehouse_worker.telling import Again, Failed, Station, arguments, counted


def station(body):
    return Celery(set_as_current=False).task(name="bakehouse.station", base=Station)(body)


def test_an_error_is_told_by_its_type_and_place_and_never_by_its_text(caplog):
    def breaks():
        raise ValueError("canary in the text")

    with pytest.raises(Failed) as caught:
        station(breaks)()
    assert "ValueError" in str(caught.value)
    assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"


@pytest.mark.parametrize("told", [Again("overloaded_error"), Failed("invalid_request_error")])
def test_a_reason_passes_as_it_is_and_crosses_the_pool_whole(told):
    def tells():
        raise told

    with pytest.raises(type(told)) as caught:
        station(tells)()
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), repr(again)) == (type(told), repr(told))


@pytest.mark.parametrize(
    ("words", "requests", "shown"),
    [
        ((), None, "()"),
        ((42,), None, "(batch 42)"),
        ((42,), 10_000, "(batch 42, 10,000 requests)"),
        ((42,), 1, "(batch 42, 1 request)"),
        ((42, [7]), None, "(batch 42, record 7)"),
        ((42, [7, 8, 9]), None, "(batch 42, 3 results)"),
    ],
)
def test_arguments_are_shown_as_a_person_would_say_them(words, requests, shown):
    assert arguments(words, requests) == shown


def test_what_is_nothing_is_not_counted():
    assert counted(succeeded=1_000, sent_again=0, failed=2) == "1,000 succeeded, 2 failed"
    assert counted(succeeded=0) == "nothing"
