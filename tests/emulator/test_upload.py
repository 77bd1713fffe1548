"""A body is taken whole or not at all, however it arrives."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakehouse_emulator.splitter import Splitter
from bakehouse_emulator.wire import ApiError

HEAD = "POST /v1/messages/batches HTTP/1.1\r\nHost: x\r\nx-api-key: k\r\nanthropic-version: 2026-10-21\r\n"
TRICKY = '},{"custom_id":"nested"'


@pytest.fixture
def send(server):
    """Sends bytes over a socket of its own and closes it; returns what came back."""

    def sent(*parts, half_close=False):
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            for part in parts:
                connection.sendall(part)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
                return connection.recv(1000)
        return b""

    return sent


def _until_seen(server, wait_for, calls):
    wait_for(lambda: server.stats()["calls"].get("create", 0) >= calls, "the create call")


@pytest.mark.parametrize("half_close", [False, True])
def test_a_body_shorter_than_its_length_is_never_accepted(server, api, send, wait_for, half_close):
    body = json.dumps({"requests": api.requests(3)}).encode()
    head = f"{HEAD}Content-Length: {len(body) + 1}\r\n\r\n".encode()
    send(head, body, half_close=half_close)
    _until_seen(server, wait_for, 1)
    assert api.create(1)["request_counts"]["processing"] == 1
    assert len(server.stats()["batches"]) == 1


def test_a_chunked_body_without_its_last_chunk_is_never_accepted(server, api, send, wait_for):
    body = json.dumps({"requests": api.requests(3)}).encode()
    send(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode(), body, b"\r\n")
    _until_seen(server, wait_for, 1)
    api.create(1)
    assert len(server.stats()["batches"]) == 1


def test_a_chunked_body_is_accepted(server, api):
    body = json.dumps({"requests": api.requests(5000)}).encode()
    pieces = (body[start : start + 70_001] for start in range(0, len(body), 70_001))
    answer = api.http.post("/v1/messages/batches", content=pieces)
    assert answer.json()["request_counts"]["processing"] == 5000


def test_a_batch_of_many_megabytes_is_answered_item_by_item(server, api):
    requests = [{"custom_id": f"r{n}", "params": api.params(f"{n} {TRICKY} " + "x" * 2000)} for n in range(2500)]
    batch = api.create(requests)
    server.advance(60)
    results = api.results(batch["id"])
    assert len(results) == 2500
    assert {result["type"] for result in results.values()} == {"succeeded"}


def test_uploads_at_the_same_time_do_not_mix(server, api, call):
    def upload(count):
        return call(server).http.post("/v1/messages/batches", content=_slowly(api, f"{count} ", count)).json()["id"]

    with ThreadPoolExecutor(2) as pool:
        batches = list(pool.map(upload, (4000, 3000)))
    server.advance(60)
    for batch_id, count in zip(batches, (4000, 3000), strict=True):
        assert {f"item-{n}" for n in range(count)} == api.results(batch_id).keys()


def _slowly(api, text, count):
    body = json.dumps({"requests": api.requests(count, text * 100)}).encode()
    return (body[start : start + 10_000] for start in range(0, len(body), 10_000))


ITEMS = st.lists(
    st.fixed_dictionaries(
        {
            "custom_id": st.text(max_size=5),
            "params": st.recursive(
                st.one_of(st.integers(-9, 9), st.sampled_from([TRICKY, '"},{"', "\\", "é", "plain"])),
                lambda inner: st.one_of(
                    st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["custom_id", "params", "x"]), inner)
                ),
                max_leaves=6,
            ),
        }
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(items=ITEMS, compact=st.booleans(), step=st.integers(1, 60), window=st.integers(1, 80))
def test_a_body_cut_anywhere_is_read_as_json_reads_it(items, compact, step, window):
    body = json.dumps({"requests": items}, separators=(",", ":") if compact else None).encode()
    splitter, found = Splitter(window=window), []
    for start in range(0, len(body), step):
        found += splitter.feed(body[start : start + step])
    assert found + splitter.finish() == items


@settings(max_examples=100, deadline=None)
@given(items=ITEMS, cut=st.integers(1, 30), window=st.integers(1, 80))
def test_a_body_without_its_end_is_never_json(items, cut, window):
    body = json.dumps({"requests": items}).encode()
    splitter = Splitter(window=window)
    splitter.feed(body[: max(1, len(body) - cut)])
    with pytest.raises(ApiError):
        splitter.finish()
