"""`Outcome`: what most handlers want is at hand, and nothing of it is an error where there is none."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, replace

import orjson
import pytest

from bakehouse import Outcome, ResultError, Usage


def outcome(result, status="succeeded"):
    return Outcome("triage", "ticket-42", status, 1, "7-0", raw=orjson.dumps(result) if result else b"")


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


def test_the_message_is_the_sdks_and_takes_what_the_sdk_does_not_know_yet():
    whole = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-of-tomorrow",
        "content": [{"type": "text", "text": "hello"}, {"type": "brand_new", "value": 1}],
        "stop_reason": "brand_new_reason",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    found = outcome({"type": "succeeded", "message": whole}).message
    assert type(found).__module__.startswith("anthropic.types")
    assert found.content[0].text == "hello"
    assert found.usage.output_tokens == 2
    assert found.stop_reason == "brand_new_reason"


def test_a_message_that_is_not_there_is_said_by_name():
    with pytest.raises(ValueError, match="ticket-42 has no message: it is failed"):
        _ = outcome({"type": "expired"}, "failed").message


def test_no_content_is_in_an_outcomes_repr():
    told = repr(
        Outcome(
            "triage",
            "ticket-42",
            "failed",
            1,
            "7-0",
            error=ResultError("api_error", "SECRET"),
            metadata={"who": "SECRET"},
            raw=b'{"SECRET": 1}',
        )
    )
    assert "SECRET" not in told
    assert "ticket-42" in told


def test_the_sdk_is_not_imported_before_somebody_asks_for_a_message():
    code = (
        "import sys, bakehouse; o = bakehouse.Outcome('j', 'c', 'succeeded', 1, '1-0', raw=b'{}'); o.text; "
        "assert not {'anthropic', 'sqlalchemy', 'celery', 'pydantic'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_outcome_is_a_dataclass_that_is_copied_pickled_and_written_as_any_other():
    """Handlers store what they are told, with its usage by name."""
    usage = Usage(1, output_tokens=2)
    told = Outcome("job", "a", "succeeded", 1, "id", usage=usage, metadata={"row": 7})
    fields = {"input_tokens": 1, "output_tokens": 2, "cache_write_tokens": 0, "cache_read_tokens": 0}
    assert asdict(told)["usage"] == fields
    assert orjson.loads(orjson.dumps(usage)) == fields
    assert pickle.loads(pickle.dumps(told)) == told == replace(told) == copy.deepcopy(told)
    assert replace(told, custom_id="b") != told
    assert repr(usage) == "Usage(input_tokens=1, output_tokens=2, cache_write_tokens=0, cache_read_tokens=0)"
    assert hash(usage) == hash(replace(usage))
    for each, name in ((told, "job"), (usage, "input_tokens")):
        with pytest.raises(FrozenInstanceError):
            setattr(each, name, 0)
