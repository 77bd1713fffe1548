"""examples/evaluation: scores at the end, whatever the judge says, and whoever is killed on the way."""

from __future__ import annotations

import importlib.util
import json

import pytest
from pages import HOUSE

from bakehouse_emulator import Running


@pytest.fixture(scope="module")
def parse():
    spec = importlib.util.spec_from_file_location("evaluate", HOUSE / "examples/evaluation/evaluate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.parse


@pytest.mark.slow
def test_an_evaluation_that_is_killed_and_run_again_has_the_scores_of_the_page_and_is_paid_once(follow):
    reader = follow("evaluation")
    system, judge = reader.blocks()
    [report] = reader.blocks("text")
    reader.start("system", system, "bakehouse is up")
    teach, run = judge.rsplit("\n", 2)[0], f"cd examples/evaluation\n{judge.splitlines()[-1]}"
    reader.run(teach)
    reader.start("evaluation", run.replace("python", "exec python"), "8 cases")
    killed = reader.terminals.pop("evaluation")
    killed.kill()
    killed.wait()
    assert reader.run(run) == report
    assert reader.run(run) == report
    port = (reader.here / ".bakehouse/emulator/port").read_text().strip()
    assert Running(f"http://127.0.0.1:{port}").totals()["accepted"] == 8


@pytest.mark.slow
def test_cases_that_failed_or_were_refused_are_told_with_their_reason_and_the_others_have_their_scores(follow):
    reader = follow("evaluation")
    system, judge = reader.blocks()
    (reader.here / "emulator.json").write_text(
        json.dumps(
            {
                "rules": [
                    {"on": "result", "fault": "refusal", "prompt": "Middlemarch"},
                    {"on": "result", "fault": "errored", "type": "invalid_request_error", "prompt": "17 times 23"},
                    {"on": "result", "fault": "text", "text": '{"reason": "So.", "score": 4}'},
                ]
            }
        )
    )
    reader.start("system", system, "bakehouse is up")
    told = reader.run(judge)
    assert "   3  -  no verdict (refusal)" in told
    assert "   7  -  no verdict (invalid_request_error)" in told
    assert "mean 4.00; 6 of 8 cases have a score" in told


NO_VERDICTS = """
5
[]
{
}{
{"score": 4}
{"score": "4", "reason": ""}
{"score": 6, "reason": ""}
{"score": true, "reason": ""}
{"score": 3.5, "reason": ""}
{"score": 3, "reason": "a"} and {"score": 4, "reason": "b"}
"""


@pytest.mark.parametrize("text", NO_VERDICTS.splitlines())
def test_what_is_no_verdict_is_none(parse, text):
    assert parse(text) is None


@pytest.mark.parametrize(
    "text", ['{"score": 4, "reason": "So."}', 'Well: ```json\n{"reason": "So.", "score": 4}\n``` !']
)
def test_a_verdict_is_found_inside_of_words_and_fences(parse, text):
    assert parse(text) == (4, "So.")
