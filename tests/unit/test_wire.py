"""Ids on the wire: within what the API takes, readable back, and their bytes known before they are made."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from bakehouse_worker import wire

TAKEN_BY_THE_API = re.compile(r"[a-zA-Z0-9_-]{1,64}")

installations = st.from_regex(r"[0-9a-f]{8}", fullmatch=True)
nonces = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)
record_ids = st.integers(0, 2**63 - 1)
attempts = st.integers(0, 99_999)
params = st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3).map(
    lambda value: json.dumps(value).encode()
)


def id_in(head):
    return json.loads(head + b"{}}")["custom_id"]


@given(installations, nonces, record_ids, attempts)
def test_an_id_read_back_names_the_installation_the_submission_the_record_and_the_attempt(
    installation, nonce, record_id, attempt
):
    custom_id = id_in(wire.request_head(wire.prefix(installation, nonce), record_id, attempt))
    assert wire.parse(custom_id) == wire.WireId(installation, nonce, record_id, attempt)


@given(record_ids, attempts)
def test_every_id_is_one_that_the_api_takes(record_id, attempt):
    prefix = wire.prefix(wire.new_installation(), wire.new_nonce())
    assert TAKEN_BY_THE_API.fullmatch(id_in(wire.request_head(prefix, record_id, attempt)))


def test_the_longest_id_there_can_be_is_one_that_the_api_takes():
    prefix = wire.prefix("f" * 8, "f" * 16)
    assert TAKEN_BY_THE_API.fullmatch(id_in(wire.request_head(prefix, 2**63 - 1, 99_999)))


def test_ids_of_others_are_read_as_nothing():
    ours = "0123abcd-0123456789abcdef-42-0"
    assert wire.parse(ours)
    for custom_id in (
        "",
        "ticket-42",
        "item-1",
        ours.upper(),
        ours[1:],
        f"x{ours}",
        f"{ours}-1",
        f"{ours}x",
        f" {ours}",
        ours.replace("-42", "--42"),
        ours.replace("-42", "-"),
        ours.rpartition("-")[0],
        ours.replace("-", "_"),
    ):
        assert wire.parse(custom_id) is None, custom_id


@given(st.text())
def test_reading_an_id_never_raises(custom_id):
    wire.parse(custom_id)


@given(installations, nonces, record_ids, attempts, params)
def test_the_size_of_a_request_is_the_length_of_its_real_bytes(installation, nonce, record_id, attempt, body):
    prefix = wire.prefix(installation, nonce)
    request = wire.request_head(prefix, record_id, attempt) + body + b"}"
    assert wire.request_size(prefix, record_id, attempt, len(body)) == len(request)
    assert json.loads(request)["params"] == json.loads(body)


@given(record_ids, attempts, st.integers(0, 200_000_000))
def test_no_request_and_its_comma_add_more_to_the_params_than_the_overhead(record_id, attempt, size):
    prefix = wire.prefix(wire.new_installation(), wire.new_nonce())
    assert wire.request_size(prefix, record_id, attempt, size) + len(b",") <= size + wire.OVERHEAD


def test_the_overhead_is_reached_by_the_longest_ids_so_it_wastes_nothing():
    prefix = wire.prefix("f" * 8, "f" * 16)
    assert wire.request_size(prefix, 2**63 - 1, 99_999, 0) + len(b",") == wire.OVERHEAD


@given(st.lists(st.tuples(record_ids, attempts, params), min_size=1, max_size=5, unique_by=lambda member: member[0]))
def test_the_pieces_join_to_a_body_whose_every_request_can_be_told_by_its_id(members):
    installation, nonce = wire.new_installation(), wire.new_nonce()
    prefix = wire.prefix(installation, nonce)
    requests = [wire.request_head(prefix, record_id, attempt) + body + b"}" for record_id, attempt, body in members]
    found = json.loads(wire.OPEN + b",".join(requests) + wire.CLOSE)["requests"]
    assert [wire.parse(one["custom_id"]) for one in found] == [
        wire.WireId(installation, nonce, record_id, attempt) for record_id, attempt, _ in members
    ]
    assert [one["params"] for one in found] == [json.loads(body) for _, _, body in members]


def test_nonces_and_installations_are_as_long_as_they_say_and_do_not_repeat():
    nonces_made = {wire.new_nonce() for _ in range(2_000)}
    assert len(nonces_made) == 2_000
    assert all(re.fullmatch(r"[0-9a-f]{16}", nonce) for nonce in nonces_made)
    assert all(re.fullmatch(r"[0-9a-f]{8}", wire.new_installation()) for _ in range(100))
