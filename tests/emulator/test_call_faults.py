"""Rules that strike whole calls: lost, refused, late, or lied to."""

import time

import httpx2
import pytest

CREATE_STATUSES = [
    ("bad_request", 400, "invalid_request_error"),
    ("usage_limit", 400, "invalid_request_error"),
    ("unauthorized", 401, "authentication_error"),
    ("billing", 402, "billing_error"),
    ("forbidden", 403, "permission_error"),
    ("timeout", 408, "timeout_error"),
    ("conflict", 409, "conflict_error"),
    ("too_large", 413, "request_too_large"),
    ("rate_limit", 429, "rate_limit_error"),
    ("spend_limit", 429, "rate_limit_error"),
    ("server_error", 500, "api_error"),
    ("overloaded", 529, "overloaded_error"),
]


@pytest.mark.parametrize(("fault", "status", "kind"), CREATE_STATUSES)
def test_a_refused_create_leaves_nothing_behind(server, api, fault, status, kind):
    server.rules({"on": "create", "fault": fault, "times": 1})
    answer = api.post(api.requests(1))
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert server.totals()["accepted"] == 0
    assert api.post(api.requests(1)).status_code == 200


@pytest.mark.parametrize("fault", ["server_error", "overloaded"])
def test_a_create_can_be_refused_after_it_was_stored(server, api, fault):
    server.rules({"on": "create", "fault": fault, "accepted": True, "times": 1})
    assert api.post(api.requests(2)).status_code >= 500
    assert server.totals()["accepted"] == 2
    assert len(api.get().json()["data"]) == 1


@pytest.mark.parametrize(("fault", "stored"), [("lost_before_acceptance", 0), ("lost_after_acceptance", 3)])
def test_a_lost_answer_says_nothing_about_what_was_stored(server, api, fault, stored):
    server.rules({"on": "create", "fault": fault, "times": 1})
    with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError, httpx2.WriteError)):
        api.post(api.requests(3))
    assert server.totals()["accepted"] == stored
    assert api.post(api.requests(3)).status_code == 200


def test_a_connection_can_be_lost_in_the_middle_of_the_body(server, api):
    server.rules({"on": "create", "fault": "lost_before_acceptance", "at_bytes": 300_000, "times": 1})
    with pytest.raises(httpx2.TransportError):
        api.post(api.requests(20_000))
    assert server.totals()["accepted"] == 0
    assert server.script()[0]["fired"] == 1


def test_a_refusal_can_name_the_item_that_caused_it(server, api):
    server.rules(
        {"on": "create", "fault": "bad_request", "prompt": "poison é", "names_item": True, "message": "no good"}
    )
    assert api.post([{"custom_id": "a", "params": api.params("fine")}]).status_code == 200
    requests = [{"custom_id": f"r{n}", "params": api.params("poison é" if n == 2 else "fine")} for n in range(4)]
    answer = api.post(requests)
    assert answer.json()["error"]["message"] == "requests.2.params: no good"
    assert [rule["fired"] for rule in server.script()] == [1]


def test_a_refusal_by_content_can_leave_the_item_unnamed(server, api):
    server.rules({"on": "create", "fault": "edge_too_large", "prompt": "poison"})
    answer = api.post([{"custom_id": "a", "params": api.params("poison")}])
    assert answer.status_code == 413 and answer.text.startswith("<html>")
    assert "request-id" not in answer.headers


def test_a_rule_can_wait_for_its_turn_and_for_a_size(server, api):
    server.rules({"on": "create", "fault": "overloaded", "skip": 1, "times": 1, "min_items": 2})
    statuses = [api.post(api.requests(count)).status_code for count in (1, 2, 1, 2, 2)]
    assert statuses == [200, 200, 200, 529, 200]


def test_a_status_can_be_spelt_out(server, api):
    server.rules(
        {
            "on": "create",
            "fault": "status",
            "status": 418,
            "type": "teapot_error",
            "message": "short and stout",
            "code": "tea",
        }
    )
    answer = api.post(api.requests(1))
    wanted = {"type": "teapot_error", "message": "short and stout", "details": {"error_code": "tea"}}
    assert (answer.status_code, answer.json()["error"]) == (418, wanted)


