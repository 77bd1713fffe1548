"""A stored record as the application is told of it, whatever the API writes beside its answer; and sinks that rest."""

from __future__ import annotations

import orjson
import pytest

from bakehouse_worker.outcomes import outcome
from bakehouse_worker.sinks import LONGEST_REST, Resting
from bakehouse_worker.store.outcomes import Row

RESULT = b'{"type": "succeeded", "message": {"content": [{"type": "text", "text": "}"}]}}'


@pytest.mark.parametrize(
    "line",
    [
        b'{"custom_id":"bk-1","result":' + RESULT + b"}",
        b'{ "custom_id" : "bk-1" , "result" : ' + RESULT + b" }\n",
        b'{"custom_id":"bk-1","result":' + RESULT + b',"processed_at":"2026-11-21"}',
        b'{"batch":{},"custom_id":"bk-1","result":' + RESULT + b"}",
        b'{"result":' + RESULT + b',"custom_id":"bk-1"}',
    ],
)
def test_the_raw_result_is_the_apis_object_whatever_else_stands_in_its_line(line):
    """A member behind the result became part of it: no JSON, and no handler could read an answer any more."""
    row = Row(1, 0, "job", "a", "succeeded", "digest", 1, 0.0, None, None, kind="succeeded", line=line)
    told = outcome(row, "installation")
    assert orjson.loads(told.raw) == orjson.loads(RESULT)
    assert told.text == "}"


def test_a_sink_that_never_gets_well_rests_for_ten_minutes_each_time_and_never_longer():
    """At its 1,024th rest the number of seconds was too large to be one."""
    now = [0.0]
    resting = Resting(lambda: now[0])
    for _ in range(2_000):
        resting.rest("app:save", 60.0)
        assert resting.names() == ["app:save"]
        now[0] += LONGEST_REST
        assert resting.names() == []
