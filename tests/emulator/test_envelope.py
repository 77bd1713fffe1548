"""What a create refuses at once, and what it only says hours later."""

import pytest

LATER = [
    ({"model": None}, "model"),
    ({"model": "claude-nobody-1"}, "model: claude-nobody-1"),
    ({"model": "claude-3-5-haiku-20241022"}, "model: claude-3-5-haiku-20241022"),
    ({"max_tokens": None}, "max_tokens: Field required"),
    ({"max_tokens": 0}, "greater than or equal to 1"),
    ({"max_tokens": 128_001}, "128001 > 128000"),
    ({"max_tokens": "many"}, "valid integer"),
    ({"messages": []}, "at least one message"),
    ({"messages": [{"role": "user", "content": ""}]}, "non-empty"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
    ({"temperature": 1.0}, "temperature: Extra inputs are not permitted"),
    ({"stream": True}, "stream"),
    ({"speed": "fast"}, "speed"),
    ({"fallbacks": []}, "fallbacks"),
    ({"nonsense": 1}, "nonsense: Extra inputs are not permitted"),
]


def _one(custom_id="a", params=None):
    return {"custom_id": custom_id, "params": params or {}}


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b"not json", "not valid JSON"),
        (b'{"requests": [{"custom_id": "a", "params": {}},]}', "not valid JSON"),
        (b"[]", "dictionary"),
        (b"{}", "requests: Field required"),
        (b'{"requests": {}}', "requests: Input should be a valid list"),
        (b'{"requests": []}', "at least 1 item"),
        (b'{"requests": [1]}', "requests.0"),
        (b'{"requests": [{"custom_id": "a"}]}', "requests.0.params: Field required"),
        (b'{"requests": [{"params": {}}]}', "requests.0.custom_id: Field required"),
        (b'{"requests": [{"custom_id": "a", "params": []}]}', "requests.0.params"),
        (b'{"requests": [{"custom_id": "a", "params": {}, "priority": 1}]}', "requests.0.priority: Extra inputs"),
        (b'{"requests": [{"custom_id": "a", "params": {}}], "metadata": {}}', "metadata: Extra inputs"),
        (b'{"requests": [{"custom_id": "", "params": {}}]}', "at least 1 character"),
        (b'{"requests": [{"custom_id": "a b", "params": {}}]}', "should match pattern"),
        (b'{"requests": [{"custom_id": 7, "params": {}}]}', "valid string"),
    ],
)
def test_a_wrong_envelope_is_refused_at_once(api, server, body, wanted):
    answer = api.http.post("/v1/messages/batches", content=body)
    assert answer.status_code == 400
    assert wanted in answer.json()["error"]["message"]
    assert server.totals()["accepted"] == 0


def test_the_first_wrong_custom_id_is_named_by_its_place(api):
    answer = api.post([_one("a"), _one("b"), _one("x" * 65)])
    assert "requests.2.custom_id: String should have at most 64 characters" in answer.json()["error"]["message"]


def test_a_custom_id_used_twice_is_refused_by_its_second_place(api):
    answer = api.post([_one("a"), _one("b"), _one("a")])
    assert answer.json()["error"]["message"].startswith("requests.2.custom_id:")


def test_more_requests_than_allowed_are_refused(server, api):
    server.options({"max_requests": 3})
    assert api.post(api.requests(3)).status_code == 200
    assert "at most 3 items" in api.post(api.requests(4)).json()["error"]["message"]


@pytest.mark.parametrize("html", [False, True])
def test_a_body_over_the_limit_is_413_with_and_without_a_length(server, api, html):
    server.options({"max_body_bytes": 500, "too_large_answer": "html" if html else "json"})
    known = api.post(api.requests(20))
    chunked = api.http.post("/v1/messages/batches", content=iter([b'{"requests": [', b" " * 600]))
    assert known.status_code == chunked.status_code == 413
    for answer in (known, chunked):
        assert answer.text.startswith("<html>") if html else answer.json()["error"]["type"] == "request_too_large"
        assert ("request-id" in answer.headers) is not html
    assert server.totals()["accepted"] == 0


def test_a_full_queue_is_429_with_a_time_to_come_back_and_empties_as_batches_end(server, api):
    server.options({"max_queued_requests": 5, "retry_after": 3})
    api.create(4)
    answer = api.post(api.requests(2))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    server.advance(60)
    assert api.post(api.requests(5)).status_code == 200


@pytest.mark.parametrize(("change", "wanted"), LATER)
def test_wrong_params_are_accepted_and_end_errored(server, api, change, wanted):
    batch = api.of({key: value for key, value in {**api.params(), **change}.items() if value is not None})
    server.advance(60)
    result = api.results(batch["id"])["item-0"]
    assert result["type"] == "errored"
    assert result["error"]["error"]["type"] == "invalid_request_error"
    assert wanted in result["error"]["error"]["message"]
    assert server.totals()["billed"] == 0


def test_sampling_parameters_run_under_the_older_version(server, call):
    api = call(server, version="2023-06-01")
    batch = api.of(api.params(temperature=0.5))
    server.advance(60)
    assert api.results(batch["id"])["item-0"]["type"] == "succeeded"


def test_the_beta_header_lifts_the_output_cap_of_the_models_that_have_it(server, api):
    requests = [{"custom_id": "a", "params": {**api.params(), "model": "claude-sonnet-5-5", "max_tokens": 300_000}}]
    plain, lifted = api.post(requests), api.post(requests, **{"anthropic-beta": "output-300k-2026-03-24"})
    server.advance(60)
    kinds = [api.results(each.json()["id"])["a"]["type"] for each in (plain, lifted)]
    assert kinds == ["errored", "succeeded"]


def test_params_can_be_made_to_be_checked_at_create(start, call):
    api = call(start(params_checked_at_create=True))
    answer = api.post([_one("a", api.params()), _one("b", api.params(max_tokens=0))])
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("requests.1.params.max_tokens")
