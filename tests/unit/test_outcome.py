"""`Outcome.text`: what most handlers want, and never an error where there is none."""

from __future__ import annotations

import pytest

from bakehouse.outcome import Outcome


def outcome(result):
    return Outcome("triage", "ticket-42", "succeeded", result, None, None, 1, 0.001, None, "7-0")


def message(*blocks):
    return {"type": "succeeded", "message": {"role": "assistant", "content": list(blocks)}}


def test_the_text_of_an_answer_is_its_text_blocks_joined():
    blocks = {"type": "text", "text": "Bonjour, "}, {"type": "text", "text": "le monde"}
    assert outcome(message(*blocks)).text == "Bonjour, le monde"


def test_blocks_of_other_types_are_passed_over():
    blocks = (
        {"type": "thinking", "thinking": "hm", "text": "not this"},
        {"type": "text", "text": "this"},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"text": "nor this"}},
        {"type": "brand_new"},
    )
    assert outcome(message(*blocks)).text == "this"


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"type": "errored", "error": {"type": "error", "error": {"type": "api_error", "message": "text"}}},
        {"type": "expired"},
        {"type": "canceled"},
        {"type": "succeeded", "message": None},
        {"type": "succeeded", "message": {}},
        {"type": "succeeded", "message": {"content": None}},
        {"type": "succeeded", "message": {"content": []}},
        {"type": "succeeded", "message": {"content": [{"type": "text"}]}},
    ],
)
def test_an_outcome_without_text_has_an_empty_one(result):
    assert outcome(result).text == ""


def test_an_outcome_cannot_be_changed_by_a_handler():
    with pytest.raises(AttributeError):
        outcome({}).status = "failed"
