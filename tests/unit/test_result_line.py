"""One result line as a row: whatever shape it has, and the same row whichever way it is read."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakehouse_worker import result_line, wire
from bakehouse_worker.errors import Truncated
from bakehouse_worker.outcomes import outcome
from bakehouse_worker.store.outcomes import Row
from bakehouse_worker.tables import EMPTY

WHOSE = wire.members("0" * 8, "0" * 16)
MINE = wire.prefix("0" * 8, "0" * 16) + "7-2"

counts = st.integers(0, 3_000_000)
usages = st.fixed_dictionaries(
    {"input_tokens": counts, "output_tokens": counts},
    optional={
        "cache_creation_input_tokens": counts | st.none(),
        "cache_read_input_tokens": counts | st.none(),
        "cache_creation": st.none() | st.fixed_dictionaries({}, optional={"ephemeral_1h_input_tokens": counts}),
        "inference_geo": st.sampled_from([None, "us", "global"]),
        "service_tier": st.just("batch"),
    },
)
texts = st.fixed_dictionaries({"type": st.just("text"), "text": st.sampled_from(["", "x", "\u00e9\n"])})
blocks = texts | st.just({"type": "tool_use", "id": "t", "name": "n", "input": {"a": [1, None]}})
messages = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["claude-haiku-4-5", "unheard-of"]),
        "content": st.lists(blocks, max_size=3),
        "usage": usages,
    },
    optional={"stop_reason": st.sampled_from([None, "end_turn", "max_tokens", "refusal"]), "id": st.just("msg_1")},
)


def line(result, custom_id=MINE):
    return orjson.dumps({"custom_id": custom_id, "result": result})


def error(**more):
    return {"type": "errored", "error": {"type": "error", **more}}


@given(messages)
def test_an_answer_that_is_read_by_its_shape_makes_the_row_that_it_makes_as_any_object(message):
    told = line({"type": "succeeded", "message": message})
    row = result_line.row(told, 3, 5.0, WHOSE)
    assert row == result_line._of_any_shape(told, 3, 5.0, WHOSE)
    assert result_line._decode(told)
    assert (row.record_id, row.attempt, row.batch_id, row.kind, row.line, row.received_at) == (
        7,
        2,
        3,
        "succeeded",
        told,
        5.0,
    )


@pytest.mark.parametrize(
    "result",
    [
        None,
        "x",
        {"type": ["succeeded"]},
        {"type": "succeeded", "message": "x"},
        {"type": "succeeded", "message": {"usage": [1], "model": ["m"], "stop_reason": {}}},
        {"type": "succeeded", "message": {"model": "m", "usage": {"cache_creation": "x"}}},
        {"type": "succeeded", "message": {"model": "m", "content": [1], "usage": {"input_tokens": -1}}},
        {"type": "errored", "error": "x"},
        {"type": "errored", "error": {"error": ["x"]}},
        {"type": "of next year"},
        {"message": {"model": "m", "content": [], "usage": {}}},
    ],
)
def test_a_result_of_any_shape_becomes_a_row_and_keeps_its_line(result):
    row = result_line.row(line(result), 1, 0.0, WHOSE)
    assert row.line == line(result)
    assert row.kind == (
        result.get("type") if isinstance(result, dict) and isinstance(result.get("type"), str) else "unreadable"
    )
    assert row.input_tokens >= 0


def test_what_a_failure_says_is_kept_and_the_apis_request_id():
    told = line(error(error={"type": "api_error", "message": "x"}, request_id="req_7"))
    row = result_line.row(told, 1, 0.0, WHOSE)
    assert (row.kind, row.error_type, row.error, row.request_id) == ("errored", "api_error", "x", "req_7")


@pytest.mark.parametrize(
    ("content", "stop_reason", "empty"),
    [
        ([], "end_turn", EMPTY),
        ([{"type": "text", "text": ""}], "end_turn", EMPTY),
        ([{"type": "text", "text": ""}, {"type": "text", "text": "x"}], "end_turn", None),
        ([{"type": "tool_use", "id": "t", "name": "n", "input": {}}], "tool_use", None),
        ([], "max_tokens", None),
        ("x", "end_turn", None),
    ],
)
def test_an_answer_that_says_nothing_is_marked_unless_it_was_cut_short(content, stop_reason, empty):
    message = {
        "model": "m",
        "content": content,
        "stop_reason": stop_reason,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    assert result_line.row(line({"type": "succeeded", "message": message}), 1, 0.0, WHOSE).error_type == empty


@pytest.mark.parametrize("custom_id", ["x", MINE + "0x", MINE.replace("-0", "-1", 1), MINE.replace("0", "1", 1), "", 7])
@pytest.mark.parametrize("result", [{"type": "canceled"}, {"type": "succeeded", "message": {}}, error()])
def test_a_line_with_an_id_of_somebody_else_makes_no_row(custom_id, result):
    assert result_line.row(line(result, custom_id), 1, 0.0, WHOSE) is None


@pytest.mark.parametrize("depth", [10, 900, 1_000])
def test_an_answer_of_any_depth_is_one(depth):
    """As deep as orjson goes: a tool's input may be anything."""
    content = [{"type": "tool_use", "id": "t", "name": "n", "input": {"deep": "DEEP"}}]
    told = line({"type": "succeeded", "message": {"model": "m", "content": content, "usage": {"input_tokens": 1}}})
    told = told.replace(b'"DEEP"', b"[" * depth + b"]" * depth)
    row = result_line.row(told, 1, 0.0, WHOSE)
    assert (row.kind, row.input_tokens, row.error_type) == ("succeeded", 1, None)
    stored = Row(7, 0, "job", "a", "succeeded", "digest", 1, 0.0, None, None, kind="succeeded", line=told)
    assert outcome(stored, "installation").raw == told.partition(b'"result":')[2][:-1]


@pytest.mark.parametrize("more", [{"model": "@"}, {"id": "@"}])
def test_a_line_that_is_not_utf_8_is_no_line(more):
    message = {"model": "m", "content": [], "usage": {}, **more}
    told = line({"type": "succeeded", "message": message}).replace(b"@", b"\xff")
    with pytest.raises(Truncated):
        result_line.row(told, 1, 0.0, WHOSE)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_that_is_not_whole_is_no_line(cut):
    whole = line({"type": "succeeded", "message": {"model": "m", "content": [], "usage": {}}})
    for told in (whole[:cut], b"[]", b"7", whole + whole):
        with pytest.raises(Truncated):
            result_line.row(told, 1, 0.0, WHOSE)
