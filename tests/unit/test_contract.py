"""The wire between an application and the workers: what goes in comes out, and garbage is told as garbage."""

from __future__ import annotations

import json
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakehouse import contract
from bakehouse.contract import Close, Keys, Record, UnknownWireVersion, decode, encode_close, encode_record

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
named = text.filter(bool)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=10,
)
records = st.builds(
    Record,
    job=named,
    custom_id=named,
    params=st.binary(max_size=100),
    digest=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    model=named,
    api_version=named,
    priority=st.integers(-1000, 1000),
    betas=st.lists(named, max_size=3).map(tuple),
    on_result=st.none() | named,
    metadata=st.none() | st.dictionaries(text, values, max_size=4).map(orjson.dumps),
    replace=st.booleans(),
)
A_RECORD = Record("triage", "ticket-42", b"{}", "0" * 32, "claude-haiku-5-5")
REQUIRED = ("job", "id", "digest", "model", "api")


@given(records)
def test_a_record_comes_back_from_the_wire_with_every_field_as_it_was(record):
    decoded = decode(*encode_record(record))
    assert isinstance(decoded, Record)
    assert decoded == record
    assert type(decoded.betas) is tuple


@given(records)
def test_the_params_travel_as_the_very_bytes_and_are_no_part_of_the_header(record):
    header, params = encode_record(record)
    assert params == record.params
    assert "params" not in json.loads(header)


def test_a_plain_record_has_a_header_without_what_was_not_asked_for():
    header, _ = encode_record(A_RECORD)
    assert set(json.loads(header)) == {"v", *REQUIRED}


def test_an_entry_that_the_first_release_wrote_can_still_be_read():
    header = (
        b'{"v":1,"job":"triage","id":"ticket-42","digest":"00000000000000000000000000000000","model":"claude-haiku-5-5",'
        b'"api":"2026-10-21","priority":5,"betas":["a-1","b-2"],"on_result":"myapp:save","metadata":{"ticket":42},'
        b'"spans":{"model":[9,27]},"replace":true}'
    )
    read = decode(header, b"{}")
    assert read._asdict() == {
        "job": "triage",
        "custom_id": "ticket-42",
        "params": b"{}",
        "digest": "0" * 32,
        "model": "claude-haiku-5-5",
        "api_version": "2026-10-21",
        "priority": 5,
        "betas": ("a-1", "b-2"),
        "on_result": "myapp:save",
        "metadata": b'{"ticket":42}',
        "replace": True,
    }
    assert encode_record(read)[0] == header.replace(b'"spans":{"model":[9,27]},', b"")  # written before 2026-11-22
    assert decode(b'{"v":1,"close":"triage","expected":3}', b"") == Close("triage", 3)


@given(named, st.integers(0, contract.MAX_EXPECTED))
def test_a_close_comes_back_from_the_wire(job, expected):
    assert decode(*encode_close(Close(job, expected))) == Close(job, expected)


@given(st.integers() | text | st.none() | st.lists(st.integers(), max_size=2))
def test_an_unknown_wire_version_is_told_as_such_whatever_else_the_entry_holds(version):
    header = json.loads(encode_record(A_RECORD)[0])
    if version == contract.WIRE_VERSION:
        return
    for fields in ({**header, "v": version}, {"v": version}, {"v": version, "close": [], "expected": "x"}):
        with pytest.raises(UnknownWireVersion, match="wire version"):
            decode(json.dumps(fields).encode(), b"")


def test_an_object_without_a_version_is_an_unknown_version():
    with pytest.raises(UnknownWireVersion, match="None"):
        decode(b"{}", b"")


@given(st.binary(max_size=60), st.binary(max_size=10))
def test_random_bytes_are_refused_with_a_value_error_and_nothing_else(header, params):
    with pytest.raises(ValueError):
        decode(header, params)


@given(values)
def test_random_json_is_refused_with_a_value_error_and_nothing_else(value):
    with pytest.raises(ValueError):
        decode(json.dumps(value).encode(), b"")


@given(records)
def test_a_header_that_was_cut_is_refused(record):
    header, params = encode_record(record)
    for end in range(0, len(header), 7):
        with pytest.raises(ValueError):
            decode(header[:end], params)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_header_without_a_required_field_is_refused_by_its_name(name):
    fields = json.loads(encode_record(A_RECORD)[0])
    del fields[name]
    with pytest.raises(ValueError, match=name) as caught:
        decode(json.dumps(fields).encode(), b"{}")
    assert not isinstance(caught.value, UnknownWireVersion)


def test_a_close_without_a_number_is_refused():
    for fields in ({"v": 1, "close": "triage"}, {"v": 1, "close": "triage", "expected": "many"}):
        with pytest.raises(ValueError):
            decode(json.dumps(fields).encode(), b"")


def test_a_field_that_a_newer_release_adds_to_this_version_is_passed_over():
    fields = {**json.loads(encode_record(A_RECORD)[0]), "added_later": [1]}
    assert decode(json.dumps(fields).encode(), b"{}") == A_RECORD


@given(st.from_regex(r"[a-z-]{1,20}", fullmatch=True))
def test_all_keys_of_an_installation_lie_in_one_slot_of_a_cluster(prefix):
    keys = Keys(prefix)
    found = [keys.inbox, keys.inbox_bytes, keys.parked]
    assert len(set(found)) == 3
    assert {re.match(r"\{(.+?)\}", key)[1] for key in found} == {prefix}
