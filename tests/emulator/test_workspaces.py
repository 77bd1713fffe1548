"""Whose batches a key sees, and which keys and versions are let in."""

import httpx2
import pytest

PATH = "/v1/messages/batches"


def test_batches_of_another_workspace_are_not_found_and_not_listed(start, call):
    server = start(keys={"key-a": "wrkspc_a", "key-b": "wrkspc_b"})
    ours, theirs = call(server, key="key-a"), call(server, key="key-b")
    batch = ours.create()
    assert theirs.get(batch["id"]).status_code == 404
    assert theirs.cancel(batch["id"]).status_code == 404
    assert theirs.get().json()["data"] == []
    assert ours.get().headers["anthropic-workspace-id"] == "wrkspc_a"
    assert call(server, key="unknown").get().headers["anthropic-workspace-id"] == "wrkspc_default"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": "k"}, 200),
        ({"authorization": "Bearer k"}, 200),
        ({}, 401),
        ({"authorization": "Basic k"}, 401),
        ({"x-api-key": "bad-key"}, 401),
        ({"authorization": "Bearer bad"}, 401),
        ({"x-api-key": "k", "anthropic-workspace-id": "wrkspc_default"}, 200),
        ({"x-api-key": "k", "anthropic-workspace-id": "wrkspc_else"}, 400),
    ],
)
def test_a_key_is_wanted_in_one_of_two_headers(server, headers, status):
    answer = httpx2.get(server.url + PATH, headers={"anthropic-version": "2026-10-21", **headers})
    assert answer.status_code == status
    assert ("anthropic-workspace-id" in answer.headers) == (status != 401)


def test_both_headers_at_once_are_decided_by_an_option(start):
    server = start(keys={"one": "wrkspc_one", "two": "wrkspc_two"})
    headers = {"anthropic-version": "2026-10-21", "x-api-key": "one", "authorization": "Bearer two"}
    assert httpx2.get(server.url + PATH, headers=headers).headers["anthropic-workspace-id"] == "wrkspc_one"
    server.options({"both_auth_headers": "reject"})
    assert httpx2.get(server.url + PATH, headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("version", "status"), [("2023-06-01", 200), ("2026-10-21", 200), ("2025-01-01", 400), (None, 400)]
)
def test_the_version_header_is_wanted(server, version, status):
    headers = {"x-api-key": "k"} | ({"anthropic-version": version} if version else {})
    assert httpx2.get(server.url + PATH, headers=headers).status_code == status


def test_a_path_or_method_that_is_not_there_is_refused_as_the_api_would(server, api):
    for answer in (api.http.get("/v1/nothing"), api.http.put(PATH)):
        assert answer.status_code in (404, 405)
        assert answer.json()["request_id"] == answer.headers["request-id"]


def test_both_cursors_at_once_are_refused(api):
    batch = api.create()
    answer = api.http.get(PATH, params={"after_id": batch["id"], "before_id": batch["id"]})
    assert answer.status_code == 400