def test_a_slow_answer_comes_after_the_batch_was_stored(server, api, call, wait_for):
    server.rules({"on": "create", "fault": "slow_answer", "seconds": 30})
    api.http.timeout = 0.2
    with pytest.raises(httpx2.ReadTimeout):
        api.post(api.requests(2))
    wait_for(lambda: server.totals()["accepted"] == 2, "the batch")


def test_a_body_can_be_read_slowly(server, api):
    server.rules({"on": "create", "fault": "slow_read", "seconds": 0.05, "times": 1})
    began = time.monotonic()
    api.create(5000)
    assert time.monotonic() - began > 0.1


@pytest.mark.parametrize("on", ["list", "retrieve", "results", "cancel", "delete"])
def test_every_call_can_be_refused_lost_and_then_work(server, api, on):
    batch = api.create()
    if on in ("results", "delete"):
        server.advance(60)
    calls = {
        "list": lambda _: api.get(),
        "retrieve": api.get,
        "results": api.stream,
        "cancel": api.cancel,
        "delete": api.delete,
    }
    server.rules({"on": on, "fault": "overloaded", "times": 1}, {"on": on, "fault": "lost", "times": 1})
    assert calls[on](batch["id"]).status_code == 529
    with pytest.raises(httpx2.TransportError):
        calls[on](batch["id"])
    assert calls[on](batch["id"]).status_code == 200


def test_a_cancel_can_take_effect_and_its_answer_be_lost(server, api):
    batch = api.create()
    server.rules({"on": "cancel", "fault": "lost", "accepted": True, "times": 1})
    with pytest.raises(httpx2.TransportError):
        api.cancel(batch["id"])
    assert api.show(batch["id"])["processing_status"] == "canceling"


def test_a_list_can_be_empty_or_lag_behind(server, api):
    old = api.create()
    server.advance(30)
    new = api.create()
    server.rules(
        {"on": "list", "fault": "empty", "times": 1}, {"on": "list", "fault": "lagging", "seconds": 10, "times": 1}
    )
    assert api.get().json() == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert [batch["id"] for batch in api.get().json()["data"]] == [old["id"]]
    assert [batch["id"] for batch in api.get().json()["data"]] == [new["id"], old["id"]]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({"on": "create", "fault": "overload"}, "got 'overload'"),
        ({"on": "creation", "fault": "overloaded"}, "got 'creation'"),
        ({"on": "create", "fault": "overloaded", "time": 1}, "did you mean 'times'"),
        ({"on": "create", "fault": "overloaded", "times": "once"}, "'times' wants int"),
        ({"on": "create", "fault": "overloaded", "skip": -1}, "cannot be negative"),
        ({"on": "results", "fault": "cut_mid_line", "ending": "bang"}, "got 'bang'"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_in_a_sentence(server, rule, wanted):
    with pytest.raises(ValueError, match=wanted):
        server.rules(rule)
    assert server.script() == []


def test_rules_are_replaced_and_removed(server):
    server.rules({"on": "create", "fault": "overloaded"})
    server.rules({"on": "list", "fault": "empty", "times": 2}, replace=True)
    assert server.script() == [{"on": "list", "fault": "empty", "times": 2, "fired": 0}]
    server.clear()
    assert server.script() == []


def test_a_misspelt_option_is_refused_with_a_suggestion(server):
    with pytest.raises(ValueError, match="did you mean 'batch_seconds'"):
        server.options({"batch_second": 5})
    with pytest.raises(ValueError, match="wants float"):
        server.options({"batch_seconds": "long"})
    with pytest.raises(ValueError, match="when the emulator starts"):
        server.options({"port": 1})


def test_calls_per_minute_are_limited_on_the_emulated_clock(server, api):
    server.options({"requests_per_minute": 2, "retry_after": 9})
    assert [api.get().status_code for _ in range(3)] == [200, 200, 429]
    refused = api.get()
    assert refused.headers["retry-after"] == "9"
    assert refused.headers["anthropic-ratelimit-requests-remaining"] == "0"
    server.advance(30)
    assert api.get().status_code == 200
